"""Pieces of other inputs than the bulk archive, and the tasks that stage them: tables' files,
Parquet row groups.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from xpscale.archive.datalink import SourceTable, read_source_table, read_spectra
from xpscale.errors import InvalidInputError
from xpscale.ingest.task import stage_batch
from xpscale.storage import Storage
from xpscale.store.parquet import ParquetSpectra, RowGroups
from xpscale.types import SpectraBatch, TaskReport

if TYPE_CHECKING:
    pass

__all__ = ["ParquetPiece", "StageParquet", "StageTable", "TablePiece"]


@dataclass(frozen=True, slots=True)
class TablePiece:
    """A file, or a member of a zip, or a group of an HDF5 file.

    Parameters
    ----------
    number
        Its place among the pieces: of a source that comes twice, the first piece's row is kept.
    file, member
        Key below the input; member or group, if it has any.
    content
        What tells its content from another: SHA-256, or the size of a file too large to be read
        twice.
    sources
        URL of the table that has its positions and G flux; empty if it has its own.
    sources_content
        What tells that table's content from another.
    n_rows
        Rows, about.
    """

    number: int
    file: str
    member: str
    content: str
    sources: str
    sources_content: str
    n_rows: int

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.file}/{self.member}" if self.member else self.file

    @property
    def key(self) -> str:
        """``00012.1f2e3d4c``."""
        return _key(self.number, self.name, self.content, self.sources_content)


@dataclass(frozen=True, slots=True)
class ParquetPiece:
    """Some row groups of one Parquet file; ``content`` is the SHA-256 of its footer."""

    number: int
    row_groups: RowGroups
    n_groups: int
    content: str
    n_rows: int

    @property
    def name(self) -> str:
        """What reports call it: the file, and which row groups if not all."""
        numbers = self.row_groups.numbers
        part = "" if len(numbers) == self.n_groups else f" row groups {numbers[0]}-{numbers[-1]}"
        return self.row_groups.file + part

    @property
    def key(self) -> str:
        """``00012.1f2e3d4c``."""
        return _key(self.number, self.name, self.content)


def _key(number: int, *content: str) -> str:
    return f"{number:05d}.{hashlib.sha256(chr(10).join(content).encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class StageTable:
    """Read one file and stage its rows."""

    store: Storage
    storage: Storage

    def __call__(self, piece: TablePiece) -> TaskReport:
        """Stage one piece; a damaged file is refused before anything is written."""
        sources = _source_table(piece.sources, piece.sources_content) if piece.sources else None
        found = read_spectra(self.storage, piece.file, piece.member, sources)
        return stage_batch(self.store, piece.key, piece.name, found.batch, found.faults)


@lru_cache(maxsize=2)
def _source_table(url: str, content: str) -> SourceTable:
    """A table of sources, read once in a worker process."""
    return read_source_table(url)


@dataclass(frozen=True)
class StageParquet:
    """Read some row groups and stage their rows."""

    store: Storage
    reader: ParquetSpectra

    def __call__(self, piece: ParquetPiece) -> TaskReport:
        """Stage one piece."""
        batch = SpectraBatch.concatenate(self.reader.read_row_groups(piece.row_groups))
        if batch.coefficient_errors is None:
            raise InvalidInputError(
                f"{self.reader.url} has no coefficient errors", "A spectra store needs them"
            )
        return stage_batch(self.store, piece.key, piece.name, batch, batch.missing_bands())
