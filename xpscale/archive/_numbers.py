"""Compiled: decimal text to numbers.

Part of `xpscale.archive._scan`, whose compiled code is kept in ``__pycache__`` and is not renewed
when only this file changes: remove it after an edit.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numba.extending import intrinsic

__all__ = ["byte_at", "jit", "read_array", "read_integer", "read_number", "read_plain_array"]

_COMMA, _QUOTE = 44, 34
_POWERS = np.array([float(f"1e{i}") for i in range(309)])
_TENS = np.array([10**i for i in range(9)], np.uint64)
_MAX_TENTH = (2**63 - 1) // 10

jit: Any = nb.njit(cache=True, nogil=True, boundscheck=False)
_intrinsic: Any = intrinsic


@jit
def byte_at(data, position):  # type: ignore[no-untyped-def]
    """The byte at an offset; numba would wrap a signed one that is negative, which costs a third of
    the speed.
    """
    return data[np.uint64(position)]


@_intrinsic
def _eight_bytes(typingctx, data, position):  # type: ignore[no-untyped-def]
    """The 8 bytes at an offset, the first in the lowest place."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, args[0])
        word = context.get_value_type(nb.uint64)
        address = builder.bitcast(builder.gep(array.data, [args[1]]), word.as_pointer())
        return builder.load(address, align=1)

    return nb.uint64(data, position), generate


@_intrinsic
def _n_zero_bits(typingctx, word):  # type: ignore[no-untyped-def]
    """Zero bits below the lowest one that is set; 64 if none is."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.cttz(args[0], context.get_constant(nb.boolean, False))

    return nb.uint64(nb.uint64), generate


@jit
def _read_digits(data, position, stop, mantissa):  # type: ignore[no-untyped-def]
    """(the mantissa with the digits at ``position`` behind it, offset of the first byte that is no
    digit).

    Eight bytes at a time; the offset may lie up to 7 bytes behind ``stop``.
    """
    while True:
        word = _eight_bytes(data, position) ^ np.uint64(0x3030303030303030)  # digits become 0 to 9
        others = ((word + np.uint64(0x7676767676767676)) | word) & np.uint64(0x8080808080808080)
        n_digits = _n_zero_bits(others) >> np.uint64(3)
        if n_digits == 0:
            return mantissa, position
        word <<= np.uint64(64) - (
            n_digits << np.uint64(3)
        )  # zeros before them; then pairs, fours and all eight
        word = (word * np.uint64(2561)) >> np.uint64(8)
        word = ((word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601)) >> np.uint64(16)
        word = ((word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001)) >> np.uint64(32)
        mantissa = mantissa * _TENS[n_digits] + word
        position += np.int64(n_digits)
        if n_digits < 8 or position >= stop:
            return mantissa, position


@jit
def _is_word(data, start, stop, word):  # type: ignore[no-untyped-def]
    """Whether ``data[start:stop]`` is a lower-case word, in whatever case."""
    if stop - start != len(word):
        return False
    differing = 0
    for i in range(len(word)):
        differing += data[start + i] | 32 != word[i]
    return differing == 0


@jit
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


@jit
def _high_half(value):  # type: ignore[no-untyped-def]
    scaled = value * 134217729.0  # 2**27 + 1
    return scaled - (scaled - value)


@jit
def read_number(data, start, stop):  # type: ignore[no-untyped-def]
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


@jit
def read_integer(data, start, stop):  # type: ignore[no-untyped-def]
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


@jit
def read_array(data, start, stop, row, width):  # type: ignore[no-untyped-def]
    """Number of elements of ``[a,b,...]`` put into ``row[:width]``, or -1 if it is no such
    array.
    """
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
        if position == stop or data[position] == _COMMA:
            if count == width:
                return -1
            value, sound = read_number(data, field, position)
            if not sound:
                return -1
            row[count] = value
            count += 1
            field = position + 1
    return count


@jit
def read_plain_array(data, position, stop, row, width):  # type: ignore[no-untyped-def]
    """As `read_array` for ``[a,b,...]"`` of plain numbers, of up to 19 digits: (elements, offset of
    the closing quote).

    (-1, 0) for whatever else stands there: `read_array` judges it.
    """
    if position == stop or byte_at(data, position) not in (91, 40):
        return -1, 0
    position += 1
    for count in range(width):
        negative = byte_at(data, position) == 45
        position += negative
        first, exponent = position, 0
        mantissa, position = _read_digits(data, position, stop, np.uint64(0))
        n_digits = position - first
        if byte_at(data, position) == 46:
            point = position + 1
            first = point
            while (
                mantissa == 0 and first < stop and byte_at(data, first) == 48
            ):  # zeros that say nothing but where the point is
                first += 1
            mantissa, position = _read_digits(data, first, stop, mantissa)
            exponent = point - position
            n_digits += position - first
        if n_digits == 0 or n_digits > 19 or position + 8 > stop:
            return -1, 0
        c = byte_at(data, position)
        if c | 32 == 101:  # E-4, E12
            minus = byte_at(data, position + 1) == 45
            power, position = 0, position + 1 + minus
            begin = position
            while position < begin + 3 and 48 <= byte_at(data, position) <= 57:
                power = power * 10 + (byte_at(data, position) - 48)
                position += 1
            if position == begin:
                return -1, 0
            exponent += -power if minus else power
            c = byte_at(data, position)
        value = _scaled(mantissa, exponent)
        row[count] = -value if negative else value
        position += 1
        if c != _COMMA:
            closed = (c == 93 or c == 41) and position < stop and byte_at(data, position) == _QUOTE
            return (count + 1, position) if closed else (-1, 0)
    return -1, 0
