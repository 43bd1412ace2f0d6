"""Which row groups reach into which pixels, remembered in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpscale.sky import INDEX_ORDER, Pixel
from xpscale.store.partitions import COUNT_ORDER

__all__ = ["Footprint", "count_pixels", "row_groups_by_pixel"]

MOST_PIXELS = 4096
"""Pixels of a footprint at most: 32 KB a row group.  One that needs more is kept at a coarser
order.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Footprint:
    """Where a row group's rows lie: pixel numbers of one order, ascending, with shape (P,)."""

    order: int
    numbers: NDArray[np.int64]

    @staticmethod
    def of(pixels: NDArray[np.int64]) -> Footprint:
        """The footprint of rows in the given pixels of `COUNT_ORDER`, repeated or not."""
        order, numbers = COUNT_ORDER, np.unique(pixels)
        while len(numbers) > MOST_PIXELS:
            order, numbers = order - 1, np.unique(numbers >> 2)
        return Footprint(order, numbers)


def count_pixels(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels of `COUNT_ORDER` of rows with the given ``_healpix_29``, with shape (N,)."""
    return index >> 2 * (INDEX_ORDER - COUNT_ORDER)


def row_groups_by_pixel(
    pixels: Sequence[Pixel], footprints: Sequence[Sequence[Footprint]]
) -> list[list[tuple[int, tuple[int, ...]]]]:
    """For every pixel the files, by number, and their row groups that may have rows in it (never
    one too few).

    Parameters
    ----------
    pixels
        Disjoint, sorted by position, of order `COUNT_ORDER` or coarser.
    footprints
        For every file those of its row groups.
    """
    ranges = np.array([pixel.range_at(COUNT_ORDER) for pixel in pixels], np.int64).reshape(-1, 2)
    found: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in pixels]
    for i, groups in enumerate(footprints):
        of_file: dict[int, list[int]] = {}
        for number, footprint in enumerate(groups):
            shift = 2 * (COUNT_ORDER - footprint.order)
            edges = np.zeros(len(pixels) + 1, np.int64)
            np.add.at(edges, np.searchsorted(ranges[:, 1], footprint.numbers << shift, "right"), 1)
            np.add.at(
                edges, np.searchsorted(ranges[:, 0], (footprint.numbers + 1) << shift, "left"), -1
            )
            for touched in np.flatnonzero(np.cumsum(edges)[:-1] > 0).tolist():
                of_file.setdefault(touched, []).append(number)
        for touched, numbers in of_file.items():
            found[touched].append((i, tuple(numbers)))
    return found
