"""The compiled loop under `xpscale.archive.ecsv`: bytes to numbers, in one pass and without copies.

A row is walked field by field.  ``roles[column]`` is -1 for a column to skip, else the slot it
fills: first the integers, then the floats, then the arrays.  Loops that search or count are written
so that the compiler makes vector instructions of them (unsigned offsets, no exit in the middle).
All compiled functions stand in this one file: numba renews what it keeps of them when it changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["RowBuffer", "scan_rows"]

_jit: Any = nb.njit(cache=True, nogil=True, boundscheck=False)

_COMMA, _NEWLINE, _QUOTE, _RETURN, _SPACE, _MINUS, _PLUS, _POINT = 44, 10, 34, 13, 32, 45, 43, 46
_BLOCK = 64
_MAX_DIGITS = 19  # that a mantissa of 64 bits holds
_MAX_TENTH = (2**63 - 1) // 10
_POWERS = np.array([float(f"1e{i}") for i in range(309)])

_SOUND, _UNREADABLE, _TOO_LONG, _OTHER_COLUMNS, _INCOMPLETE = range(5)


class RowBuffer:
    """Room for rows.

    Parameters
    ----------
    n_integers, n_floats
        Scalar columns.
    widths
        The most elements that each array column may have here.
    n_bytes
        About the size of all arrays.

    Attributes
    ----------
    n
        Rows that are filled.
    integers, floats, arrays, lengths
        int64 (R, I), float64 (R, F), float32 (R, sum of the widths), and int32 (R, A) elements
        found in each array, for R rows.
    """

    def __init__(self, n_integers: int, n_floats: int, widths: Sequence[int], n_bytes: int) -> None:
        row_bytes = 4 * sum(widths) + 8 * (n_integers + n_floats)
        room = int(np.clip(n_bytes // row_bytes, 16, 16_384))
        self.n = 0
        self.edges = np.cumsum([0, *widths])
        self.integers = np.empty((room, n_integers), np.int64)
        self.floats = np.empty((room, n_floats))
        self.arrays = np.empty((room, int(self.edges[-1])), np.float32)
        self.lengths = np.empty((room, len(widths)), np.int32)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another row."""
        return self.n == len(self.integers)


def scan_rows(
    data: NDArray[np.uint8],
    start: int,
    stop: int,
    roles: NDArray[np.int32],
    wanted: NDArray[np.int64] | None,
    rows: RowBuffer,
) -> tuple[int, int, str, int]:
    """Parse complete rows of text into a buffer, as many as have room.

    Parameters
    ----------
    data
        Text.
    start, stop
        The bytes of it to parse.
    roles
        The slot that each column fills, or -1.
    wanted
        Ascending values of the first integer; rows with others are passed over.  All are wanted if
        it is ``None``.
    rows
        Filled from row ``rows.n`` on.

    Returns
    -------
    n_passed, consumed, fault, column
        Rows passed over; offset of the first byte not used; and what is wrong with the row that
        starts there, if anything: ``"unreadable"`` or ``"too long"`` (an array) in a column, or
        ``"columns"`` for too few or too many of them.
    """
    only = np.empty(0, np.int64) if wanted is None else wanted
    rows.n, n_passed, consumed, fault, column = _scan(
        data, start, stop, rows.n, roles, wanted is None, only,
        rows.integers, rows.floats, rows.arrays, rows.edges, rows.lengths,
    )  # fmt: skip
    name = {_UNREADABLE: "unreadable", _TOO_LONG: "too long", _OTHER_COLUMNS: "columns"}
    return int(n_passed), int(consumed), name.get(fault, ""), int(column)


