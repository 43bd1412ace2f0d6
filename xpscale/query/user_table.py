"""A user's own table, of any kind, as an Arrow table with its units: a file or an object.

Files are told by their content, not their names: FITS, VOTable, ECSV, Parquet, and text in columns
(CSV, or separated by ``;``, ``|``, tabulators or blanks), also compressed with gzip.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError
from xpscale.expansion import bounded, require_ecsv, require_fits, require_parquet, require_votable
from xpscale.formatting import first_line
from xpscale.local_files import read_local
from xpscale.nested import flattened, is_text
from xpscale.query.frames import Rows
from xpscale.query.text_columns import require_distinct, text_table, unreadable
from xpscale.query.version import PREFIX
from xpscale.storage import Storage

__all__ = ["content", "decoded", "known_numbers", "known_rows", "name_of", "read_table", "table_in"]

UNKNOWN = -900.0
"""Surveys write -999 or -9999 for a label that they do not know; no label is as low."""


def read_table(source: Any) -> pa.Table:
    """A user's table.

    Parameters
    ----------
    source
        The path of a file; a table of astropy, pandas, polars, Arrow or lsdb's frames; a mapping of
        columns; positions as ``SkyCoord``.

    Returns
    -------
    pyarrow.Table
        Units, UCDs and descriptions are in the fields' metadata; what the table says about itself
        under ``xpscale.table_meta`` in the schema's.

    Raises
    ------
    NotFoundError
        There is no such file.
    InvalidInputError
        It holds no table.
    """
    where = name_of(source)
    if isinstance(source, str | Path):
        found = _of_file(source)
    elif isinstance(source, Rows):
        found = source.to_table()
    elif hasattr(source, "icrs"):
        found = pa.table(_degrees(source))
    elif hasattr(source, "colnames"):
        found = _of_astropy(source)
    elif hasattr(source, "__arrow_c_stream__") or isinstance(source, Mapping):
        found = _of_arrow(source)
    else:
        raise InvalidInputError(
            f"a {type(source).__name__} is no table",
            "Give a file, or a table of astropy, pandas, polars or Arrow",
        )
    found = flattened(found)
    require_distinct(found.column_names, where)
    fields = [  # Arrow takes no rows of views, which polars gives
        field.with_type(pa.string()) if is_text(field.type) else field for field in found.schema
    ]
    return found.cast(pa.schema(fields, found.schema.metadata))


def _of_arrow(source: Any) -> pa.Table:
    """A frame or a mapping of columns, without the index that pandas numbers."""
    try:
        if isinstance(source, Mapping):
            source = {name: np.atleast_1d(np.asarray(values)) for name, values in source.items()}
        table = pa.table(source)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"the table cannot be read: {first_line(error)}", "Give columns of equal length"
        ) from error
    return table.drop([name for name in table.column_names if name.startswith("__index_level_")])


def known_numbers(table: pa.Table, column: str) -> NDArray[np.float64]:
    """A column of labels, or of their errors, with shape (N,); NaN where a star has none: NULL, no
    finite number, or -999 and the like.

    Parameters
    ----------
    table
        N rows, from `read_table`.
    column
        Its name.

    Raises
    ------
    pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError
        The column holds no numbers.
    """
    values = table[column].cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)
    return np.where(np.isfinite(values) & (values > UNKNOWN), values, np.nan)


def known_rows(source_id: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first row of each star, by identifier, if there is one whose label is known of these.

    Parameters
    ----------
    source_id
        Of the rows, with shape (N,); some surveys list a star once for each of their fields.
    values
        Labels, with shape (N,), NaN where not known.
    """
    order = np.lexsort((np.arange(len(values)), ~np.isfinite(values), source_id))
    return order[np.unique(source_id[order], return_index=True)[1]]


def name_of(source: Any) -> str:
    """What messages call a user's table: the path of its file, or ``the table``."""
    return str(source) if isinstance(source, str | Path) else "the table"


def content(path: str | Path) -> bytes:
    """The bytes of a file, decompressed.

    Parameters
    ----------
    path
        A local path, or a URL.

    Raises
    ------
    NotFoundError
        There is no such file.
    InvalidInputError
        It is a damaged gzip file.
    """
    place = Storage(str(path)) if "://" in str(path) else None
    data = place.parent.read(place.name) if place else read_local(path)
    if data.startswith(b"\x1f\x8b"):
        try:
            packed = cast(BinaryIO, gzip.GzipFile(fileobj=io.BytesIO(data)))
            data = bounded(packed, str(path), len(data)).read()
        except (EOFError, OSError, zlib.error) as error:
            raise unreadable(path, error) from error
    return data


