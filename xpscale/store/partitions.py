"""Counts per pixel to partitions of at most ``max_rows`` sources, as coarse as they may be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError
from xpscale.sky import Pixel
from xpscale.types import Partition

__all__ = ["COUNT_ORDER", "DEFAULT_MAX_ROWS", "adaptive_partitions"]

COUNT_ORDER = 8
"""HEALPix order at which sources are counted: the finest partition there can be (0.05 square
degrees).
"""

DEFAULT_MAX_ROWS = 262_144
"""Rows of a partition at most, unless one pixel of `COUNT_ORDER` alone holds more: 1,872 partitions
for DR3 (design/003), few enough that scheduling costs under 1 %; a task takes about 1.2 GB of
memory."""


def adaptive_partitions(
    counts: NDArray[np.int64], max_rows: int = DEFAULT_MAX_ROWS
) -> tuple[Partition, ...]:
    """Cover all sources with the coarsest pixels that hold at most ``max_rows`` each.

    Parameters
    ----------
    counts
        Sources per pixel of order `COUNT_ORDER`, with shape (786432,).
    max_rows
        Upper bound on rows; a single pixel of `COUNT_ORDER` is never split.

    Returns
    -------
    tuple of Partition
        Disjoint, covering every source, sorted by position; empty pixels have none.
    """
    if max_rows < 1:
        raise InvalidInputError(f"max_rows is {max_rows}, must be at least 1")
    found: list[tuple[int, Pixel, int]] = []
    open_pixels = np.ones(12, bool)  # pixels of this order whose ancestors were all too full
    for order in range(COUNT_ORDER + 1):
        rows = counts.reshape(12 * 4**order, -1).sum(1)
        fits = open_pixels & (rows > 0) & ((rows <= max_rows) | (order == COUNT_ORDER))
        for number in np.flatnonzero(fits):
            pixel = Pixel(order, int(number))
            found.append((pixel.index_range[0], pixel, int(rows[number])))
        open_pixels = np.repeat(open_pixels & ~fits, 4)
    return tuple(Partition(pixel, n_rows, pixel.key) for _, pixel, n_rows in sorted(found))
