"""The compiled loop under `xpscale.archive.ecsv`: bytes to numbers, one pass, no copies.

A row is walked field by field.  ``roles[column]`` is -1 for a column to skip, else the slot it
fills: first the integers, then the floats, then the arrays.  Text nobody wants is skipped 64 bytes
at a time; loops over bytes are written so that the compiler makes vector instructions of them
(unsigned offsets, no way out in the middle), at 10 to 30 bytes a nanosecond.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xpscale.archive._numbers import (
    byte_at,
    jit,
    read_array,
    read_integer,
    read_number,
    read_plain_array,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PADDING", "scan_rows"]

_COMMA, _NEWLINE, _QUOTE, _RETURN = 44, 10, 34, 13
_BLOCK = 64
_SHORT = 4096

PADDING = 32
"""Bytes that must follow those to be read, whatever they are: numbers are read eight bytes at a
time.
"""


@jit
def _find(data, position, stop, byte):  # type: ignore[no-untyped-def]
    """First offset at or after ``position`` where ``byte`` stands, or ``stop``."""
    wanted = np.uint8(byte)
    while position + _BLOCK <= stop:
        nearest = np.uint8(
            255
        )  # 0 if any of the block is the byte: one vector operation for 32 of them
        for i in range(np.uint64(_BLOCK)):
            nearest = min(nearest, np.uint8(data[np.uint64(position) + i] ^ wanted))
        if nearest == 0:
            break
        position += _BLOCK
    while position < stop and byte_at(data, position) != wanted:
        position += 1
    return position


@jit
def _count(data, start, stop, byte):  # type: ignore[no-untyped-def]
    found = 0
    for i in range(np.uint64(start), np.uint64(stop)):
        found += data[i] == byte
    return found


@jit
def _measure_line(data, position, stop):  # type: ignore[no-untyped-def]
    """(first offset of a newline at or after ``position``, or ``stop``; commas and quotes before
    it).
    """
    commas, quotes = 0, 0
    while position + _BLOCK <= stop:
        nearest, n_commas, n_quotes = (
            np.uint8(255),
            np.uint8(0),
            np.uint8(0),
        )  # bytes, to fit into one vector
        for i in range(np.uint64(_BLOCK)):
            c = data[np.uint64(position) + i]
            nearest = min(nearest, np.uint8(c ^ np.uint8(_NEWLINE)))
            n_commas = np.uint8(n_commas + np.uint8(c == _COMMA))
            n_quotes = np.uint8(n_quotes + np.uint8(c == _QUOTE))
        if nearest == 0:
            break
        commas, quotes, position = commas + int(n_commas), quotes + int(n_quotes), position + _BLOCK
    while position < stop and byte_at(data, position) != _NEWLINE:
        commas += byte_at(data, position) == _COMMA
        quotes += byte_at(data, position) == _QUOTE
        position += 1
    return position, commas, quotes


@jit
def _skip_rest(data, position, stop, n_commas):  # type: ignore[no-untyped-def]
    """(offset of the newline that ends this row or ``stop``, whether ``n_commas`` outside quotes
    stand before it).
    """
    end = min(stop, position + _SHORT)
    newline, commas, quotes = _measure_line(data, position, end)
    if newline < end and quotes % 2 == 0 and commas == n_commas:
        return newline, True
    commas = 0
    while position < stop:
        c = byte_at(data, position)
        if c == _NEWLINE:
            return position, commas == n_commas
        if c == _COMMA:
            commas += 1
        elif c == _QUOTE:
            position = _find(data, position + 1, stop, _QUOTE)
            if position + 1 < stop and byte_at(data, position + 1) not in (
                _COMMA,
                _NEWLINE,
                _RETURN,
            ):
                return position, False
        position += 1
    return stop, True


@jit
def _is_among(sorted_ids, value):  # type: ignore[no-untyped-def]
    place = np.searchsorted(sorted_ids, value)
    return place < len(sorted_ids) and sorted_ids[place] == value


@jit
def _scan(  # type: ignore[no-untyped-def]
    data, start, stop, n, roles, all_wanted, wanted, integers, floats, arrays, widths, lengths
):
    n_integers, n_floats = integers.shape[1], floats.shape[1]
    n_columns = len(roles)
    last_wanted = 0
    for column in range(n_columns):
        if roles[column] >= 0:
            last_wanted = column
    edges = np.zeros(len(widths) + 1, np.int64)
    edges[1:] = np.cumsum(widths)
    position, n_passed = start, 0
    while position < stop and n < len(lengths):
        row_start = position
        if data[position] == _NEWLINE or (
            data[position] == _RETURN and position + 1 < stop and data[position + 1] == _NEWLINE
        ):
            position += 1 + (data[position] == _RETURN)
            continue
        fault, commas_left, is_wanted = -1, n_columns - 1, True
        for column in range(last_wanted + 1):
            first, role = position, roles[column]
            count = -1
            if data[position] == _QUOTE:
                first = position + 1
                if role >= n_integers + n_floats:
                    slot = role - n_integers - n_floats
                    count, last = read_plain_array(
                        data, first, stop, arrays[n, edges[slot] : edges[slot + 1]], widths[slot]
                    )
                if count < 0:
                    last = _find(data, first, stop, _QUOTE)
                position = last + 1
                if position < stop and data[position] not in (_COMMA, _NEWLINE, _RETURN):
                    fault = column
            else:
                while (
                    position < stop
                    and byte_at(data, position) != _COMMA
                    and byte_at(data, position) != _NEWLINE
                ):
                    position += 1
                last = position
            if position >= stop:
                break  # the row goes on in the next chunk
            if role >= 0 and fault < 0:
                sound = True
                if role < n_integers:
                    integers[n, role], sound = read_integer(data, first, last)
                    is_wanted = role > 0 or all_wanted or _is_among(wanted, integers[n, 0])
                elif role < n_integers + n_floats:
                    floats[n, role - n_integers], sound = read_number(data, first, last)
                else:
                    slot = role - n_integers - n_floats
                    if count < 0:
                        count = read_array(
                            data,
                            first,
                            last,
                            arrays[n, edges[slot] : edges[slot + 1]],
                            widths[slot],
                        )
                    arrays[n, edges[slot] + max(count, 0) : edges[slot + 1]] = np.nan
                    lengths[n, slot] = count
                    sound = count >= 0
                if not sound:
                    fault = column
            if fault >= 0:
                return n, n_passed, row_start, fault
            if column == last_wanted or not is_wanted:
                break
            if data[position] != _COMMA:
                return n, n_passed, row_start, n_columns
            position += 1
            commas_left -= 1
        if position < stop:
            position, sound = _skip_rest(data, position, stop, commas_left)
            if position < stop and not sound:
                return n, n_passed, row_start, n_columns
        if position >= stop:
            if _count(data, row_start, stop, _NEWLINE):  # inside a quote that never closes
                return n, n_passed, row_start, n_columns
            return n, n_passed, row_start, -1
        n += is_wanted
        n_passed += not is_wanted
        position += 1
    return n, n_passed, position, -1


def scan_rows(
    data: NDArray[np.uint8],
    start: int,
    stop: int,
    n: int,
    roles: NDArray[np.int32],
    wanted: NDArray[np.int64] | None,
    integers: NDArray[np.int64],
    floats: NDArray[np.float64],
    arrays: NDArray[np.float32],
    widths: NDArray[np.int64],
    lengths: NDArray[np.int32],
) -> tuple[int, int, int, int]:
    """Parse the complete rows of ``data[start:stop]`` into the output arrays from row ``n`` on, as
    many as have room.

    Parameters
    ----------
    data
        Text, with `PADDING` bytes or more behind ``stop``.
    wanted
        Ascending values of the first integer; rows with others are passed over.  All are wanted if
        it is ``None``.

    Returns
    -------
    n, n_passed, consumed, bad
        Rows in the output arrays now, rows passed over, offset of the first byte not used, and -1;
        or the index of the column that could not be read, or the number of columns if the row has
        too few or too many.
    """
    only = np.empty(0, np.int64) if wanted is None else wanted
    found = _scan(
        data, start, stop, n, roles, wanted is None, only, integers, floats, arrays, widths, lengths
    )
    n, n_passed, consumed, bad = map(int, found)
    return n, n_passed, consumed, bad
