"""FITS, VOTable and ECSV files through astropy, each read back before it counts.

What such a file cannot say is a matter of the format and of the program that reads it: FITS has no
letters beyond ASCII and no missing boolean, ECSV drops blanks around text, VOTable takes NaN for
missing.  So no list of these is kept here: a file that does not come back as it was written is
refused, and the message names the column and the value.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from xpscale.errors import InvalidInputError
from xpscale.formatting import first_line
from xpscale.query.convert import plain, to_astropy

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["TABLE_FORMATS", "TableFormat", "write_table"]


@dataclass(frozen=True, slots=True)
class TableFormat:
    """A kind of file that astropy writes and reads.

    Parameters
    ----------
    name
        What people call it.
    write
        Writes an astropy table, with the provenance in its ``meta``, to a path.
    reading
        Arguments of ``Table.read``.
    has_all_integers
        Whether it has int8 and the unsigned integers; if not, they become the next wider ones.
    """

    name: str
    write: Callable[[Table, Path], None]
    reading: Mapping[str, Any]
    has_all_integers: bool = False


def write_table(table: pa.Table, path: Path, words: Mapping[str, str], form: TableFormat) -> None:
    """Write rows to a file that comes back as they are.

    Parameters
    ----------
    table
        The rows.
    path
        A new file.
    words
        Provenance.
    form
        The format.

    Raises
    ------
    InvalidInputError
        The format cannot hold them exactly.
    """
    columns = []
    for field, rows in zip(table.schema, table.columns, strict=True):
        values = plain(rows.combine_chunks(), field.name)
        columns.append(values if form.has_all_integers else _widened(values, field.name))
    fields = [field.with_type(rows.type) for field, rows in zip(table.schema, columns, strict=True)]
    wanted = pa.Table.from_arrays(columns, schema=pa.schema(fields))
    if _problem(wanted, path, words, form):
        for name in wanted.column_names:  # which column it is
            if problem := _problem(wanted.select([name]), path, {}, form):
                raise InvalidInputError(
                    f"column {name!r} does not fit into {form.name} exactly: {problem}",
                    "Change it in the query, or choose .parquet",
                )
        problem = _problem(wanted, path, words, form)
        raise InvalidInputError(f"{form.name} cannot hold this: {problem}", "Choose .parquet")


def _widened(rows: pa.Array, name: str) -> pa.Array:
    """Integers of types that FITS and VOTable lack, as the next wider type that they have."""
    if pa.types.is_fixed_size_list(rows.type):
        return pa.FixedSizeListArray.from_arrays(
            _widened(rows.flatten(), name), rows.type.list_size
        )
    if pa.types.is_list(rows.type):
        return pa.ListArray.from_arrays(rows.offsets, _widened(rows.values, name))
    wider = {pa.int8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}
    if rows.type != pa.uint64():
        return rows.cast(wider.get(rows.type, rows.type))
    try:
        return rows.cast(pa.int64())
    except pa.ArrowInvalid:
        if not rows.null_count:
            return rows  # FITS has these, and no way to mark a missing one among them
    raise InvalidInputError(
        f"column {name!r} is uint64 with NULL and numbers of 2^63 or more",
        "Cast it, such as ::VARCHAR, or choose .parquet",
    )


def _problem(table: pa.Table, path: Path, words: Mapping[str, str], form: TableFormat) -> str:
    """Write a file and read it back: what is different, empty if nothing is."""
    from astropy.table import Table

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names that are not of letters and digits
            path.unlink(missing_ok=True)
            form.write(to_astropy(table, words), path)
            found = Table.read(path, **form.reading)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # astropy has many, from AssertionError to VOTableSpecError
        return f"astropy says {first_line(error).removeprefix('?:?:?: ')!r}"
    if found.colnames != table.column_names:
        return f"its name comes back as {found.colnames[0]!r}"
    columns = zip(table.columns, found.itercols(), strict=True)
    return next(
        filter(None, (_difference(rows.combine_chunks(), got) for rows, got in columns)), ""
    )


def _difference(wanted: pa.Array, column: Any) -> str:
    """What a column that was read back has else than what was written; empty if nothing."""
    import pyarrow.compute as pc

    found = _arrow(column, wanted.type)
    if found.type != wanted.type or len(found) != len(wanted):
        return f"{wanted.type} comes back as {found.type}"
    if pa.types.is_nested(wanted.type):
        if not pc.list_value_length(wanted).equals(pc.list_value_length(found)):
            return "lists come back with other lengths"
        wanted, found = wanted.flatten(), found.flatten()
    null, blank = wanted.is_null(), _is_blank(wanted)
    same = pc.fill_null(pc.equal(wanted, found), False)
    same = pc.or_(same, pc.and_(blank, _is_blank(found)))
    # readers take NaN and empty text for missing: right if the column has one sort of these only
    if not pc.and_(null, blank).equals(blank) and wanted.null_count:
        same = pc.and_(same, pc.equal(null, found.is_null()))
    if pc.all(same).as_py() is not False:
        return ""
    row = pc.index(same, False).as_py()
    return f"{wanted[row].as_py()!r} comes back as {found[row].as_py()!r}"


def _is_blank(rows: pa.Array) -> pa.Array:
    """Where a column is NULL, NaN or empty text."""
    import pyarrow.compute as pc

    if pa.types.is_string(rows.type):
        return pc.fill_null(pc.equal(rows, ""), True)
    return pc.is_null(rows, nan_is_null=True)


def _arrow(column: Any, kind: pa.DataType) -> pa.Array:
    """An astropy column as an Arrow array, of type ``kind`` if that changes no value."""
    if column.dtype == object:
        return pa.array([item.tolist() for item in column], kind)
    values, mask = np.ma.getdata(column), np.ma.getmaskarray(column).reshape(-1)
    flat = np.asarray(values).reshape(-1)
    flat = flat.astype(str) if flat.dtype.kind == "S" else flat
    found = pa.array(flat.astype(flat.dtype.newbyteorder("=")), mask=mask)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(found, kind.list_size)
    return found.cast(kind) if pa.types.is_null(found.type) else found


def _escaped(text: str) -> str:
    r"""Any text as one line of ASCII, as Python writes it: ``\n``, ``\xe9``."""
    return text.encode("unicode_escape").decode("ascii")


def _write_fits(table: Table, path: Path) -> None:
    from astropy.io.fits import HDUList, PrimaryHDU, table_to_hdu

    # keywords have at most eight letters
    table.meta = {key.upper()[:8]: _escaped(text) for key, text in table.meta.items()}
    units = {name: table[name].unit for name in table.colnames}
    said = [
        {"TUCD": table[name].meta.get("ucd"), "TCOMM": table[name].description}
        for name in table.colnames
    ]
    for name in table.colnames:
        # FITS has no electron, and astropy would drop the unit with a warning
        table[name].unit = None
    hdu = table_to_hdu(table)
    for column in hdu.columns:
        if units[column.name] is not None:
            column.unit = units[column.name].to_string().replace(" ", "")
    for number, words in enumerate(said, start=1):  # keywords that TOPCAT and STILTS read
        for key, text in words.items():
            if text:
                hdu.header[f"{key}{number}"] = _escaped(text)
    HDUList([PrimaryHDU(), hdu]).writeto(path)


def _write_votable(table: Table, path: Path) -> None:
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Info

    words, table.meta = dict(table.meta), {}
    file = from_table(table)
    file.resources[0].infos.extend(
        Info(name=key, value=_escaped(text)) for key, text in words.items()
    )
    file.to_xml(str(path), tabledata_format="binary2")


def _write_ecsv(table: Table, path: Path) -> None:
    if not len(table):  # astropy cannot read arrays of no rows
        for name in table.colnames:
            if table[name].ndim > 1:
                table[name] = table[name][:, 0]
    table.write(path, format="ascii.ecsv")


VOTABLE = TableFormat("VOTable", _write_votable, {"format": "votable", "use_names_over_ids": True})
TABLE_FORMATS = {
    ".fits": TableFormat("FITS", _write_fits, {"format": "fits"}),
    ".vot": VOTABLE,
    ".ecsv": TableFormat("ECSV", _write_ecsv, {"format": "ascii.ecsv"}, has_all_integers=True),
}
"""By the ending of a file's name."""
