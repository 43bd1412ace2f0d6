r"""Counts of rows and means of columns in the bins of a quadtree.

A *bin* is a number.  On the sky it is a HEALPix pixel (NESTED); on a map of two columns x and y it
is the Z-order number of a cell of a square grid, whose bits are those of the cell's row and column
in turn.  In both, the four bins inside bin b of the next coarser order are 4 b to 4 b + 3, so one
code adds them up, and a file of the pyramid is a run of numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axis", "Bins", "grid_bins"]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a map: a column, and the range that its cells divide.

    Parameters
    ----------
    name
        The column.
    low, high
        The range; what lies outside is counted in the cells at the edge.
    """

    name: str
    low: float
    high: float

    def cells(self, values: NDArray[np.floating], order: int) -> NDArray[np.int64]:
        """The cells that values lie in, 0 to 2**order - 1, with shape (N,).

        Parameters
        ----------
        values
            Finite numbers with shape (N,).
        order
            There are 2**order cells.
        """
        n = 1 << order
        scaled = (values.astype(np.float64) - self.low) * (n / (self.high - self.low))
        return np.clip(scaled, 0, n - 1).astype(np.int64)


def grid_bins(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Z-order numbers of the cells in columns ``x`` and rows ``y`` of a grid, with shape (N,).

    >>> grid_bins(np.array([0, 1, 0, 1, 2]), np.array([0, 0, 1, 1, 0])).tolist()
    [0, 1, 2, 3, 4]

    Parameters
    ----------
    x, y
        Column and row, 0 to 65,535, with shape (N,).
    """
    return _spread(x) | _spread(y) << 1


def _spread(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put a zero before each of the lower sixteen bits."""
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        bits = (bits | bits << shift) & mask
    return bits


@dataclass(eq=False)
class Bins:
    """Counts and sums by bin, while rows come in.

    Sums of a batch are taken in double precision and added up in single precision: with thousands
    of batches that is right to 1e-4, far below what a colour shows.

    Parameters
    ----------
    counts
        Rows in each bin, uint32, with shape (B,).
    sums
        Sums of each column's finite values, with shape (K, B).
    n_missing
        Rows whose value is not finite, with shape (B,), by column; without columns that have none.
    """

    counts: NDArray[np.uint32]
    sums: NDArray[np.float32]
    n_missing: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    @staticmethod
    def zeros(n_bins: int, n_columns: int) -> Bins:
        """Bins without rows.

        Parameters
        ----------
        n_bins, n_columns
            B and K.
        """
        return Bins(np.zeros(n_bins, np.uint32), np.zeros((n_columns, n_bins), np.float32))

    def add(self, bins: NDArray[np.int64], values: list[NDArray[np.floating]]) -> None:
        """Count rows.

        Parameters
        ----------
        bins
            The bin of each row, with shape (N,).
        values
            Each column, with shape (N,); NaN is left out of its mean.
        """
        if not len(bins):
            return
        first, last = int(bins.min()), int(bins.max()) + 1
        inside, local = slice(first, last), bins - first
        self.counts[inside] += np.bincount(local, minlength=last - first).astype(np.uint32)
        for k, column in enumerate(values):
            finite = np.isfinite(column)
            if finite.all():
                weights = column
            else:
                weights = np.where(finite, column, 0)
                missing = self.n_missing.setdefault(k, np.zeros(len(self.counts), np.float32))
                missing[inside] += np.bincount(local, ~finite, last - first)
            self.sums[k, inside] += np.bincount(local, weights, last - first)

    def coarser(self) -> Bins:
        """The same rows in bins of the next coarser order."""
        return Bins(
            self.counts.reshape(-1, 4).sum(1, dtype=np.uint32),
            self.sums.reshape(len(self.sums), -1, 4).sum(2),
            {k: missing.reshape(-1, 4).sum(1) for k, missing in self.n_missing.items()},
        )

    def mean(self, k: int, bins: slice) -> NDArray[np.float32]:
        """Means of a column in some bins; NaN where no row has a value.

        Parameters
        ----------
        k
            Which column.
        bins
            Which bins.
        """
        n = self.counts[bins].astype(np.float32)
        if k in self.n_missing:
            n -= self.n_missing[k][bins]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(n > 0, self.sums[k, bins] / n, np.float32(np.nan))
