"""How many rows of a part lie in each cell of the sky, kept in the part itself.

Maps of a catalogue need the position of every row.  The process that writes a part has them, so it
leaves their counts before the part's footer (`xpscale.catalog.footer`): a commit reads a few
kilobytes of each part, whatever its rows.
"""

from __future__ import annotations

import zlib

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xpscale.catalog.footer import COUNTS_MARK, block_in
from xpscale.errors import PermanentError
from xpscale.sky import INDEX_ORDER
from xpscale.storage import Storage
from xpscale.types import Part

__all__ = ["CELL_ORDER", "CellCounts", "read_cell_counts"]

CELL_ORDER = 10
"""Cells of 3.4 arcmin: a thousand in a partition of order 5."""

SHIFT = 2 * (INDEX_ORDER - CELL_ORDER)

LIKELY_BYTES = 8_192
"""Read at once; the counts of a thousand cells take a third of it."""


class CellCounts:
    """Counts rows by cell, while they are written."""

    def __init__(self) -> None:
        self._found: list[NDArray[np.int64]] = []

    def add(self, index: NDArray[np.int64]) -> None:
        """Count rows.

        Parameters
        ----------
        index
            Their ``_healpix_29``, with shape (N,).
        """
        self._found.append(np.stack(np.unique(index >> SHIFT, return_counts=True)))

    def to_bytes(self) -> bytes:
        """Cells, as differences, and their counts: int64 with shape (2, M), little-endian."""
        cells, counts = np.concatenate([np.empty((2, 0), np.int64), *self._found], axis=1)
        known, place = np.unique(cells, return_inverse=True)
        totals = np.bincount(place, counts, len(known)).astype(np.int64)
        return np.stack([np.diff(known, prepend=0), totals]).astype("<i8").tobytes()


def read_cell_counts(storage: Storage, part: Part) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells of `CELL_ORDER`, ascending, and the part's rows in each, both with shape (M,).

    Parameters
    ----------
    storage, part
        The catalogue and its part; of one that has no counts the positions are read.

    Raises
    ------
    PermanentError
        They are damaged, or are not as many as the manifest says.
    """
    try:
        cells, counts = _stored(storage, part)
    except (zlib.error, ValueError) as error:
        raise PermanentError(
            f"{storage}/{part.key} is damaged: its counts of rows cannot be read ({error})",
            "Restore it from a copy; 'xpscale catalog check' finds all that are damaged",
        ) from error
    if (n_rows := int(counts.sum())) != part.n_rows:
        raise PermanentError(
            f"{storage}/{part.key} has {n_rows} rows, its manifest says {part.n_rows}",
            "Run 'xpscale catalog check' to see what else changed",
        )
    return cells, counts


def _stored(storage: Storage, part: Part) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    end = part.n_bytes - part.footer_bytes - part.packed_footer_bytes
    n_bytes, content = min(LIKELY_BYTES, end), b""
    while part.packed_footer_bytes and not content:
        found, content = block_in(storage.read_range(part.key, end - n_bytes, n_bytes), COUNTS_MARK)
        if not n_bytes < found <= end:
            break
        n_bytes = found
    if content:
        cells, counts = np.frombuffer(content, "<i8").reshape(2, -1)
        return np.cumsum(cells), counts
    with storage.open(part.key) as data, pq.ParquetFile(data) as file:
        index = file.read(columns=["_healpix_29"])["_healpix_29"].to_numpy()
    cells, counts = np.unique(index >> SHIFT, return_counts=True)
    return cells, counts
