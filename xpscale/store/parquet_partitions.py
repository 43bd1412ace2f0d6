"""Partitions of Parquet files: the pixels of a HATS catalogue, or counted from positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xpscale.sky import Pixel
from xpscale.store.footprints import row_groups_by_pixel
from xpscale.store.hats_listing import hats_pixel
from xpscale.store.parquet_files import ParquetFile
from xpscale.store.parquet_rows import RowGroups
from xpscale.store.parquet_survey import Survey
from xpscale.store.partitions import adaptive_partitions
from xpscale.types import Partition

__all__ = ["ParquetPartition", "counted_partitions", "hats_partitions", "with_repeated"]


@dataclass(frozen=True, order=True, slots=True)
class ParquetPartition(Partition):
    """A partition that says where its rows lie, so that a task carries all it needs."""

    row_groups: tuple[RowGroups, ...] = ()
    repeated: tuple[tuple[str, int, tuple[int, ...]], ...] = ()
    """File, row group, and rows in it whose source has an earlier usable row."""


def hats_partitions(files: Sequence[ParquetFile]) -> list[ParquetPartition]:
    """The pixels that the names of HATS data files say; of a damaged file, too: its task fails."""
    by_pixel: dict[Pixel, list[ParquetFile]] = {}
    for file in files:
        pixel = hats_pixel(file.key)
        if pixel is not None and (file.n_rows or file.damage):
            by_pixel.setdefault(pixel, []).append(file)
    return [
        ParquetPartition(
            pixel,
            sum(file.n_rows for file in of_pixel),
            pixel.key,
            tuple(
                RowGroups(file.key, file.n_bytes, tuple(range(max(1, len(file.row_group_rows)))))
                for file in of_pixel
            ),
        )
        for pixel, of_pixel in by_pixel.items()
    ]


def counted_partitions(
    found: Survey, files: Sequence[ParquetFile], max_rows: int
) -> list[ParquetPartition]:
    """Partitions of rows in any order.

    Parameters
    ----------
    found
        What one pass over the files found.
    files
        All files.
    max_rows
        Rows of a partition at most.
    """
    partitions = adaptive_partitions(found.counts, max_rows)
    touching = row_groups_by_pixel([partition.pixel for partition in partitions], found.footprints)
    return [
        ParquetPartition(
            partition.pixel,
            partition.n_rows,
            partition.key,
            tuple(RowGroups(files[i].key, files[i].n_bytes, numbers) for i, numbers in groups),
        )
        for partition, groups in zip(partitions, touching, strict=True)
    ]


def with_repeated(partition: ParquetPartition, found: Survey) -> ParquetPartition:
    """A partition that knows which rows of its row groups have an earlier row elsewhere.

    Parameters
    ----------
    partition, found
        A partition of the files, and what one pass over them found.
    """
    repeated = tuple(
        (groups.file, number, tuple(found.repeated[groups.file, number].tolist()))
        for groups in partition.row_groups
        for number in groups.numbers
        if (groups.file, number) in found.repeated
    )
    return replace(partition, repeated=repeated)


def read_factor(files: Sequence[ParquetFile], partitions: Sequence[Partition]) -> float:
    """Rows read for each row wanted, over all partitions.

    Parameters
    ----------
    files, partitions
        All files, and the partitions of their rows.
    """
    rows = {file.key: file.row_group_rows or (0,) for file in files}  # (0,): damaged
    n_read = sum(
        rows[groups.file][number]
        for partition in partitions
        if isinstance(partition, ParquetPartition)
        for groups in partition.row_groups
        for number in groups.numbers
    )
    return n_read / max(sum(file.n_rows for file in files), 1)
