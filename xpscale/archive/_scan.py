"""The compiled loop under `xpscale.archive.rows`: bytes to numbers, in one pass and without copies.

``roles[column]`` is -1 for a column to skip, else the slot it fills: integers, then floats, then
arrays.  Loops that search or count become vector instructions.  All compiled functions are in this
one file: numba compiles again only when the file of the function that is called has changed.
"""

# mypy: ignore-errors
from __future__ import annotations

import numba as nb
import numpy as np

_jit = nb.njit(cache=True, nogil=True, boundscheck=False)

_COMMA, _NEWLINE, _QUOTE, _RETURN, _SPACE, _MINUS, _PLUS, _POINT = b',\n"\r -+.'
_BLOCK = 64
_SHORT = 4096  # a rest of a row in which commas are counted without regard to quotes
_MAX_DIGITS, _EXACT = 19, np.uint64(2**53)  # of a mantissa; those below are float64
_POWERS = np.array([float(f"1e{i}") for i in range(309)])

_SOUND, UNREADABLE, TOO_LONG, OTHER_COLUMNS, _INCOMPLETE = range(5)


@_jit
def _scan_text(data, start, stop, n, roles, last_wanted, all_wanted, wanted, out):
    """(rows in ``out``, rows passed over, offset behind them, next row's fault, its column)."""
    position, n_passed = start, 0
    while position < stop and n < len(out[0]):
        if data[position] in (_NEWLINE, _RETURN):  # an empty line
            position += 1
            continue
        end, fault, column, is_wanted = _scan_row(
            data, position, stop, n, roles, last_wanted, all_wanted, wanted, out
        )
        if fault == _INCOMPLETE and _find(data, position, stop, _NEWLINE) < stop:
            fault = OTHER_COLUMNS  # a quote that never closes
        if fault != _SOUND:
            return n, n_passed, position, fault, column
        position = end + 1
        n += is_wanted
        n_passed += not is_wanted
    return n, n_passed, position, _SOUND, -1


@_jit
def _scan_row(data, position, stop, n, roles, last_wanted, all_wanted, wanted, out):
    """(offset of the row's newline, fault, its column, whether the row is wanted)."""
    is_wanted, column = True, 0
    while True:
        first, last, position = _field(data, position, stop)
        if position >= stop:
            return stop, _INCOMPLETE, column, is_wanted
        if _byte(data, position) not in (_COMMA, _NEWLINE, _RETURN):
            return position, UNREADABLE, column, is_wanted
        if roles[column] >= 0:
            fault = _read_field(data, first, last, roles[column], n, out)
            if fault != _SOUND:
                return position, fault, column, is_wanted
            if roles[column] == 0 and not all_wanted:
                place = np.searchsorted(wanted, out[0][n, 0])
                is_wanted = place < len(wanted) and wanted[place] == out[0][n, 0]
        if column == last_wanted or not is_wanted:
            break
        if _byte(data, position) != _COMMA:
            return position, OTHER_COLUMNS, column, is_wanted
        position, column = position + 1, column + 1
    position, fault = _skip_rest(data, position, stop, len(roles) - 1 - column)
    return position, fault, column, is_wanted


@_jit
def _field(data, position, stop):
    """(begin, end of a field's text without quotes, offset behind it; ``stop`` if it goes on)."""
    if position < stop and _byte(data, position) == _QUOTE:
        last = _find(data, position + 1, stop, _QUOTE)
        return position + 1, last, last + 1
    last = position
    while last < stop and _byte(data, last) != _COMMA and _byte(data, last) != _NEWLINE:
        last += 1
    return position, last, last


@_jit
def _skip_rest(data, position, stop, n_commas):
    """(offset of the newline that ends this row, fault: are there ``n_commas`` outside quotes?)."""
    end = min(stop, position + _SHORT)
    newline = _find(data, position, end, _NEWLINE)
    quotes = _count(data, position, newline, _QUOTE)
    if newline < end and quotes % 2 == 0 and _count(data, position, newline, _COMMA) == n_commas:
        return newline, _SOUND
    commas = 0
    while True:
        _, _, position = _field(data, position, stop)
        if position >= stop:
            return stop, _INCOMPLETE
        c = _byte(data, position)
        if c == _NEWLINE:
            return position, _SOUND if commas == n_commas else OTHER_COLUMNS
        if c not in (_COMMA, _RETURN):
            return position, OTHER_COLUMNS
        commas += c == _COMMA
        position += 1


@_jit
def _read_field(data, first, last, role, n, out):
    """Put a field into row ``n``; the fault."""
    integers, floats, arrays, edges, lengths = out
    n_integers, n_floats = integers.shape[1], floats.shape[1]
    if role < n_integers:
        integers[n, role], sound = _integer(data, first, last)
        return _SOUND if sound else UNREADABLE
    if role < n_integers + n_floats:
        floats[n, role - n_integers], end = _number(data, first, last)
        return _SOUND if end == last else UNREADABLE
    slot = role - n_integers - n_floats
    row = arrays[n, edges[slot] : edges[slot + 1]]
    lengths[n, slot], fault = _array(data, first, last, row)
    row[lengths[n, slot] :] = np.nan
    return fault


