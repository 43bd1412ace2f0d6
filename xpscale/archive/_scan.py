"""The compiled loop under `xpscale.archive.ecsv`: bytes to numbers, one pass, no copies.

A row is walked field by field.  ``roles[column]`` is -1 for a column to skip, else the slot it fills: first the integers,
then the floats, then the arrays.  Text nobody wants is skipped a 64-bit word at a time: for a word w and a byte b repeated
in every lane of B, ``x = w ^ B`` has a zero byte where w holds b, and ``(x - 0x01..01) & ~x & 0x80..80`` is non-zero exactly
when x has one (Mycroft's test).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["scan_rows"]

_COMMA, _NEWLINE, _QUOTE, _RETURN = 44, 10, 34, 13
_LOW = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_POWERS = np.array([float(f"1e{i}") for i in range(309)])
_EXACT = np.uint64(1 << 53)  # from here on not every integer is a float64
_MAX_TENTH = (2**63 - 1) // 10

_jit: Any = nb.njit(cache=True, nogil=True, boundscheck=False)


@_jit
def _find(data, words, position, stop, byte):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """First offset at or after ``position`` where ``byte`` stands, or ``stop``."""
    while position < stop and position & 7:
        if data[position] == byte:
            return position
        position += 1
    lanes = np.uint64(byte) * _LOW
    while position + 8 <= stop:
        x = words[position >> 3] ^ lanes
        if (x - _LOW) & ~x & _HIGH:
            break
        position += 8
    while position < stop and data[position] != byte:
        position += 1
    return position


@_jit
def _find_either(data, words, position, stop, byte, other):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """First offset at or after ``position`` where ``byte`` or ``other`` stands, or ``stop``."""
    while position < stop and position & 7:
        if data[position] == byte or data[position] == other:
            return position
        position += 1
    lanes, other_lanes = np.uint64(byte) * _LOW, np.uint64(other) * _LOW
    while position + 8 <= stop:
        x, y = words[position >> 3] ^ lanes, words[position >> 3] ^ other_lanes
        if (((x - _LOW) & ~x) | ((y - _LOW) & ~y)) & _HIGH:
            break
        position += 8
    while position < stop and data[position] != byte and data[position] != other:
        position += 1
    return position


@_jit
def _is_word(data, start, stop, word):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Whether ``data[start:stop]`` is a lower-case word, in whatever case."""
    if stop - start != len(word):
        return False
    differing = 0
    for i in range(len(word)):
        differing += data[start + i] | 32 != word[i]
    return differing == 0


@_jit
def _scaled(mantissa, exponent):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
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
    if mantissa < _EXACT or exponent < -22:
        return quotient
    # more than 53 bits: add the remainder over the power, both from exact products (Dekker 1971, Numer. Math. 18, 224)
    lost = np.float64(np.int64(mantissa - np.uint64(value)))
    product = quotient * power
    q_high, p_high = _high_half(quotient), _high_half(power)
    q_low, p_low = quotient - q_high, power - p_high
    error = ((q_high * p_high - product) + q_high * p_low + q_low * p_high) + q_low * p_low
    return quotient + ((value - product) - error + lost) / power


