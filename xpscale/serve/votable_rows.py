"""Rows as VOTable 1.4, a batch at a time, in BINARY2 or TABLEDATA.

astropy's writer holds a table in memory and makes it row by row in Python; here a batch becomes
text or bytes column by column.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xpscale.serve.served_tables import votype

__all__ = ["error_votable", "write_votable"]

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">
<RESOURCE type="results">
"""
TAIL = "</RESOURCE>\n</VOTABLE>\n"
LINE = 57 * 1024
"""Bytes that base64 turns into whole lines."""


def error_votable(message: str, infos: Mapping[str, str] = {}) -> bytes:
    """A VOTable that says what went wrong, as DALI wants.

    Parameters
    ----------
    message
        What went wrong.
    infos
        Other INFO elements, by name.
    """
    text = f'<INFO name="QUERY_STATUS" value="ERROR">{escape(message)}</INFO>\n'
    return f"{HEAD}{text}{_infos(infos)}{TAIL}".encode()


def write_votable(
    file: IO[bytes],
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    infos: Mapping[str, str],
    *,
    is_text: bool,
    overflow: Callable[[], bool],
) -> None:
    """Write rows.

    Parameters
    ----------
    file
        Where to.
    schema
        Of the rows, with unit, UCD and description in the fields' metadata.
    batches
        The rows.
    infos
        INFO elements, by name.
    is_text
        Whether as TABLEDATA.
    overflow
        Asked at the end: whether rows were left out.
    """
    data, encoded = ("TABLEDATA", _rows_as_text) if is_text else ("BINARY2", _rows_as_bytes)
    head = f'{HEAD}<INFO name="QUERY_STATUS" value="OK"/>\n{_infos(infos)}'
    file.write(f'{head}<COOSYS ID="icrs" system="ICRS"/>\n<TABLE>\n{_fields(schema)}'.encode())
    stream = "" if is_text else '<STREAM encoding="base64">\n'
    file.write(f"<DATA>\n<{data}>\n{stream}".encode())
    pieces = (encoded(batch) for batch in batches)
    for piece in pieces if is_text else _base64(pieces):
        file.write(piece)
    end = "" if is_text else "</STREAM>\n"
    more = '<INFO name="QUERY_STATUS" value="OVERFLOW"/>\n' if overflow() else ""
    file.write(f"{end}</{data}>\n</DATA>\n</TABLE>\n{more}{TAIL}".encode())


def _infos(infos: Mapping[str, str]) -> str:
    return "".join(
        f"<INFO name={quoteattr(name)} value={quoteattr(value)}/>\n"
        for name, value in infos.items()
    )


def _fields(schema: pa.Schema) -> str:
    lines = []
    for field in schema:
        datatype, arraysize = votype(field.type)
        words = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
        datatype = words.get("datatype") or datatype
        attributes = {"name": field.name, "datatype": datatype, "arraysize": arraysize or ""}
        attributes |= {key: words.get(key, "") for key in ("unit", "ucd", "xtype")}
        if field.name in ("ra", "dec"):
            attributes["ref"] = "icrs"
        text = " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items() if value)
        description = f"<DESCRIPTION>{escape(words.get('description', ''))}</DESCRIPTION>"
        lines.append(f"<FIELD {text}>{description}</FIELD>\n")
    return "".join(lines)


# -- TABLEDATA


def _rows_as_text(batch: pa.RecordBatch) -> bytes:
    cells = [
        pc.binary_join_element_wise("<TD>", pc.fill_null(_text(rows), ""), "</TD>", "")
        for rows in batch.columns
    ]
    rows = pc.binary_join_element_wise("<TR>", *cells, "</TR>\n", "")
    return "".join(rows.to_pylist()).encode()


def _text(rows: pa.Array) -> pa.Array:
    kind = rows.type
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        return pc.binary_join(rows.cast(pa.list_(kind.value_type)).cast(pa.list_(pa.string())), " ")
    if pa.types.is_string(kind):
        for raw, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            rows = pc.replace_substring(rows, raw, safe)
        return rows
    texts = rows.cast(pa.string())
    if pa.types.is_floating(kind):
        for arrow, votable in (("nan", "NaN"), ("inf", "+Inf"), ("-inf", "-Inf")):
            texts = pc.if_else(pc.equal(texts, arrow), votable, texts)
    return texts


# -- BINARY2


def _base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        rest += piece
        whole = len(rest) - len(rest) % LINE
        yield base64.encodebytes(rest[:whole])
        rest = rest[whole:]
    yield base64.encodebytes(rest)


def _rows_as_bytes(batch: pa.RecordBatch) -> bytes:
    """Of each row: one bit a column that says NULL, and the values, the most significant byte
    first.
    """
    nulls = np.stack([_array(rows.is_null()) for rows in batch.columns], axis=1)
    flags = np.packbits(nulls, axis=1)
    if all(votype(field.type)[1] != "*" for field in batch.schema):
        columns = [_numbers(rows) for rows in batch.columns]
        kinds = [(f"f{i}", column.dtype, column.shape[1:]) for i, column in enumerate(columns)]
        rows = np.empty(len(batch), [("null", np.uint8, flags.shape[1:]), *kinds])
        rows["null"] = flags
        for (name, *_), column in zip(kinds, columns, strict=True):
            rows[name] = column
        return rows.tobytes()
    cells = [
        _cells(rows, "utf-8" if _is_ascii(field) else "utf-16-be")
        for rows, field in zip(batch.columns, batch.schema, strict=True)
    ]
    return b"".join(
        piece for flag, *row in zip(flags, *cells, strict=True) for piece in (flag.tobytes(), *row)
    )


def _is_ascii(field: pa.Field) -> bool:
    return bool((field.metadata or {}).get(b"datatype") == b"char")


def _cells(rows: pa.Array, encoding: str) -> list[bytes]:
    """Each value of a column as bytes."""
    if votype(rows.type)[1] != "*":
        values = _numbers(rows)
        raw, step = values.tobytes(), values.itemsize * math.prod(values.shape[1:])
        return [raw[start : start + step] for start in range(0, len(raw), step)]
    if pa.types.is_list(rows.type):
        kind = _numbers(pa.array([], rows.type.value_type)).dtype
        arrays = [np.array(value or (), kind) for value in rows.to_pylist()]
        return [_length(len(array)) + array.tobytes() for array in arrays]
    texts = [(text or "").encode(encoding) for text in rows.to_pylist()]
    bytes_a_letter = 1 if encoding == "utf-8" else 2
    return [_length(len(text) // bytes_a_letter) + text for text in texts]


def _length(n: int) -> bytes:
    return n.to_bytes(4, "big")


def _numbers(rows: pa.Array) -> NDArray[np.generic]:
    """A column with the most significant byte first, with shape (N,), or (N, C) for arrays; NULL is
    NaN or 0.
    """
    kind = rows.type
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        inner = rows.values.slice(rows.offset * size, len(rows) * size)
        return _numbers(inner).reshape(len(rows), size)
    if pa.types.is_boolean(kind):
        return np.where(_array(pc.fill_null(rows, False)), b"T", b"F")
    values = _array(pc.fill_null(rows, np.nan if pa.types.is_floating(kind) else 0))
    return values.astype(values.dtype.newbyteorder(">"))


def _array(rows: pa.Array) -> NDArray[np.generic]:
    return np.asarray(rows.to_numpy(zero_copy_only=False))
