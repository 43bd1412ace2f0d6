"""Arrays written as text, as CSV files and text columns of Parquet and FITS have them.

Read are lists, tuples and sets of numbers, separated by commas, semicolons or blanks: the archive's
``"(1.0, 2.0)"`` and ``"[1.0,null]"``, numpy's ``[1. 2.]`` over several lines,
``array([1., 2.], dtype=float32)`` and ``[np.float32(1.0), ...]`` as ``str(list(values))`` prints.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["is_missing", "printed_numbers"]

_NOTHING = frozenset(("", "null", "nan", "--", "none", "masked"))
_SCALAR = re.compile(r"(?:np|numpy)\.\w+\(([^()]*)\)")
_ARRAY = re.compile(r"(?:(?:np|numpy)\.)?(?:masked_)?array\(\s*(\[.*\])[^\]]*\)", re.DOTALL)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def is_missing(text: str) -> bool:
    """Whether a field of a table says that there is no value."""
    return text.strip().lower() in _NOTHING


def printed_numbers(text: str, where: str) -> NDArray[np.float64]:
    """The numbers of an array in text, with shape (W,); W = 0 if there is no array.

    Parameters
    ----------
    text
        The array.
    where
        What to call it in errors.

    Raises
    ------
    InvalidInputError
        It is cut off, has been shortened, or holds something else than numbers.
    """
    body = text.strip()
    if is_missing(body):
        return np.empty(0)
    if "..." in body or "…" in body:
        raise InvalidInputError(
            f"{where} was printed in short, with '...' for most of its values",
            "They are lost: save the arrays themselves, as Parquet or FITS",
        )
    if "np." in body or "numpy." in body or "array(" in body:
        body = _SCALAR.sub(r"\1", body)
        if match := _ARRAY.fullmatch(body):
            body = match[1]
    if body[0] in _CLOSING:
        if body[-1] != _CLOSING[body[0]]:
            raise InvalidInputError(f"{where} has an array that does not end", "Fetch it again")
        body = body[1:-1].strip()
    separator = next((each for each in ",;" if each in body), None)
    fields = body.rstrip(separator).split(separator)
    try:
        return np.array([float("nan" if is_missing(field) else field) for field in fields])
    except ValueError:
        raise InvalidInputError(
            f"{where} has {text.strip()[:30]!r}, which is no array of numbers",
            "Save the table as Parquet or FITS, with arrays",
        ) from None