@_jit
def _scan(  # type: ignore[no-untyped-def]
    data, start, stop, n, roles, all_wanted, wanted, integers, floats, arrays, edges, lengths
):
    last_wanted = 0
    for column in range(len(roles)):
        if roles[column] >= 0:
            last_wanted = column
    position, n_passed = start, 0
    while position < stop and n < len(lengths):
        if data[position] == _NEWLINE:
            position += 1
            continue
        if data[position] == _RETURN and position + 1 < stop and data[position + 1] == _NEWLINE:
            position += 2
            continue
        end, fault, column, is_wanted = _scan_row(
            data, position, stop, n, roles, last_wanted, all_wanted, wanted,
            integers, floats, arrays, edges, lengths,
        )  # fmt: skip
        if fault == _INCOMPLETE and _count(data, position, stop, _NEWLINE):
            fault = _OTHER_COLUMNS  # a quote that never closes
        if fault != _SOUND:
            return n, n_passed, position, fault, column
        position = end + 1
        n += is_wanted
        n_passed += not is_wanted
    return n, n_passed, position, _SOUND, -1


@_jit
def _scan_row(  # type: ignore[no-untyped-def]
    data, position, stop, n, roles, last_wanted, all_wanted, wanted,
    integers, floats, arrays, edges, lengths,
):  # fmt: skip
    """(offset of the row's newline, fault, its column, whether the row is wanted)."""
    is_wanted, column = True, 0
    while True:
        first, last, position = _field(data, position, stop)
        if position >= stop:
            return stop, _INCOMPLETE, column, is_wanted
        if _byte(data, position) not in (_COMMA, _NEWLINE, _RETURN):
            return position, _UNREADABLE, column, is_wanted
        if roles[column] >= 0:
            fault = _read_field(
                data, first, last, roles[column], n, integers, floats, arrays, edges, lengths
            )
            if fault != _SOUND:
                return position, fault, column, is_wanted
            if roles[column] == 0 and not all_wanted:
                is_wanted = _is_among(wanted, integers[n, 0])
        if column == last_wanted or not is_wanted:
            break
        if _byte(data, position) != _COMMA:
            return position, _OTHER_COLUMNS, column, is_wanted
        position, column = position + 1, column + 1
    position, fault = _skip_rest(data, position, stop, len(roles) - 1 - column)
    return position, fault, column, is_wanted


@_jit
def _field(data, position, stop):  # type: ignore[no-untyped-def]
    """(begin, end of a field's text without quotes, offset behind it; ``stop`` if it goes on)."""
    if position < stop and _byte(data, position) == _QUOTE:
        last = _find(data, position + 1, stop, _QUOTE)
        return position + 1, last, last + 1
    last = position
    while last < stop and _byte(data, last) != _COMMA and _byte(data, last) != _NEWLINE:
        last += 1
    return position, last, last


@_jit
def _skip_rest(data, position, stop, n_commas):  # type: ignore[no-untyped-def]
    """(offset of the newline that ends this row, fault: are there ``n_commas`` outside quotes?)."""
    newline = _find(data, position, stop, _NEWLINE)
    if newline < stop and _find(data, position, newline, _QUOTE) == newline:
        is_right = _count(data, position, newline, _COMMA) == n_commas
        return newline, _SOUND if is_right else _OTHER_COLUMNS
    commas = 0
    while position < stop:
        c = _byte(data, position)
        if c == _NEWLINE:
            return position, _SOUND if commas == n_commas else _OTHER_COLUMNS
        commas += c == _COMMA
        if c == _QUOTE:
            position = _find(data, position + 1, stop, _QUOTE)
            after = _byte(data, position + 1) if position + 1 < stop else _COMMA
            if after not in (_COMMA, _NEWLINE, _RETURN):
                return position, _OTHER_COLUMNS
        position += 1
    return stop, _INCOMPLETE


@_jit
def _read_field(  # type: ignore[no-untyped-def]
    data, first, last, role, n, integers, floats, arrays, edges, lengths
):
    """Put a field where it belongs; the fault."""
    n_integers, n_floats = integers.shape[1], floats.shape[1]
    if role < n_integers:
        integers[n, role], sound = _integer(data, first, last)
        return _SOUND if sound else _UNREADABLE
    if role < n_integers + n_floats:
        value, end = _number(data, first, last)
        floats[n, role - n_integers] = value
        return _SOUND if end == last else _UNREADABLE
    slot = role - n_integers - n_floats
    row = arrays[n, edges[slot] : edges[slot + 1]]
    count, fault = _array(data, first, last, row)
    row[count:] = np.nan
    lengths[n, slot] = count
    return fault


