"""Arrow columns as numpy arrays and as astropy tables.

FITS, VOTable and ECSV know fewer types than Arrow.  `plain` turns a column into one that they know
and that says the same: integers, floats, booleans, text, or lists of these.  What cannot be said
exactly is refused here by its type, and by its values when `xpscale.query.table_files` reads
the file back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from xpscale.errors import InvalidInputError
from xpscale.nested import is_list, is_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astropy.table import Column, Table
    from numpy.typing import NDArray

__all__ = [
    "array",
    "iso_text",
    "masked",
    "plain",
    "refused",
    "to_astropy",
]


def array(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column without NULL, with shape (N,), or (N, C) for one of arrays of equal length."""
    rows = column.combine_chunks()
    if pa.types.is_fixed_size_list(column.type):
        return _values(rows.flatten()).reshape(len(column), column.type.list_size)
    if pa.types.is_list(column.type):
        return _values(rows.flatten()).reshape(len(column), -1 if len(column) else 0)
    return _values(rows)


def _values(rows: pa.Array) -> NDArray[Any]:
    if rows.null_count or not (pa.types.is_integer(rows.type) or pa.types.is_floating(rows.type)):
        return np.asarray(rows.to_numpy(zero_copy_only=False))
    return np.from_dlpack(rows)  # to_numpy imports pandas, which takes longer than most queries


def to_astropy(table: pa.Table, provenance: Mapping[str, str]) -> Table:
    """An astropy table with units and descriptions from the fields' metadata, and provenance in
    ``meta``.

    NULL is masked and leaves integers integers.  Dates and times become text (ISO 8601), decimal
    numbers integers or floats that print as the same digits, lists of different lengths arrays of
    objects.

    Parameters
    ----------
    table
        The rows.
    provenance
        Kept in ``meta``, in this order.

    Raises
    ------
    InvalidInputError
        A column holds what astropy has no type for.
    """
    from astropy.table import Table
    from astropy.units import Unit

    columns = []
    for field, rows in zip(table.schema, table.columns, strict=True):
        meta = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        column = _astropy_column(plain(rows.combine_chunks(), field.name))
        column.name, column.description = field.name, meta.get("description")
        column.unit = Unit(meta["unit"]) if meta.get("unit") else None
        if "ucd" in meta:
            column.meta["ucd"] = meta["ucd"]
        columns.append(column)
    return Table(columns, meta=dict(provenance))


def plain(rows: pa.Array, name: str) -> pa.Array:
    """The same values as integers, floats, booleans, text, or lists of these.

    Parameters
    ----------
    rows
        A column of any type.
    name
        Its name, for the message.

    Raises
    ------
    InvalidInputError
        There is no such type for it.
    """
    kind = rows.type
    if pa.types.is_dictionary(kind):
        return plain(rows.dictionary_decode(), name)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return rows
    if is_text(kind):
        return rows.cast(pa.string())
    if pa.types.is_decimal(kind):
        return _number(rows, name)
    if pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind):
        return iso_text(rows, name)
    if is_list(kind):
        return _list_of(rows, plain(rows.flatten(), name), name)
    raise refused(name, kind)


def _number(rows: pa.Array, name: str) -> pa.Array:
    """Decimal numbers as int64, or as float64 if that prints as the same digits."""
    kind = pa.int64() if rows.type.scale <= 0 else pa.float64()
    try:
        # by way of text: Arrow's own cast is off by the last bit
        found = rows.cast(kind if rows.type.scale <= 0 else pa.string()).cast(kind)
        if found.cast(rows.type).equals(rows):
            return found
    except pa.ArrowInvalid:
        pass
    raise InvalidInputError(
        f"column {name!r} has decimal numbers of more digits than {kind} holds",
        "Cast it (::DOUBLE rounds, ::VARCHAR keeps the digits), or choose .parquet or .csv",
    )


def iso_text(rows: pa.Array, name: str) -> pa.Array:
    """Dates and times as text, such as ``2016-01-01T12:00:00.000000``.

    Parameters
    ----------
    rows, name
        The column and its name.

    Raises
    ------
    InvalidInputError
        One is out of the calendar.
    """
    import pyarrow.compute as pc

    texts = rows.cast(pa.string())
    if pc.any(pc.match_substring(texts, "out of range")).as_py():
        raise InvalidInputError(
            f"column {name!r} has a date out of the calendar, such as infinity",
            "Leave it out, or choose .parquet",
        )
    return pc.replace_substring(texts, " ", "T")


def _list_of(rows: pa.Array, values: pa.Array, name: str) -> pa.Array:
    import pyarrow.compute as pc

    if rows.null_count or is_list(values.type):
        raise refused(name, rows.type, " with NULL in the place of a list" * bool(rows.null_count))
    if pa.types.is_fixed_size_list(rows.type):
        return pa.FixedSizeListArray.from_arrays(values, rows.type.list_size)
    lengths = np.asarray(pc.list_value_length(rows))
    width = int(lengths[0]) if len(lengths) else 1  # of no rows: any
    if width and (lengths == width).all():
        return pa.FixedSizeListArray.from_arrays(values, width)
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)


def refused(name: str, kind: pa.DataType, what: str = "") -> InvalidInputError:
    """The error for a column whose type a kind of file does not have.

    Parameters
    ----------
    name, kind
        The column's name and type.
    what
        More about it.
    """
    return InvalidInputError(
        f"column {name!r} is {kind}{what}, which this kind of file cannot hold",
        "Select its parts or cast it, such as ::VARCHAR, ::DOUBLE or hex(..), or choose .parquet",
    )


def _astropy_column(rows: pa.Array) -> Column:
    """A column of `plain` types, masked where it is NULL; arrays of equal length become two
    dimensions.
    """
    from astropy.table import Column, MaskedColumn

    if pa.types.is_list(rows.type):
        objects = np.empty(len(rows), object)
        values, ends = masked(rows.values), np.asarray(rows.offsets)
        for i in range(len(rows)):
            objects[i] = values[ends[i] : ends[i + 1]]
        return Column(objects)
    shape: tuple[int, ...] = (len(rows),)
    if pa.types.is_fixed_size_list(rows.type):
        shape, rows = (len(rows), rows.type.list_size), rows.flatten()
    values = masked(rows).reshape(shape)
    return MaskedColumn(values) if np.ma.isMaskedArray(values) else Column(values)


def masked(rows: pa.Array) -> NDArray[Any]:
    """Values with shape (N,), a masked array if one is NULL.

    The fill value marks NULL in FITS, so it is one that does not occur.

    Parameters
    ----------
    rows
        Of a type that `plain` gives.
    """
    if pa.types.is_string(rows.type):
        texts = np.array(rows.fill_null("").to_pylist(), dtype=str)
        return np.ma.MaskedArray(texts, _is_null(rows)) if rows.null_count else texts
    if not rows.null_count:
        return np.asarray(rows.to_numpy(zero_copy_only=False))
    fill: Any = np.nan if pa.types.is_floating(rows.type) else False
    if pa.types.is_integer(rows.type):
        limits = np.iinfo(rows.type.to_pandas_dtype())
        ends = (limits.min, limits.max) if limits.min else (limits.max, limits.min)
        fill = ends[0] if pa.scalar(ends[0], rows.type) not in rows.unique() else ends[1]
    values = rows.fill_null(pa.scalar(fill, rows.type)).to_numpy(zero_copy_only=False)
    return np.ma.MaskedArray(values, _is_null(rows), fill_value=fill)


def _is_null(rows: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(rows.is_null().to_numpy(zero_copy_only=False))
