"""One pass over a store that keeps enough of it to draw any sample from: a `Sketch`.

Letters: N available objects (usable, and not held out), K cells, N_c objects in cell c, n the
number of objects to draw.

Every object has a key, a 64-bit hash of ``source_id`` and seed; the objects of a cell with the
smallest keys are a simple random sample of it, of any size.  A sketch has all N_c, and of every
cell the objects with the smallest keys:

* all with a key below a share 8 n / N_store of the range of keys (the 8 is the oversampling, which
  can be chosen), and
* the ``depth`` smallest of the cell, with depth = ceil(t) and  sum_c min(N_c, t) = n.

The first are enough for a rule that takes at most 8 times as much of a cell as a uniform draw
would, the second for one that takes equally many of every cell.  Both sets only lose members as
more is read: keys are compared with a constant, and t falls as the N_c grow.  So an object that is
dropped early is never needed later, and a sketch is the same whatever the order of partitions and
whoever read them: sketches of parts add up to that of the whole (bottom-k sketches: Cohen & Kaplan
2007, doi:10.1145/1281100.1281133).

Memory: 8 K bytes of counts and as many of bounds, and 28 bytes for each of at most  8 n + n + K
objects on average, twice that while new ones arrive; it does not depend on N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.sampling.hashing import hash_64

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KEPT", "Sketch", "SketchBuilder", "water_level"]

KEPT = np.dtype(
    [("cell", "i4"), ("key", "u8"), ("source_id", "i8"), ("partition", "i4"), ("row", "i4")]
)
"""What is kept of an object: its cell and key, its identifier, and where it lies."""

KEY_RANGE = 2**64


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """Counts of all cells, and of each the objects with the smallest keys.

    Parameters
    ----------
    counts
        Available objects in every cell, int64, with shape (K,).
    kept
        Objects as `KEPT`, in any order.
    """

    counts: NDArray[np.int64]
    kept: NDArray[Any]

    @property
    def n_available(self) -> int:
        """N, the available objects of all cells."""
        return int(self.counts.sum())

    @property
    def n_kept(self) -> NDArray[np.int64]:
        """Objects kept of every cell, with shape (K,)."""
        return np.bincount(self.kept["cell"], minlength=len(self.counts))

    def take(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Of every cell c the ``numbers[c]`` objects with the smallest keys.

        Parameters
        ----------
        numbers
            Objects to take of every cell, with shape (K,).

        Returns
        -------
        array
            Objects as `KEPT`, sorted by cell, then key.
        """
        kept = self.kept[np.lexsort((self.kept["key"], self.kept["cell"]))]
        first = np.concatenate([[0], np.cumsum(self.n_kept)])
        rank = np.arange(len(kept)) - first[kept["cell"]]
        return np.asarray(kept[rank < numbers[kept["cell"]]])


class SketchBuilder:
    """A sketch in the making.

    Parameters
    ----------
    n_cells
        K, the number of cells.
    n
        Number of objects to draw.
    share
        Share of the range of keys below which objects are kept, whatever their cell.
    seed
        Seed of the keys.
    """

    def __init__(self, n_cells: int, n: int, share: float, seed: int) -> None:
        self.n, self.seed = n, seed
        self.limit = np.uint64(min(int(share * KEY_RANGE), KEY_RANGE - 1))
        self.counts = np.zeros(n_cells, np.int64)
        # largest key that may still be kept, by cell
        self._bound = np.full(n_cells, KEY_RANGE - 1, np.uint64)
        self._kept: list[NDArray[Any]] = []
        self._n_untrimmed, self._trim_at = 0, n

    def add(
        self,
        cells: NDArray[np.int64],
        source_id: NDArray[np.int64],
        partition: int,
        rows: NDArray[np.int64],
    ) -> None:
        """Count available objects of a partition, and keep those that may be needed.

        Parameters
        ----------
        cells
            Their cells, with shape (N,).
        source_id
            Their identifiers, with shape (N,).
        partition
            Number of the partition.
        rows
            Their rows inside the partition, with shape (N,).
        """
        self.counts += np.bincount(cells, minlength=len(self.counts))
        key = hash_64(source_id, self.seed)
        chosen = np.flatnonzero(key <= self._bound[cells])
        new = np.empty(len(chosen), KEPT)
        new["cell"], new["key"], new["source_id"] = cells[chosen], key[chosen], source_id[chosen]
        new["partition"], new["row"] = partition, rows[chosen]
        self._append(new)

    def merge(self, sketch: Sketch) -> None:
        """Add the sketch of another part of the store, made with the same settings."""
        self.counts += sketch.counts
        self._append(sketch.kept[sketch.kept["key"] <= self._bound[sketch.kept["cell"]]])

    def sketch(self) -> Sketch:
        """The sketch of everything that was added so far."""
        self._trim()
        return Sketch(self.counts.copy(), np.concatenate([np.empty(0, KEPT), *self._kept]))

    def _append(self, new: NDArray[Any]) -> None:
        self._kept.append(new)
        self._n_untrimmed += len(new)
        if self._n_untrimmed > self._trim_at:
            self._trim()

    def _trim(self) -> None:
        """Drop what no draw can need, and note up to which key the objects of a cell are kept."""
        kept = np.concatenate([np.empty(0, KEPT), *self._kept])
        depth = self._depth()
        below = kept["key"] < self.limit
        n_below = np.bincount(kept["cell"][below], minlength=len(self.counts))
        full = n_below >= depth
        self._bound[full] = self.limit
        rest = kept[~below & ~full[kept["cell"]]]
        rest = rest[np.lexsort((rest["key"], rest["cell"]))]
        # the rank of an object in its cell counts those below the limit, too
        n_before = n_below[rest["cell"]]
        rank = np.arange(len(rest)) - np.searchsorted(rest["cell"], rest["cell"]) + n_before
        last = rank == depth - 1
        self._bound[rest["cell"][last]] = rest["key"][last]
        self._kept = [kept[below], rest[rank < depth]]
        self._n_untrimmed = 0
        self._trim_at = max(self.n, sum(map(len, self._kept)))

    def _depth(self) -> int:
        occupied = self.counts[self.counts > 0]
        level = water_level(np.ones(len(occupied)), occupied, self.n)
        return int(occupied.max(initial=0)) if math.isinf(level) else math.ceil(level)


def water_level(targets: NDArray[Any], caps: NDArray[Any], total: float) -> float:
    """The t for which sum_c min(caps_c, t targets_c) = total; infinite if the caps do not exceed
    the total.

    Parameters
    ----------
    targets
        Wanted of every cell, positive, with shape (K,).
    caps
        The most of every cell, at least 0, with shape (K,).
    total
        The sum, above 0.
    """
    if caps.sum() <= total:
        return math.inf
    full_at = caps / targets
    order = np.argsort(full_at, kind="stable")
    caps, targets, full_at = caps[order], targets[order], full_at[order]
    # what the cells before this one contribute, at their caps
    filled = np.concatenate([[0.0], np.cumsum(caps, dtype=np.float64)[:-1]])
    slope = np.cumsum(targets[::-1], dtype=np.float64)[::-1]
    first = int(np.argmax(filled + full_at * slope >= total))
    return float((total - filled[first]) / slope[first])