# -- text to numbers


@_jit
def _array(data, start, stop, row):  # type: ignore[no-untyped-def]
    """(number of elements of ``[a,b,...]`` that were put into ``row``, fault)."""
    if _is_word(data, start, stop, b"null"):
        return 0, _SOUND
    while start < stop and _byte(data, start) in (_SPACE, 91, 40):  # [ (
        start += 1
    while stop > start and _byte(data, stop - 1) in (_SPACE, 93, 41):  # ] )
        stop -= 1
    if start == stop:
        return 0, _SOUND
    count, position = 0, start
    while position <= stop:
        if count == len(row):
            return count, _TOO_LONG
        value, position = _number(data, position, stop)
        if position < 0 or (position < stop and _byte(data, position) != _COMMA):
            return count, _UNREADABLE
        row[count] = value
        count, position = count + 1, position + 1
    return count, _SOUND


@_jit
def _number(data, start, stop):  # type: ignore[no-untyped-def]
    """(value of the decimal number at ``start``, offset behind it); NaN for empty, null and nan.

    The number is sound if the offset is that of a comma, or ``stop``.
    """
    while start < stop and _byte(data, start) == _SPACE:
        start += 1
    negative = start < stop and _byte(data, start) == _MINUS
    position = start + (negative or (start < stop and _byte(data, start) == _PLUS))
    if position == stop or (
        np.uint8(_byte(data, position) - 48) > 9 and _byte(data, position) != _POINT
    ):
        return _word(data, start, position, stop)
    mantissa, n_digits, n_lost, first = np.uint64(0), 0, 0, position
    mantissa, n_digits, n_lost, position = _digits(data, position, stop, mantissa, n_digits)
    exponent, n_seen = n_lost, position - first
    if position < stop and _byte(data, position) == _POINT:
        first = position + 1
        mantissa, n_digits, n_lost, position = _digits(data, first, stop, mantissa, n_digits)
        exponent -= position - first - n_lost
        n_seen += position - first
    if n_seen == 0:
        return np.nan, -1
    if position < stop and (_byte(data, position) | 32) == 101:  # e
        power, position = _power(data, position + 1, stop)
        exponent += power
    while 0 <= position < stop and _byte(data, position) in (_SPACE, _RETURN):
        position += 1
    value = _scaled(mantissa, exponent)
    return (-value if negative else value), position


@_jit
def _digits(data, position, stop, mantissa, n_digits):  # type: ignore[no-untyped-def]
    """(mantissa with the digits at ``position`` behind it, its number of digits, digits it has no
    room for, offset of the first byte that is no digit).
    """
    n_lost = 0
    while position < stop:
        digit = np.uint8(_byte(data, position) - 48)
        if digit > 9:
            break
        if n_digits < _MAX_DIGITS:
            mantissa = mantissa * np.uint64(10) + np.uint64(digit)
            n_digits += mantissa > 0
        else:
            n_lost += 1
        position += 1
    return mantissa, n_digits, n_lost, position


@_jit
def _power(data, position, stop):  # type: ignore[no-untyped-def]
    """(the exponent behind an E, offset behind it; -1 if there is none)."""
    minus = position < stop and _byte(data, position) == _MINUS
    position += minus or (position < stop and _byte(data, position) == _PLUS)
    power, first = 0, position
    while position < stop and 48 <= _byte(data, position) <= 57:
        power = min(power * 10 + (_byte(data, position) - 48), 10_000)
        position += 1
    return (-power if minus else power), position if position > first else -1


