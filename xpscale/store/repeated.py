"""Rows of one source in several partitions, found without holding every identifier.

A source lies nearly always in the pixel that its identifier carries.  Of two rows of one source in
different pixels one at least is a *stray*: it lies elsewhere.  So only strays are remembered, and
the identifiers of the pieces of input that may hold another row of one are read once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpscale.sky import INDEX_ORDER, source_id_pixel
from xpscale.store.partitions import COUNT_ORDER

__all__ = ["Identifiers", "repeated_rows"]


@dataclass(frozen=True, slots=True, eq=False)
class Identifiers:
    """What is remembered of the identifiers of a piece of input.

    Parameters
    ----------
    first, last
        The smallest and the largest.
    strays
        Those of rows outside the pixel of order `COUNT_ORDER` that they carry, ascending.
    repeated
        The strays that the piece itself holds more than once.
    """

    first: int
    last: int
    strays: NDArray[np.int64]
    repeated: NDArray[np.int64]

    @staticmethod
    def of(source_id: NDArray[np.int64], index: NDArray[np.int64]) -> Identifiers:
        """Those of rows with the given ``_healpix_29``.

        Parameters
        ----------
        source_id, index
            Identifiers and ``_healpix_29``, each with shape (N,).
        """
        if not len(source_id):
            return Identifiers(0, -1, source_id, source_id)
        carried = source_id_pixel(source_id, COUNT_ORDER)
        strays = np.unique(source_id[index >> 2 * (INDEX_ORDER - COUNT_ORDER) != carried])
        again, n_rows = np.unique(source_id[np.isin(source_id, strays)], return_counts=True)
        return Identifiers(int(source_id.min()), int(source_id.max()), strays, again[n_rows > 1])


def repeated_rows(
    pieces: Sequence[Identifiers],
    read: Callable[[int], NDArray[np.int64]],
    usable: Callable[[int, NDArray[np.int64]], NDArray[np.bool_]] = lambda _, rows: rows >= 0,
) -> dict[int, NDArray[np.int64]]:
    """Rows to leave out: usable ones of strays that have an earlier usable row, by piece.

    Parameters
    ----------
    pieces
        All pieces of the input, in its order.
    read
        The identifiers of a piece, given its number.
    usable
        Which rows of a piece are usable, given its number and those of the rows.
    """
    held = [piece for piece in pieces if piece.last >= piece.first]
    if not held:
        return {}
    strays = np.unique(np.concatenate([piece.strays for piece in held]))
    firsts, lasts = np.sort([p.first for p in held]), np.sort([p.last for p in held])
    n_pieces = np.searchsorted(firsts, strays, "right") - np.searchsorted(lasts, strays, "left")
    within = np.concatenate([piece.repeated for piece in held])
    strays = strays[(n_pieces > 1) | np.isin(strays, within)]
    found: list[tuple[int, NDArray[np.int64], NDArray[np.int64]]] = []
    for number, piece in enumerate(pieces):
        low, high = np.searchsorted(strays, [piece.first, piece.last + 1])
        if low < high:
            source_id = read(number)
            rows = np.flatnonzero(np.isin(source_id, strays[low:high]))
            found.append((number, rows, source_id[rows]))
    ids = np.concatenate([ids for *_, ids in found] or [strays[:0]])
    every, n_rows = np.unique(ids, return_counts=True)
    return _after_the_first(found, every[n_rows > 1], usable)


def _after_the_first(
    found: Sequence[tuple[int, NDArray[np.int64], NDArray[np.int64]]],
    several: NDArray[np.int64],
    usable: Callable[[int, NDArray[np.int64]], NDArray[np.bool_]],
) -> dict[int, NDArray[np.int64]]:
    """Of sources with several rows, the usable rows after the first usable one."""
    seen, left_out = several[:0], {}
    for number, rows, ids in found:
        rows, ids = (values[np.isin(ids, several)] for values in (rows, ids))
        if not len(rows):
            continue
        is_usable = usable(number, rows)
        rows, ids = rows[is_usable], ids[is_usable]
        first = np.zeros(len(rows), bool)
        first[np.unique(ids, return_index=True)[1]] = True
        again = ~first | np.isin(ids, seen)
        if again.any():
            left_out[number] = rows[again]
        seen = np.union1d(seen, ids)
    return left_out
