"""The tables that users send with their queries, as VOTables."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from xpscale.errors import InvalidInputError
from xpscale.formatting import first_line
from xpscale.serve.limits import Limits
from xpscale.serve.served_tables import UPLOAD, ServedColumn, ServedTable

if TYPE_CHECKING:
    from astropy.io.votable.tree import TableElement

__all__ = ["Upload", "read_uploads"]

PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Upload:
    """A table that came with a query.

    Parameters
    ----------
    table
        Its name and columns.
    rows
        Its rows.
    """

    table: ServedTable
    rows: pa.Table


def read_uploads(
    addresses: Mapping[str, str],
    files: Mapping[str, IO[bytes]],
    result_at: Callable[[str], Path | None],
    limits: Limits,
) -> dict[str, Upload]:
    """The tables of a request, by name.

    Parameters
    ----------
    addresses
        Where each table is, by its name: ``param:`` and the part of the request, or the address of
        the result of a job.
    files
        The parts of the request.
    result_at
        The file of the result of a job, by its address.
    limits
        How many rows a table may have.

    Raises
    ------
    InvalidInputError
        It is somewhere else, is not there, is no VOTable, or has too many rows.
    """
    found = {}
    for name, address in addresses.items():
        part = address.removeprefix("param:")
        if part in files and part != address:
            found[name] = _read(name, files[part], limits.upload_rows)
        elif path := result_at(address):
            with path.open("rb") as file:
                found[name] = _read(name, file, limits.upload_rows)
        else:
            raise InvalidInputError(
                f"UPLOAD of {address!r}: only VOTables inside the request, and results of jobs of"
                " this service, are read",
                f"Give {name},param:PART and the table in the part PART of multipart/form-data",
            )
    return found


def _read(name: str, file: IO[bytes], max_rows: int) -> Upload:
    from astropy.io.votable import parse

    _require_few_rows(name, file, max_rows)
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            element = parse(file, verify="ignore").get_first_table()
            columns = [_column(field, element) for field in element.fields]
    except InvalidInputError:
        raise
    except Exception as error:  # astropy has many, from expat's to VOTableSpecError
        raise InvalidInputError(
            f"the uploaded table {name!r} is no VOTable that can be read: {first_line(error)}",
            "Send a VOTable, as TOPCAT and astropy write it",
        ) from error
    if len(element.array) > max_rows:
        raise _too_many(name, max_rows)
    known = tuple(column for column, _ in columns)
    names = [column.name.lower() for column in known]
    if repeated := {text for text in names if names.count(text) > 1}:
        raise InvalidInputError(f"the uploaded table {name!r} has {repeated.pop()!r} twice")
    if not known:
        raise InvalidInputError(f"the uploaded table {name!r} has no columns")
    rows = pa.Table.from_arrays([values for _, values in columns], [c.name for c in known])
    return Upload(ServedTable(UPLOAD, name, "The table that was uploaded", known), rows)


def _require_few_rows(name: str, file: IO[bytes], max_rows: int) -> None:
    """Refuse a long table of text before it is taken apart, which is slow."""
    file.seek(0)
    n_rows, rest = 0, b""
    while piece := file.read(PIECE_BYTES):
        n_rows += (rest + piece).count(b"<TR>")
        rest = piece[-3:]
        if n_rows > max_rows:
            raise _too_many(name, max_rows)


def _too_many(name: str, max_rows: int) -> InvalidInputError:
    return InvalidInputError(
        f"the uploaded table {name!r} has more than {max_rows:,} rows",
        "Send it in pieces, or use xpscale crossmatch, which takes any number",
    )


def _column(field: Any, element: TableElement) -> tuple[ServedColumn, pa.Array]:
    values = _arrow(field.name, element.array[field.ID])
    unit = field.unit.to_string("vounit") if field.unit is not None else ""
    datatype = "char" if field.datatype == "char" else ""
    words = (unit, field.ucd or "", str(field.description or ""), field.xtype or "", datatype)
    return ServedColumn(field.name, values.type, *words), values


def _arrow(name: str, column: Any) -> pa.Array:
    """A column of a masked array as an Arrow array, missing values as NULL."""
    values, mask = np.ma.getdata(column), np.ma.getmaskarray(column)
    if values.dtype.kind == "O":
        return _objects(name, values, mask)
    if values.dtype.kind not in "biuf":
        if values.dtype.kind in "SU":
            return pa.array(values.astype(str).tolist(), pa.string(), mask=mask)
        raise InvalidInputError(f"column {name!r} of the uploaded table is {values.dtype}")
    native = values.astype(values.dtype.newbyteorder("="))
    flat = pa.array(native.reshape(-1), mask=mask.reshape(-1))
    if native.ndim == 1:
        return flat
    return pa.FixedSizeListArray.from_arrays(flat, int(np.prod(native.shape[1:])))


def _objects(name: str, values: Any, mask: Any) -> pa.Array:
    missing = [bool(np.all(m)) and v is not None for v, m in zip(values, mask, strict=True)]
    try:
        items = [
            None if gone or value is None else value if isinstance(value, str) else list(value)
            for value, gone in zip(values, missing, strict=True)
        ]
        return pa.array(items)
    except (TypeError, pa.ArrowInvalid) as error:
        raise InvalidInputError(
            f"column {name!r} of the uploaded table cannot be read: {first_line(error)}",
            "Leave it out",
        ) from error
