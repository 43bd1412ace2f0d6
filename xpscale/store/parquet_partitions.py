"""Partitions of Parquet files: the pixels of a HATS catalogue, or counted from positions."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from xpscale.sky import Pixel
from xpscale.store.footprints import Footprint, count_pixels, row_groups_by_pixel
from xpscale.store.parquet_files import ParquetFile, hats_pixel
from xpscale.store.parquet_rows import ParquetRows, RowGroups
from xpscale.store.partitions import COUNT_ORDER, adaptive_partitions
from xpscale.types import Partition

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ParquetPartition", "counted_partitions", "hats_partitions"]

THREADS = 8


@dataclass(frozen=True, order=True, slots=True)
class ParquetPartition(Partition):
    """A partition that says where its rows lie, so that a task carries all it needs."""

    row_groups: tuple[RowGroups, ...] = ()


def hats_partitions(files: Sequence[ParquetFile]) -> list[ParquetPartition]:
    """The pixels that the names of HATS data files say."""
    by_pixel: dict[Pixel, list[ParquetFile]] = {}
    for file in files:
        pixel = hats_pixel(file.key)
        if pixel is not None and file.n_rows:
            by_pixel.setdefault(pixel, []).append(file)
    return [
        ParquetPartition(
            pixel,
            sum(file.n_rows for file in of_pixel),
            pixel.key,
            tuple(
                RowGroups(file.key, file.n_bytes, tuple(range(len(file.row_group_rows))))
                for file in of_pixel
            ),
        )
        for pixel, of_pixel in by_pixel.items()
    ]


def counted_partitions(
    rows: ParquetRows, files: Sequence[ParquetFile], max_rows: int
) -> list[ParquetPartition]:
    """Partitions of rows in any order, by one pass over their positions.

    Parameters
    ----------
    rows
        What the columns of the files are.
    files
        All files.
    max_rows
        Rows of a partition at most.

    Raises
    ------
    InvalidInputError
        A row has no position, or a file is damaged.
    """
    counts, lock = np.zeros(12 * 4**COUNT_ORDER, np.int64), Lock()
    with ThreadPoolExecutor(THREADS) as threads:
        footprints = list(threads.map(lambda file: _count(rows, file, counts, lock), files))
    partitions = adaptive_partitions(counts, max_rows)
    touching = row_groups_by_pixel([partition.pixel for partition in partitions], footprints)
    return [
        ParquetPartition(
            partition.pixel,
            partition.n_rows,
            partition.key,
            tuple(RowGroups(files[i].key, files[i].n_bytes, numbers) for i, numbers in groups),
        )
        for partition, groups in zip(partitions, touching, strict=True)
    ]


def _count(
    rows: ParquetRows, file: ParquetFile, counts: NDArray[np.int64], lock: Lock
) -> list[Footprint]:
    """The footprints of a file's row groups; adds its sources to the counts of all threads."""
    groups = RowGroups(file.key, file.n_bytes, tuple(range(len(file.row_group_rows))))
    pixels = {number: [np.empty(0, np.int64)] for number in groups.numbers}
    for number, columns in rows.read(groups, ("ra", "dec")):
        index = rows.index(columns["ra"], columns["dec"], rows.place(file.key, number))
        found, n_rows = np.unique(count_pixels(index), return_counts=True)
        with lock:
            counts[found] += n_rows
        pixels[number].append(found)
    return [Footprint.of(np.concatenate(of_group)) for of_group in pixels.values()]