@_jit
def _high_half(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    scaled = value * 134217729.0  # 2**27 + 1
    return scaled - (scaled - value)


@_jit
def _number(data, start, stop):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """(value, sound) of the decimal number in ``data[start:stop]``; NaN for empty, null and nan."""
    while start < stop and (data[start] == 32 or data[start] == 40 or data[start] == 91):
        start += 1
    while stop > start and (data[stop - 1] in (32, 41, 93, 13)):
        stop -= 1
    if start == stop:
        return np.nan, True
    if _is_word(data, start, stop, b"null") or _is_word(data, start, stop, b"nan"):
        return np.nan, True
    negative = data[start] == 45
    if negative or data[start] == 43:
        start += 1
    if _is_word(data, start, stop, b"inf") or _is_word(data, start, stop, b"infinity"):
        return (-np.inf if negative else np.inf), True
    mantissa = np.uint64(0)
    n_digits, exponent, seen_point, any_digit = 0, 0, False, False
    position = start
    while position < stop:
        c = data[position]
        if 48 <= c <= 57:
            any_digit = True
            if n_digits < 19:
                mantissa = mantissa * np.uint64(10) + np.uint64(c - 48)
                if mantissa:
                    n_digits += 1
                if seen_point:
                    exponent -= 1
            elif not seen_point:
                exponent += 1
        elif c == 46 and not seen_point:
            seen_point = True
        else:
            break
        position += 1
    if not any_digit:
        return np.nan, False
    if position < stop:
        if (data[position] | 32) != 101:
            return np.nan, False
        position += 1
        minus = position < stop and data[position] == 45
        if minus or (position < stop and data[position] == 43):
            position += 1
        if position == stop:
            return np.nan, False
        power = 0
        while position < stop:
            c = data[position]
            if c < 48 or c > 57:
                return np.nan, False
            power = min(power * 10 + (c - 48), 10000)
            position += 1
        exponent += -power if minus else power
    value = _scaled(mantissa, exponent)
    return (-value if negative else value), True


@_jit
def _integer(data, start, stop):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """(value, sound) of the integer in ``data[start:stop]``; 0 for empty and null."""
    if stop > start and data[stop - 1] == 13:
        stop -= 1
    if start == stop or _is_word(data, start, stop, b"null"):
        return 0, True
    negative = data[start] == 45
    if negative:
        start += 1
    value = 0
    for position in range(start, stop):
        c = data[position]
        if c < 48 or c > 57 or value > _MAX_TENTH:
            return 0, False
        value = value * 10 + (c - 48)
    return (-value if negative else value), stop > start and value >= 0


@_jit
def _array(data, start, stop, row, width):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Number of elements of ``[a,b,...]`` put into ``row[:width]``, or -1 if it is no such array."""
    if _is_word(data, start, stop, b"null"):
        return 0
    while start < stop and data[start] in (32, 91, 40):
        start += 1
    while stop > start and data[stop - 1] in (32, 93, 41):
        stop -= 1
    if start == stop:
        return 0
    count, field = 0, start
    for position in range(start, stop + 1):
        if position == stop or data[position] == 44:
            if count == width:
                return -1
            value, sound = _number(data, field, position)
            if not sound:
                return -1
            row[count] = value
            count += 1
            field = position + 1
    return count


@_jit
def _skip_rest(data, words, position, stop):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """(offset of the newline that ends this row or ``stop``, commas outside quotes on the way, sound)."""
    commas = 0
    while True:
        first = position
        position = _find_either(data, words, position, stop, _NEWLINE, _QUOTE)
        for i in range(first, position):
            commas += data[i] == _COMMA
        if position == stop or data[position] == _NEWLINE:
            return position, commas, True
        position = _find(data, words, position + 1, stop, _QUOTE) + 1
        if position >= stop:
            return stop, commas, True
        if data[position] not in (_COMMA, _NEWLINE, _RETURN):
            return position, commas, False


@_jit
def _has_newline(data, start, stop):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    found = 0
    for i in range(start, stop):
        found += data[i] == _NEWLINE
    return found > 0


@_jit
def _scan(data, words, start, stop, roles, integers, floats, arrays, widths, lengths):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    n_integers, n_floats = integers.shape[1], floats.shape[1]
    n_columns = len(roles)
    last_wanted = 0
    for column in range(n_columns):
        if roles[column] >= 0:
            last_wanted = column
    edges = np.zeros(len(widths) + 1, np.int64)
    edges[1:] = np.cumsum(widths)
    n, position, room = 0, start, len(lengths)
    while position < stop and n < room:
        row_start = position
        if data[position] == _NEWLINE or (
            data[position] == _RETURN and position + 1 < stop and data[position + 1] == _NEWLINE
        ):
            position += 1 + (data[position] == _RETURN)
            continue
        fault = -1
        for column in range(last_wanted + 1):
            first = position
            if data[position] == _QUOTE:
                first = position + 1
                last = _find(data, words, first, stop, _QUOTE)
                position = last + 1
                if position < stop and data[position] not in (_COMMA, _NEWLINE, _RETURN):
                    fault = column
            else:
                while position < stop and data[position] != _COMMA and data[position] != _NEWLINE:
                    position += 1
                last = position
            if position >= stop:
                break  # the row goes on in the next chunk
            role = roles[column]
            if role >= 0 and fault < 0:
                sound = True
                if role < n_integers:
                    integers[n, role], sound = _integer(data, first, last)
                elif role < n_integers + n_floats:
                    floats[n, role - n_integers], sound = _number(data, first, last)
                else:
                    slot = role - n_integers - n_floats
                    count = _array(data, first, last, arrays[n, edges[slot] : edges[slot + 1]], widths[slot])
                    sound = count >= 0
                    lengths[n, slot] = count
                if not sound:
                    fault = column
            if fault >= 0:
                return n, row_start, fault
            if column < last_wanted:
                if data[position] != _COMMA:
                    return n, row_start, n_columns
                position += 1
        if position < stop:
            position, commas, sound = _skip_rest(data, words, position, stop)
            if position < stop and (not sound or commas != n_columns - 1 - last_wanted):
                return n, row_start, n_columns
        if position >= stop:
            if _has_newline(data, row_start, stop):  # inside a quote that never closes
                return n, row_start, n_columns
            return n, row_start, -1
        n += 1
        position += 1
    return n, position, -1


def scan_rows(
    data: NDArray[np.uint8],
    start: int,
    stop: int,
    roles: NDArray[np.int32],
    integers: NDArray[np.int64],
    floats: NDArray[np.float64],
    arrays: NDArray[np.float32],
    widths: NDArray[np.int64],
    lengths: NDArray[np.int32],
) -> tuple[int, int, int]:
    """Parse the complete rows of ``data[start:stop]`` into the output arrays, as many as these have room for.

    ``data`` has a length that is a multiple of 8.

    Returns
    -------
    n_rows, consumed, bad
        Rows parsed, offset of the first byte not used, and -1; or the index of the column that could not be read in row
        ``n_rows``, or the number of columns if the row has too few.
    """
    n, consumed, bad = _scan(data, data.view(np.uint64), start, stop, roles, integers, floats, arrays, widths, lengths)
    return int(n), int(consumed), int(bad)
