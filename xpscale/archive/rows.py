"""Rows of text in columns of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from xpscale.archive._scan import OTHER_COLUMNS, TOO_LONG, UNREADABLE, _scan_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RowBuffer", "scan_rows"]


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
    last_wanted = int(np.flatnonzero(roles >= 0)[-1])
    out = rows.integers, rows.floats, rows.arrays, rows.edges, rows.lengths
    rows.n, n_passed, consumed, fault, column = _scan_text(
        data, start, stop, rows.n, roles, last_wanted, wanted is None, only, out
    )
    name = {UNREADABLE: "unreadable", TOO_LONG: "too long", OTHER_COLUMNS: "columns"}
    return int(n_passed), int(consumed), name.get(fault, ""), int(column)
