"""Arrow columns as text in CSV."""

from __future__ import annotations

import json

import pyarrow as pa

from xpscale.nested import is_list, is_text
from xpscale.query.convert import iso_text, refused

__all__ = ["csv_text"]


def csv_text(rows: pa.Array, name: str) -> pa.Array:
    """A column as CSV can hold it: lists of numbers as ``[a,b,..]``, as the Gaia archive writes
    them, other nested values as JSON (a map as a list of pairs).

    Parameters
    ----------
    rows
        A column of any type.
    name
        Its name, for the message.

    Raises
    ------
    InvalidInputError
        There is no text for it that can be told from other text.
    """
    import pyarrow.compute as pc

    kind = rows.type
    if pa.types.is_dictionary(kind):
        return rows.dictionary_decode()
    if not pa.types.is_nested(kind):
        if not _has_text(kind):
            raise refused(name, kind)
        if pa.types.is_temporal(kind):
            iso_text(rows, name)
        return rows
    if is_list(kind) and pa.types.is_primitive(kind.value_type) and _is_number(kind.value_type):
        texts = rows.cast(pa.list_(pa.string()))
        values = pc.fill_null(texts.values, "null")
        for arrow, json_ in (("nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity")):
            values = pc.if_else(pc.equal(values, arrow), json_, values)
        texts = pa.ListArray.from_arrays(texts.offsets, values, mask=rows.is_null())
        return pc.binary_join_element_wise("[", pc.binary_join(texts, ","), "]", "")
    if not _has_text(kind):
        raise refused(name, kind)
    return pa.array(
        [None if v is None else json.dumps(v, default=str) for v in rows.to_pylist()], pa.string()
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _has_text(kind: pa.DataType) -> bool:
    """Whether values have a text that can be read back; of nested ones, every part."""
    if pa.types.is_nested(kind) and not pa.types.is_union(kind):
        parts = [kind.key_type, kind.item_type] if pa.types.is_map(kind) else None
        fields = parts or [kind.field(i).type for i in range(kind.num_fields)]
        return all(map(_has_text, fields))
    return bool(
        _is_number(kind)
        or is_text(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
        or pa.types.is_dictionary(kind)
        or (pa.types.is_temporal(kind) and not _is_span(kind))
    )


def _is_span(kind: pa.DataType) -> bool:
    return bool(pa.types.is_duration(kind) or pa.types.is_interval(kind))
