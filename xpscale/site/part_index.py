"""Which parts of the catalogue have sources in a cell of a map: a lasso then opens no others.

The cells are those of order 6, 64 by 64 for a map of two axes, with a bit a part: in one file if
there are few parts, else in files of 8 by 8 cells, with the 17,000 parts of DR3 at most 136 kB each
before they are packed.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.storage import Storage

__all__ = ["PartIndex"]

ORDER = 6
FEW_PARTS = 2048


class PartIndex:
    """The cells that each part has sources in, while rows come in.

    Parameters
    ----------
    n_parts
        Parts of the catalogue.
    order
        Of the bins that rows come with.

    Attributes
    ----------
    cells_a_file
        Cells of which a file tells.
    """

    def __init__(self, n_parts: int, order: int) -> None:
        self._shift = 2 * (order - ORDER)
        self.cells_a_file = 4**ORDER if n_parts <= FEW_PARTS else 64
        self._bits = np.zeros((n_parts, 4**ORDER // 8), np.uint8)

    def add(self, parts: NDArray[np.int64], bins: NDArray[np.int64]) -> None:
        """Note rows.

        Parameters
        ----------
        parts, bins
            Of each row, with shape (N,).
        """
        starts = np.flatnonzero(np.diff(parts, prepend=-1))
        for rows in np.split(np.arange(len(parts)), starts[1:]) if len(parts) else ():
            occupied = np.zeros(4**ORDER, np.bool_)
            occupied[bins[rows] >> self._shift] = True
            self._bits[parts[rows[0]]] |= np.packbits(occupied)

    def write(self, place: Storage) -> list[int]:
        """Write a file for each block of cells that has sources: a row of bits a cell.

        Parameters
        ----------
        place
            Where the map's files go.

        Returns
        -------
        list of int
            The numbers of these blocks.
        """
        found = []
        step = self.cells_a_file // 8
        for number in range(self._bits.shape[1] // step):
            columns = slice(number * step, (number + 1) * step)
            cells = np.unpackbits(self._bits[:, columns], axis=1).T  # (cells_a_file, n_parts)
            if cells.any():
                rows = np.packbits(cells, axis=1)
                found.append(number)
                place.replace(f"parts/{number}.bin", gzip.compress(rows.tobytes(), 6, mtime=0))
        return found