def table_in(data: bytes, path: str | Path) -> pa.Table | None:
    """The table in the bytes of a FITS, VOTable, ECSV or Parquet file; ``None`` if they are
    something else.

    Parameters
    ----------
    data
        The content.
    path
        Where it comes from, for errors.

    Raises
    ------
    InvalidInputError
        The file is damaged.
    """
    import pyarrow.parquet as pq

    kinds = {b"SIMPLE  =": "fits", b"# %ECSV": "ascii.ecsv"}
    found = next((kind for head, kind in kinds.items() if data.startswith(head)), "")
    if b"<VOTABLE" in data[:4096]:
        found = "votable"
    if not found and not data.startswith(b"PAR1"):
        return None
    try:
        if not found:
            file = pq.ParquetFile(io.BytesIO(data))
            require_parquet(file, io.BytesIO(data), str(path), len(data))
            return file.read()
        from astropy.io import fits
        from astropy.table import Table

        if found == "fits":
            with fits.open(io.BytesIO(data)) as hdus:
                for hdu in hdus:
                    if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
                        require_fits(hdu, str(path), len(data))
        if found == "ascii.ecsv":
            require_ecsv(data, str(path))
        if found == "votable":
            require_votable(io.BytesIO(data), str(path), len(data))
        options = {"use_names_over_ids": True} if found == "votable" else {}
        return _of_astropy(Table.read(io.BytesIO(data), format=found, **options))
    except InvalidInputError:
        raise
    except Exception as error:  # each library has its own
        raise unreadable(path, error) from error


def decoded(data: bytes, path: str | Path) -> str:
    """The text of a file.

    Parameters
    ----------
    data
        The content, UTF-8 or UTF-16.
    path
        Where it comes from, for errors.

    Raises
    ------
    InvalidInputError
        It is no text.
    """
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path} is not a text file", "Give a text in columns, FITS, VOTable or Parquet"
        ) from error


def _of_file(path: str | Path) -> pa.Table:
    data = content(path)
    table = table_in(data, path)
    return text_table(decoded(data, path), path) if table is None else table


def _of_astropy(table: Any) -> pa.Table:
    """A table of astropy with units, UCDs and descriptions in the fields' metadata."""
    fields, columns = [], []
    for name in table.colnames:
        column = table[name]
        if hasattr(column, "icrs"):
            degrees = _degrees(column)
            fields += [pa.field(each, pa.float64(), metadata={"unit": "deg"}) for each in degrees]
            columns += [pa.array(values) for values in degrees.values()]
            continue
        values = _array(getattr(column, "isot", column), name)
        words = {
            "unit": str(getattr(column, "unit", None) or ""),
            "ucd": str((getattr(column.info, "meta", None) or {}).get("ucd", "")),
            "description": str(column.info.description or ""),
        }
        told = {key: text for key, text in words.items() if text}
        fields.append(pa.field(name, values.type, metadata=told or None))
        columns.append(values)
    meta = {f"{PREFIX}table_meta": json.dumps(dict(table.meta), default=str)} if table.meta else {}
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, meta or None))


def _array(column: Any, name: str) -> pa.Array:
    """A column of astropy, masked or not; of more than one dimension as lists."""
    values, mask = np.ma.getdata(column), np.ma.getmaskarray(np.ma.asarray(column))
    values = np.asarray(getattr(values, "value", values))
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind in "SU":
        return pa.array(np.char.rstrip(values).tolist(), mask=mask.reshape(-1))
    if values.dtype.kind not in "biufO" or values.dtype.itemsize > 8:
        raise InvalidInputError(
            f"column {name!r} of the table is {values.dtype}", "Remove it, or make it text"
        )
    if values.dtype.kind == "O" or values.ndim > 1:
        return pa.array(
            [
                None if np.all(m) else np.asarray(v).tolist()
                for v, m in zip(values, mask, strict=True)
            ]
        )
    return pa.array(values.astype(values.dtype.newbyteorder("=")), mask=mask)


def _degrees(positions: Any) -> dict[str, Any]:
    """Right ascension and declination, ICRS, in degrees, of a ``SkyCoord``."""
    icrs = positions.icrs
    return {"ra": np.atleast_1d(icrs.ra.deg), "dec": np.atleast_1d(icrs.dec.deg)}
