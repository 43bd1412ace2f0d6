"""Spectra in blocks: some ten thousand rows that lie together and are read by themselves.

A partition is too large a piece to shuffle by.  A spectra store is read chunk by chunk (16,384 rows, a few range requests),
Parquet row group by row group; any other reader partition by partition.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.store.layout import ARRAYS, CHUNK_ROWS
from xpscale.store.parquet import ParquetSpectra, RowGroups
from xpscale.store.reader import SpectraStore
from xpscale.types import Partition, SpectraBatch

if TYPE_CHECKING:
    from zarr.storage import MemoryStore

    from xpscale.storage import Storage
    from xpscale.types import SpectraReader

__all__ = ["Block", "blocks_of", "read_block"]


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
    """All rows of a reader, each in one block; blocks that lie close together on the sky are neighbours in a spectra store."""
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
        rows = slice(block.start, block.start + block.n_rows)
        return SpectraBatch(**{spec.name: _rows(reader, block.where, spec.name, rows) for spec in ARRAYS})
    return reader.read(block.where)


def _rows(store: SpectraStore, partition: Partition, name: str, rows: slice) -> Any:
    """Rows of one array of a partition; of its shard, only the index and the chunks that are needed are fetched."""
    import zarr

    prefix = f"{partition.key}/{name}"
    array = zarr.open_array(_ranges(store.storage / prefix), mode="r", zarr_format=3)
    if array.shape[0] != partition.n_rows:
        raise InvalidInputError(
            f"{store.url}/{prefix} does not have the {partition.n_rows:,} rows the store lists",
            f"Run 'xpscale store check {store.url}'",
        )
    return np.asarray(array[rows])


def _ranges(storage: Storage) -> MemoryStore:
    """A Zarr store that fetches what is asked for; a lost object is an error, where Zarr would read zeros."""
    from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
    from zarr.storage import MemoryStore

    def fetch(key: str, part: ByteRequest | None) -> bytes:
        if part is None:
            return storage.read(key)
        if isinstance(part, RangeByteRequest):
            return storage.read_range(key, part.start, part.end - part.start)
        n_bytes = storage.size(key) or len(storage.read(key))  # reading explains why there is no size
        start = part.offset if isinstance(part, OffsetByteRequest) else max(0, n_bytes - part.suffix)
        return storage.read_range(key, start, n_bytes - start)

    class Ranges(MemoryStore):
        async def get(
            self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
        ) -> Buffer:
            # in a thread: Zarr has one event loop for the process, and blocks are read side by side
            data = await asyncio.to_thread(fetch, key, byte_range)
            return (prototype or default_buffer_prototype()).buffer.from_bytes(data)

    return Ranges()