@_jit
def _word(data, start, behind_sign, stop):  # type: ignore[no-untyped-def]
    """(value of what is written in letters, offset behind it); -1 if it is none of them."""
    end = start
    while end < stop and _byte(data, end) != _COMMA:
        end += 1
    last = end
    while last > start and _byte(data, last - 1) in (_SPACE, _RETURN):
        last -= 1
    if last == start or _is_word(data, start, last, b"null") or _is_word(data, start, last, b"nan"):
        return np.nan, end
    if _is_word(data, behind_sign, last, b"inf") or _is_word(data, behind_sign, last, b"infinity"):
        return (-np.inf if _byte(data, start) == _MINUS else np.inf), end
    return np.nan, -1


@_jit
def _integer(data, start, stop):  # type: ignore[no-untyped-def]
    """(value, sound) of an integer; 0 for empty and null."""
    if stop > start and _byte(data, stop - 1) == _RETURN:
        stop -= 1
    if start == stop or _is_word(data, start, stop, b"null"):
        return 0, True
    negative = _byte(data, start) == _MINUS
    start += negative
    value = 0
    for position in range(start, stop):
        c = _byte(data, position)
        if c < 48 or c > 57 or value > _MAX_TENTH:
            return 0, False
        value = value * 10 + (c - 48)
    return (-value if negative else value), stop > start and value >= 0


@_jit
def _scaled(mantissa, exponent):  # type: ignore[no-untyped-def]
    """``mantissa * 10**exponent``, to the nearest float64 for exponents from -22 to 0."""
    value = np.float64(mantissa)
    if exponent < -308:
        return value / 1e308 / _POWERS[min(-exponent - 308, 308)]
    if exponent > 0:
        return value * _POWERS[min(exponent, 308)]
    if exponent == 0:
        return value
    power = _POWERS[-exponent]
    quotient = value / power
    if exponent < -22:
        return quotient
    # a mantissa may have 64 bits: add the remainder over the power, from exact products (Dekker
    # 1971, Numer. Math. 18, 224)
    lost = np.float64(np.int64(mantissa - np.uint64(value)))
    product = quotient * power
    q_high, p_high = _high_half(quotient), _high_half(power)
    q_low, p_low = quotient - q_high, power - p_high
    error = ((q_high * p_high - product) + q_high * p_low + q_low * p_high) + q_low * p_low
    return quotient + ((value - product) - error + lost) / power


@_jit
def _high_half(value):  # type: ignore[no-untyped-def]
    scaled = value * 134217729.0  # 2**27 + 1
    return scaled - (scaled - value)


# -- bytes


@_jit
def _byte(data, position):  # type: ignore[no-untyped-def]
    """The byte at an offset; a signed offset may be negative for numba, which costs time."""
    return data[np.uint64(position)]


@_jit
def _find(data, position, stop, wanted):  # type: ignore[no-untyped-def]
    """First offset at or after ``position`` where a byte stands, or ``stop``."""
    while position + _BLOCK <= stop:
        nearest = np.uint8(255)  # 0 if any of the block is the byte: vector instructions
        for i in range(np.uint64(_BLOCK)):
            nearest = min(nearest, np.uint8(data[np.uint64(position) + i] ^ np.uint8(wanted)))
        if nearest == 0:
            break
        position += _BLOCK
    while position < stop and _byte(data, position) != wanted:
        position += 1
    return position


@_jit
def _count(data, start, stop, wanted):  # type: ignore[no-untyped-def]
    found = 0
    for i in range(np.uint64(start), np.uint64(stop)):
        found += data[i] == wanted
    return found


@_jit
def _is_word(data, start, stop, word):  # type: ignore[no-untyped-def]
    """Whether some text is a lower-case word, in whatever case."""
    if stop - start != len(word):
        return False
    differing = 0
    for i in range(len(word)):
        differing += _byte(data, start + i) | 32 != word[i]
    return differing == 0


@_jit
def _is_among(sorted_ids, value):  # type: ignore[no-untyped-def]
    place = np.searchsorted(sorted_ids, value)
    return place < len(sorted_ids) and sorted_ids[place] == value
