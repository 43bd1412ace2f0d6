"""Spectra in a Parquet folder or HATS catalogue that somebody else made, read as they are.

Coefficients may be lists or one scalar column each, under any name that `xpscale.columns` knows.

A HATS catalogue's pixels are the partitions.  The files of a plain folder may hold any rows in any
order: one pass counts sources per pixel and notes which row groups reach into which, the partitions
follow from the counts as in an ingest, and reading one reads the row groups that have rows there.
That is quick where files are sorted by position or ``source_id``; where every row group reaches
everywhere, `ParquetSpectra.read_factor` says what it costs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpscale.bands import Bands
from xpscale.columns import SourceColumns, XpColumns
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.positions import is_placed
from xpscale.release import Release
from xpscale.row_rules import DUPLICATE
from xpscale.spectra import Block, SpectraBatch, SpectraReader
from xpscale.storage import Storage
from xpscale.store.parquet_files import ParquetFile, content_digest, footers, is_parquet, list_files
from xpscale.store.parquet_partitions import (
    ParquetPartition,
    counted_partitions,
    hats_partitions,
    read_factor,
    with_repeated,
)
from xpscale.store.parquet_rows import ParquetRows, RowGroups
from xpscale.store.parquet_survey import PLACES, survey
from xpscale.types import Partition

__all__ = ["ParquetPartition", "ParquetSpectra", "RowGroups"]


@dataclass(frozen=True)
class ParquetSpectra(SpectraReader):
    """A Parquet folder, file or HATS catalogue with XP spectra; a `xpscale.spectra.SpectraReader`.

    Pickles as its description: a worker neither lists files nor reads footers that its tasks do not
    need.

    Parameters
    ----------
    storage
        Where it is.
    root
        The folder below it that has the data files, or the one file.
    spectra, sources
        What its columns are.
    bands
        The numbers of BP and RP coefficients of a source.
    release
        The data release that the spectra are of.
    digest
        Content hash over every file's name, size and footer (schema, row groups with their offsets,
        sizes and statistics). A change inside a data page that leaves all of these is not noticed.
    is_hats
        Whether files are one or more a HEALPix pixel.
    max_rows
        Rows of a partition at most, where files do not say.
    """

    storage: Storage
    root: str
    spectra: XpColumns
    sources: SourceColumns
    bands: Bands
    release: Release
    digest: str
    is_hats: bool
    max_rows: int
    known_files: tuple[ParquetFile, ...] = field(default=(), repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        names = [each.name for each in fields(self) if each.name != "known_files"]
        return ParquetSpectra, tuple(getattr(self, name) for name in names)

    @property
    def url(self) -> str:
        """Where the spectra are."""
        return f"{self.storage.url}/{self.root}" if is_parquet(self.root) else self.storage.url

    @cached_property
    def files(self) -> tuple[ParquetFile, ...]:
        """Its data files, sorted by name, with their row groups' rows."""
        if self.known_files:
            return self.known_files
        sizes = list_files(self.storage, self.root)
        files = footers(self.storage, sizes, skip_damaged=True)  # the digest tells
        if content_digest(files) != self.digest:
            raise ConflictError(
                f"{self.url} has changed while it was in use", "Start the run again"
            )
        return files

    @property
    def has_errors(self) -> bool:
        """Whether coefficients come with errors."""
        return bool(self.spectra.errors)

    @property
    def companions(self) -> tuple[str, ...]:
        """What comes along of `xpscale.companions.COMPANIONS`, by name."""
        return tuple(dict(self.sources.companions))

    @property
    def pixel_positions(self) -> bool:
        """Whether positions are the centres of the pixels in the identifiers."""
        return not self.sources.ra

    @property
    def left_aside(self) -> Mapping[str, str]:
        """Damaged files of a plain folder, with the reasons; in HATS they are partitions."""
        return {} if self.is_hats else {f.key: f.damage for f in self.files if f.damage}

    @property
    def n_rows(self) -> int:
        """Number of sources."""
        return sum(file.n_rows for file in self.files)

    @cached_property
    def _rows(self) -> ParquetRows:
        return ParquetRows(self.storage, self.spectra, self.sources, self.bands, self.release)

    @cached_property
    def partitions(self) -> tuple[Partition, ...]:
        """All partitions, sorted by position on the sky; they take one pass over identifiers and
        positions.
        """
        seen = survey(self._rows, self.files)
        found = (
            hats_partitions(self.files)
            if self.is_hats
            else counted_partitions(seen, self.files, self.max_rows)
        )
        ordered = sorted(found, key=lambda partition: partition.pixel.index_range)
        return tuple(with_repeated(partition, seen) for partition in ordered)

    @property
    def read_factor(self) -> float:
        """Rows read for each row wanted, over all partitions; 1 is the least."""
        return read_factor(self.files, self.partitions)

    def warnings(self) -> tuple[str, ...]:
        """What reading costs where row groups reach across partitions."""
        if (factor := self.read_factor) <= 2:
            return ()
        return (
            f"its row groups reach across partitions, so that each row is read {factor:.0f} times;"
            f" 'xpscale ingest {self.url} STORE' reads them once",
        )

    def blocks(self) -> tuple[Block, ...]:
        """All rows, row group by row group."""
        return tuple(
            Block(n_rows, RowGroups(file.key, file.n_bytes, (number,)))
            for file in self.files
            for number, n_rows in enumerate(file.row_group_rows)
            if n_rows
        )

    def read_block(self, block: Block) -> SpectraBatch:
        """The rows of one of `blocks`, with errors, in the order of the file."""
        return SpectraBatch.concatenate(self.read_row_groups(block.where))

    def read(self, partition: Partition, *, errors: bool = True) -> SpectraBatch:
        """All rows of a partition, as `SpectraReader.read` says.

        Raises
        ------
        InvalidInputError
            A file is damaged, or rows of a HATS pixel lie outside it.
        ConflictError
            A file has changed since the reader was opened.
        """
        return SpectraBatch.of(
            self.read_columns(partition, self._rows.names(errors=errors)), self.bands
        )

    def read_columns(self, partition: Partition, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Some arrays of a partition by name, sorted by position.

        Only their columns are read, and those that tell which rows lie in the partition.

        Raises
        ------
        InvalidInputError
            As of `read`; or errors are asked for, and the table has none.
        ConflictError
            As of `read`.
        """
        wanted = tuple(dict.fromkeys(names))
        found, index, _ = self._gather(partition, wanted)
        order = np.lexsort((found["source_id"], index))
        # one array after the other, so that only one is there twice
        return {name: found.pop(name)[order] for name in wanted}

    def read_in_order(
        self, partition: Partition
    ) -> tuple[SpectraBatch, Mapping[str, NDArray[np.bool_]]]:
        """All rows of a partition in the order of the files; and which of them have an earlier
        usable row of their source, be it in another partition.
        """
        names = self._rows.names(errors=True)
        found, _, repeated = self._gather(partition, names)
        batch = SpectraBatch.of({name: found[name] for name in names}, self.bands)
        return batch, {DUPLICATE: repeated}

    def _gather(
        self, partition: Partition, names: Iterable[str]
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64], NDArray[np.bool_]]:
        """Arrays of a partition in the order of the files, their ``_healpix_29``, and which rows
        are known to be repeated.
        """
        if not isinstance(partition, ParquetPartition):
            raise InvalidInputError(f"{partition} is not a partition of {self.url}")
        low, high = partition.pixel.index_range
        known = {(file, number): rows for file, number, rows in partition.repeated}
        found: dict[str, list[NDArray[Any]]] = {name: [] for name in (*names, *PLACES)}
        indexes, repeated = [np.empty(0, np.int64)], [np.empty(0, bool)]
        for groups in partition.row_groups:
            starts: Counter[int] = Counter()
            for number, columns in self._rows.read(groups, tuple(found)):
                index = self._rows.index(*(columns[name] for name in PLACES))
                inside = (index >= low) & (index < high)
                if self.is_hats:
                    inside |= ~is_placed(columns["ra"], columns["dec"])
                    self._require_inside(inside, partition, groups.file, number)
                rows = slice(None) if inside.all() else inside
                for name, arrays in found.items():
                    arrays.append(columns[name][rows])
                indexes.append(index[rows])
                numbers = starts[number] + np.arange(len(index))
                repeated.append(np.isin(numbers, known.get((groups.file, number), ()))[rows])
                starts[number] += len(index)
        index = np.concatenate(indexes)
        if len(index) != partition.n_rows:
            raise ConflictError(
                f"{self.url} has changed while it was in use", "Start the run again"
            )
        joined = {name: np.concatenate(found.pop(name)) for name in tuple(found)}
        return joined, index, np.concatenate(repeated)

    def _require_inside(
        self, inside: NDArray[np.bool_], partition: Partition, file: str, number: int
    ) -> None:
        if not inside.all():
            raise InvalidInputError(
                f"{self._rows.place(file, number)}: {int((~inside).sum())} rows lie outside"
                f" {partition.pixel} by {self.sources.ra}, {self.sources.dec}",
                f"Make a spectra store of it: 'xpscale ingest {self.url} STORE'",
            )

    @property
    def form(self) -> str:
        """What the files are, for people: ``2 Parquet files, arrays coefficients``."""
        n = len(self.files)
        kind = "HATS catalogue" if self.is_hats else f"{n:,} Parquet file{'s' * (n > 1)}"
        shape = "scalar columns" if self.spectra.is_scalar else "arrays"
        remark = f"; G flux from {self.sources.g}" * self.sources.g_is_magnitude
        return f"{kind}, {shape} {self.spectra}{remark}"

    def __str__(self) -> str:
        rows = f"{self.n_rows:,} sources of {self.release}, {self.bands} coefficients"
        return f"{rows} · {self.form} · {self.url}"

    def read_row_groups(self, groups: RowGroups) -> Iterator[SpectraBatch]:
        """Rows as they stand in a file, in batches of a bounded size; positions may be missing."""
        for _, columns in self._rows.read(groups, self._rows.names(errors=True)):
            yield SpectraBatch.of(columns, self.bands)
