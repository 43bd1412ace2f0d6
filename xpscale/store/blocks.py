"""Spectra in blocks: some ten thousand rows that lie together and are read by themselves.

A partition is too large a piece to shuffle by.  A spectra store is read chunk by chunk (16,384
rows, a few range requests), Parquet row group by row group; any other reader partition by
partition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from xpscale.errors import InvalidInputError
from xpscale.store.layout import CHUNK_ROWS
from xpscale.store.parquet import ParquetSpectra, RowGroups
from xpscale.store.reader import SpectraStore
from xpscale.types import Partition, SpectraBatch, Stopwatch

if TYPE_CHECKING:
    from xpscale.types import SpectraReader

__all__ = ["Block", "blocks_of", "read_block", "row_blocks"]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that are read together.

    Parameters
    ----------
    n_rows
        How many.
    where
        The partition they are rows of, or the one row group that they are.
    start
        The first of them in the partition.
    """

    n_rows: int
    where: Partition | RowGroups
    start: int = 0


def blocks_of(reader: SpectraReader) -> tuple[Block, ...]:
    """All rows of a reader, each in one block; blocks that lie close together on the sky are
    neighbours in a spectra store.
    """
    if isinstance(reader, SpectraStore):
        return tuple(
            Block(min(CHUNK_ROWS, partition.n_rows - start), partition, start)
            for partition in reader.partitions
            for start in range(0, partition.n_rows, CHUNK_ROWS)
        )
    if isinstance(reader, ParquetSpectra):
        return tuple(
            Block(n_rows, RowGroups(file.key, file.n_bytes, (number,)))
            for file in reader.files
            for number, n_rows in enumerate(file.row_group_rows)
            if n_rows
        )
    return tuple(Block(partition.n_rows, partition) for partition in reader.partitions)


def read_block(reader: SpectraReader, block: Block) -> SpectraBatch:
    """The rows of a block, with errors, in the order of the file or store.

    Raises
    ------
    NotFoundError
        An object of the store is lost.
    InvalidInputError
        The block does not have the rows it should have, or a file is damaged.
    """
    if isinstance(block.where, RowGroups):
        if not isinstance(reader, ParquetSpectra):
            raise InvalidInputError(f"{block.where.file} is not of this reader")
        return SpectraBatch.concatenate(reader.read_row_groups(block.where))
    if isinstance(reader, SpectraStore) and block.n_rows < block.where.n_rows:
        return reader.read_rows(block.where, block.start, block.n_rows)
    return reader.read(block.where)


def row_blocks(
    reader: SpectraReader, partition: Partition, n_rows: int, *, errors: bool, watch: Stopwatch
) -> Iterator[SpectraBatch]:
    """The rows of a partition, sorted by position, so many at a time; each block is good until the
    next is asked for.

    A spectra store is read block by block.  Of another reader the whole partition is in memory: it
    has to be sorted.
    """
    if isinstance(reader, SpectraStore):
        yield from reader.blocks(partition, n_rows, errors=errors, watch=watch)
        return
    with watch("read_s"):
        whole = reader.read(partition, errors=errors)
    watch.n_bytes += sum(
        getattr(whole, field.name).nbytes
        for field in fields(whole)
        if getattr(whole, field.name) is not None
    )
    for start in range(0, len(whole), n_rows):
        yield whole.take(slice(start, start + n_rows))
