"""The Gaia source identifier of each row of a column, of whatever type people keep it in.

An identifier has up to 19 digits, and a float64 holds 15: whatever went through one is refused.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from xpscale.release import Release

__all__ = [
    "AROUND",
    "ids_of_rows",
    "ids_or_zero",
    "letters",
    "numbered",
    "parse_id",
    "tell_missing",
]

AROUND = " \t\r\n\v\f\xa0\ufeff\"'`[]()"
"""What may stand around an identifier: blanks, a byte-order mark, quotes, brackets of a list."""

MISSING = {"", "nan", "null", "none", "na", "n/a", "<na>", "--", "masked"}
log = logging.getLogger("xpscale")


def ids_of_rows(
    column: pa.Array, where: str, entry: str, release: Release
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The identifier of each row of a column, and whether it has one, each with shape (N,).

    Parameters
    ----------
    column
        Integers or text.
    where, entry
        What messages call the column, and what stands before the number of a row.
    release
        The release whose identifiers they are.

    Raises
    ------
    InvalidInputError
        If an entry is no identifier; the message names it and says why.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_floating(kind) and len(column):
        raise InvalidInputError(
            f"{where}: {kind} cannot hold a source_id exactly",
            "Read the column as int64, with missing values as Int64, or as text",
        )
    numbers = None
    if not (pa.types.is_boolean(kind) or pa.types.is_temporal(kind)):  # Arrow makes numbers of them
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            numbers = column.cast(pa.int64())
    if numbers is None or pc.any(pc.less_equal(numbers, 0)).as_py():
        found = [parse_id(*each, release) for each in numbered(entry, column.to_pylist())]
        numbers = pa.array(found, pa.int64())
    tell_missing(numbers.null_count, len(numbers), where)
    known = numbers.is_valid().to_numpy(zero_copy_only=False)
    return numbers.fill_null(0).to_numpy(zero_copy_only=False), known


def ids_or_zero(column: Any, where: str, release: Release) -> NDArray[np.int64]:
    """The identifiers of the rows of a table of spectra or sources, with shape (N,).

    What is missing is 0, and integers stay what they are: such rows are rejected one by one, see
    `xpscale.row_rules`.

    Parameters
    ----------
    column
        Integers or text: of Arrow, an array, a masked array, or a list.
    where
        What to call the column in errors.
    release
        The release whose identifiers they are.

    Raises
    ------
    InvalidInputError
        An entry is no identifier, or the type of the column cannot hold one.
    """
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    elif isinstance(column, np.ndarray):
        values = np.asarray(np.ma.getdata(column))
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        mask = np.ma.getmaskarray(column)
        whole = values.dtype.kind in "iuf"
        column = pa.array(values, mask=mask) if whole else np.ma.filled(column, "").tolist()
    if isinstance(column, list):
        texts = [each.decode("latin-1") if isinstance(each, bytes) else each for each in column]
        column = pa.array(texts, pa.string())
    if pa.types.is_signed_integer(column.type):
        return np.asarray(column.cast(pa.int64()).fill_null(0))
    ids, known = ids_of_rows(column, where, f"{where}: row", release)
    return np.where(known, ids, 0)


def tell_missing(n_missing: int, n: int, where: str) -> None:
    """Warn of entries that are missing, if there are any.

    Parameters
    ----------
    n_missing, n
        Their number, and that of all.
    where
        What to call the column.
    """
    if n_missing:
        log.warning("%s: %s of %s entries are missing, and passed over", where, n_missing, n)


def numbered(word: str, entries: Iterable[Any]) -> list[tuple[str, Any]]:
    """Entries with their places.

    Parameters
    ----------
    word
        What stands before the number of an entry, from 1.
    entries
        The entries.
    """
    return [(f"{word} {i}", entry) for i, entry in enumerate(entries, 1)]


def parse_id(place: str, entry: Any, release: Release) -> int | None:
    """An identifier, or ``None`` if it is missing.

    Parameters
    ----------
    place
        Where it stands, for errors.
    entry
        A whole number or text.
    release
        The release whose identifier it is.

    Raises
    ------
    InvalidInputError
        If it is no identifier; the message says why.
    """
    if entry is None or entry is np.ma.masked or str(entry) in ("<NA>", "NaT"):
        return None
    if isinstance(entry, (bool, np.bool_, float, np.floating)):
        raise _refused(place, entry, "a float or a truth value, which cannot hold one exactly")
    text = (entry.decode("ascii", "replace") if isinstance(entry, bytes) else str(entry)).strip(
        AROUND
    )
    if text.casefold() in MISSING:
        return None
    named = re.fullmatch(r"(?:(.*[^\W\d_].*?)[\s_-]+)?(\d+)", text, re.ASCII)
    if not named:
        rounded = re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text, re.ASCII)
        is_float = rounded and ("." in text or "e" in text.lower())
        raise _refused(place, text, "written as a float, which loses digits" if is_float else "")
    prefix, number = named[1], int(named[2])
    if prefix and not _names(prefix, release):
        if not re.search(r"gaia|dr\d", prefix, re.IGNORECASE):
            raise _refused(place, text)
        raise InvalidInputError(
            f"{place}: {text!r} is an identifier of {prefix}, not of {release}",
            f"Give identifiers of {release}: those of another release are other sources",
        )
    if not 0 < number < 2**63:
        raise _refused(place, text, "not from 1 to 2^63 - 1")
    return number


def _refused(place: str, entry: Any, why: str = "") -> InvalidInputError:
    return InvalidInputError(
        f"{place}: {str(entry)!r} is no Gaia source_id{f': it is {why}' if why else ''}",
        "A source_id is a whole number, like 4295806720",
    )


def _names(prefix: str, release: Release) -> bool:
    return letters(prefix) in (letters(release.name), letters(release.name).removeprefix("gaia"))


def letters(text: str) -> str:
    """Letters and digits of a name, in small letters."""
    return re.sub(r"[\W_]", "", text).casefold()