@_jit
def _array(data, start, stop, row):
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
            return count, TOO_LONG
        value, position = _number(data, position, stop)
        if position < 0 or (position < stop and _byte(data, position) != _COMMA):
            return count, UNREADABLE
        row[count] = value
        count, position = count + 1, position + 1
    return count, _SOUND


@_jit
def _number(data, start, stop):
    """(number at ``start``, offset behind it: of a comma or ``stop`` if sound); NaN for null."""
    while start < stop and _byte(data, start) == _SPACE:
        start += 1
    negative = start < stop and _byte(data, start) == _MINUS
    first = start + (negative or (start < stop and _byte(data, start) == _PLUS))
    mantissa, point, position = _digits(data, first, stop)
    n_digits = position - first - (point >= 0)
    if n_digits == 0:
        return _word(data, start, first, stop)
    exponent = point + 1 - position if point >= 0 else 0
    if n_digits > _MAX_DIGITS:
        mantissa, exponent = _long_number(data, first, position, point)
    if position < stop and (_byte(data, position) | 32) == 101:  # e
        power, position = _power(data, position + 1, stop)
        exponent += power
    while 0 <= position < stop and _byte(data, position) in (_SPACE, _RETURN):
        position += 1
    value = _scaled(mantissa, exponent)
    return (-value if negative else value), position


@_jit
def _digits(data, position, stop):
    """(up to 19 digits as a whole number, offset of the point among them or -1, offset behind)."""
    value, point = np.uint64(0), -1
    while position < stop:
        digit = np.uint8(_byte(data, position) - 48)
        if digit <= 9:
            value = value * np.uint64(10) + np.uint64(digit)
        elif digit == 254 and point < 0:  # a point
            point = position
        else:
            break
        position += 1
    return value, point, position


@_jit
def _long_number(data, first, end, point):
    """(the leading 19 digits as a whole number, the exponent of ten that makes it the number)."""
    value, n_digits, exponent = np.uint64(0), 0, 0
    for position in range(first, end):
        if position != point:
            is_fraction = 0 <= point < position
            if n_digits < _MAX_DIGITS:
                value = value * np.uint64(10) + np.uint64(_byte(data, position) - 48)
                n_digits += value > 0
                exponent -= is_fraction
            else:
                exponent += not is_fraction
    return value, exponent


@_jit
def _power(data, position, stop):
    """(the exponent behind an E, offset behind it; -1 if there is none)."""
    minus = position < stop and _byte(data, position) == _MINUS
    first = position + (minus or (position < stop and _byte(data, position) == _PLUS))
    value, point, end = _digits(data, first, stop)
    size = np.int64(min(value, np.uint64(10_000))) if end - first <= _MAX_DIGITS else 10_000
    return (-size if minus else size), end if end > first and point < 0 else -1


@_jit
def _word(data, start, behind_sign, stop):
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
def _integer(data, start, stop):
    """(value, sound) of an integer; 0 for empty and null."""
    if stop > start and _byte(data, stop - 1) == _RETURN:
        stop -= 1
    if start == stop or _is_word(data, start, stop, b"null"):
        return 0, True
    negative = _byte(data, start) == _MINUS
    first = start + negative
    digits, point, end = _digits(data, first, stop)
    value = np.int64(digits)  # negative: more than 63 bits
    sound = first < end == stop and point < 0 and end - first <= _MAX_DIGITS and value >= 0
    return (-value if negative else value), sound


@_jit
def _scaled(mantissa, exponent):
    """``mantissa * 10**exponent``, to the nearest float64 for exponents from -22 to 0."""
    value = np.float64(mantissa)
    if exponent < -308:
        return value / 1e308 / _POWERS[min(-exponent - 308, 308)]
    if exponent >= 0:
        return value * _POWERS[min(exponent, 308)]
    power = _POWERS[-exponent]
    quotient = value / power
    if exponent < -22 or mantissa < _EXACT:
        return quotient
    # a mantissa may have 64 bits: add the remainder over the power, from products of halves (Dekker
    # 1971, Numer. Math. 18, 224)
    lost = np.float64(np.int64(mantissa - np.uint64(value)))
    product = quotient * power
    q_high, p_high = np.float64(np.float32(quotient)), np.float64(np.float32(power))
    q_low, p_low = quotient - q_high, power - p_high
    error = ((q_high * p_high - product) + q_high * p_low + q_low * p_high) + q_low * p_low
    return quotient + ((value - product) - error + lost) / power


@_jit
def _byte(data, position):
    """The byte at an offset; a signed offset may be negative for numba, which costs time."""
    return data[np.uint64(position)]


@_jit
def _find(data, position, stop, wanted):
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
def _count(data, start, stop, wanted):
    found = np.uint16(0)  # of fewer than 65,536 bytes: short numbers fill a vector
    for i in range(np.uint64(start), np.uint64(stop)):
        found = np.uint16(found + np.uint16(data[i] == wanted))
    return np.int64(found)


@_jit
def _is_word(data, start, stop, word):
    """Whether some text is a lower-case word, in whatever case."""
    for i in range(len(word)):
        if start + i >= stop or _byte(data, start + i) | 32 != word[i]:
            return False
    return stop - start == len(word)
