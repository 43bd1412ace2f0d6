"""Spectra in a Parquet folder or HATS catalogue that somebody else made, read as they are.

Coefficients may be lists, fixed-size lists, or one scalar column each, under any name that
`xpscale.columns` knows.

A HATS catalogue's pixels are the partitions.  The files of a plain folder may hold any rows in any
order: one pass over ``ra, dec`` counts sources per pixel and notes which row groups reach into
which, the partitions follow from the counts as in an ingest, and reading one reads the row groups
that have rows there.  That is quick where files are sorted by position or ``source_id``; where
every row group reaches everywhere, `ParquetSpectra.read_factor` says what it costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.bands import Bands
from xpscale.columns import SourceColumns, XpColumns
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.release import Release
from xpscale.sky import Pixel, healpix_29
from xpscale.storage import Storage
from xpscale.store.footprints import Footprint, count_pixels, row_groups_by_pixel
from xpscale.store.parquet_files import (
    ParquetFile,
    arrow_vectors,
    content_digest,
    footers,
    hats_pixel,
    is_parquet,
    list_files,
    read_file,
)
from xpscale.store.partitions import COUNT_ORDER, adaptive_partitions
from xpscale.types import Block, Partition, SpectraBatch, SpectraReader

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["ParquetPartition", "ParquetSpectra", "RowGroups"]

THREADS = 8


@dataclass(frozen=True, order=True, slots=True)
class RowGroups:
    """Some row groups of one file, which has ``n_bytes`` bytes."""

    file: str
    n_bytes: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, order=True, slots=True)
class ParquetPartition(Partition):
    """A partition that says where its rows lie, so that a task carries all it needs."""

    row_groups: tuple[RowGroups, ...] = ()


@dataclass(frozen=True)
class ParquetSpectra(SpectraReader):
    """A Parquet folder, file or HATS catalogue with XP spectra; a `xpscale.types.SpectraReader`.

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
        sizes and statistics). A change inside a data page that leaves all of these as they were is
        not noticed.
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
        described = (
            self.storage,
            self.root,
            self.spectra,
            self.sources,
            self.bands,
            self.release,
            self.digest,
        )
        return ParquetSpectra, (*described, self.is_hats, self.max_rows)

    @property
    def url(self) -> str:
        """Where the spectra are."""
        return f"{self.storage.url}/{self.root}" if is_parquet(self.root) else self.storage.url

    @cached_property
    def files(self) -> tuple[ParquetFile, ...]:
        """Its data files, sorted by name, with their row groups' rows."""
        if self.known_files:
            return self.known_files
        files = footers(self.storage, list_files(self.storage, self.root))
        if content_digest(files) != self.digest:
            raise ConflictError(
                f"{self.url} has changed while it was in use", "Start the run again"
            )
        return files

    @property
    def n_rows(self) -> int:
        """Number of sources."""
        return sum(file.n_rows for file in self.files)

    @cached_property
    def partitions(self) -> tuple[Partition, ...]:
        """All partitions, sorted by position on the sky; of a plain folder they take one pass over
        the positions.
        """
        found = self._hats_partitions() if self.is_hats else self._counted_partitions()
        return tuple(sorted(found, key=lambda partition: partition.pixel.index_range))

    @property
    def read_factor(self) -> float:
        """Rows read for each row wanted, over all partitions; 1 is the least."""
        rows = {file.key: file.row_group_rows for file in self.files}
        n_read = sum(
            rows[groups.file][number]
            for partition in self.partitions
            if isinstance(partition, ParquetPartition)
            for groups in partition.row_groups
            for number in groups.numbers
        )
        return n_read / max(self.n_rows, 1)

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
        """All rows of a partition, sorted by position.

        Parameters
        ----------
        partition
            One of `partitions`.
        errors
            Whether to read the coefficient errors.  They are ``None`` also where the table has
            none.

        Raises
        ------
        InvalidInputError
            A file is damaged, or rows of a HATS pixel lie outside it.
        ConflictError
            A file has changed since the reader was opened.
        """
        if not isinstance(partition, ParquetPartition):
            raise InvalidInputError(f"{partition} is not a partition of {self.url}")
        low, high = partition.pixel.index_range
        batches, indexes = [], []
        for groups in partition.row_groups:
            for batch in self.read_row_groups(groups, errors):
                index = healpix_29(*self._positions(groups.file, batch.ra, batch.dec))
                inside = (index >= low) & (index < high)
                if self.is_hats and not inside.all():
                    raise InvalidInputError(
                        f"{self.storage.url}/{groups.file}: {int((~inside).sum())} rows lie outside"
                        f" {partition.pixel} by  {self.sources.ra}, {self.sources.dec}",
                        f"Make a spectra store of it: 'xpscale ingest {self.url} STORE'",
                    )
                batches.append(batch if inside.all() else batch.take(inside))
                indexes.append(index[inside])
        whole = SpectraBatch.concatenate(batches) if len(batches) != 1 else batches[0]
        del batches  # sorting makes a copy, too
        if len(whole) != partition.n_rows:
            raise ConflictError(
                f"{self.url} has changed while it was in use", "Start the run again"
            )
        return whole.take(np.lexsort((whole.source_id, np.concatenate(indexes))))

    def __str__(self) -> str:
        kind = (
            "HATS catalogue"
            if self.is_hats
            else f"{len(self.files):,} Parquet file{'s' * (len(self.files) > 1)}"
        )
        shape = "scalar columns" if self.spectra.is_scalar else "arrays"
        remark = f"; G flux from {self.sources.g}" if self.sources.g_is_magnitude else ""
        return f"{self.n_rows:,} sources · {kind}, {shape} {self.spectra}{remark} · {self.url}"

    # -- rows

    def read_row_groups(self, groups: RowGroups, errors: bool = True) -> Iterator[SpectraBatch]:
        """Rows as they stand in a file, in batches of a bounded size; positions may be missing."""
        vectors = [*self.spectra.coefficients, *(self.spectra.errors if errors else ())]
        names = list(
            dict.fromkeys([*self.sources.names, *(name for group in vectors for name in group)])
        )
        for number, table in read_file(
            self.storage, groups.file, groups.n_bytes, groups.numbers, names
        ):
            yield self._batch(
                table, f"{self.storage.url}/{groups.file}, row group {number}", errors
            )

    def _batch(self, table: pa.Table, where: str, errors: bool) -> SpectraBatch:
        source_id = table[self.sources.source_id]
        identifiers = np.asarray(source_id.to_numpy())
        if source_id.null_count or identifiers.dtype.kind not in "iu":
            raise InvalidInputError(
                f"{where}: {self.sources.source_id} is {source_id.type} with {source_id.null_count}"
                " nulls",
                "Identifiers must be integers, one a row",
            )
        ra, dec, g = (
            np.asarray(table[name].to_numpy(), np.float64)
            for name in (self.sources.ra, self.sources.dec, self.sources.g)
        )
        with_errors = errors and self.spectra.errors
        both = (self.bands.n_bp, self.bands.n_rp)
        widths = both if len(self.spectra.coefficients) == 2 else (sum(both),)
        return SpectraBatch(
            identifiers.astype(np.int64),
            ra,
            dec,
            self.sources.flux(g),
            arrow_vectors(table, self.spectra.coefficients, widths, where),
            arrow_vectors(table, self.spectra.errors, widths, where) if with_errors else None,
            self.bands,
        )

    def _positions(
        self, file: str, ra: NDArray[np.float64], dec: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same positions, if a pixel can be told for each."""
        placed = (ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90)
        if not placed.all():
            raise InvalidInputError(
                f"{self.storage.url}/{file} has {int((~placed).sum())} rows without a position in"
                f" {self.sources.ra}, {self.sources.dec}",
                "Make a spectra store of it, which counts and leaves them out: 'xpscale ingest"
                f" {self.url} STORE'",
            )
        return ra, dec

    # -- partitions

    def _hats_partitions(self) -> list[ParquetPartition]:
        by_pixel: dict[Pixel, list[ParquetFile]] = {}
        for file in self.files:
            pixel = hats_pixel(file.key)
            if pixel is not None and file.n_rows:
                by_pixel.setdefault(pixel, []).append(file)
        return [
            ParquetPartition(
                pixel,
                sum(file.n_rows for file in files),
                pixel.key,
                tuple(
                    RowGroups(file.key, file.n_bytes, tuple(range(len(file.row_group_rows))))
                    for file in files
                ),
            )
            for pixel, files in by_pixel.items()
        ]

    def _counted_partitions(self) -> list[ParquetPartition]:
        counts, counting = np.zeros(12 * 4**COUNT_ORDER, np.int64), Lock()
        with ThreadPoolExecutor(THREADS) as threads:
            footprints = list(
                threads.map(lambda file: self._count(file, counts, counting), self.files)
            )
        partitions = adaptive_partitions(counts, self.max_rows)
        touching = row_groups_by_pixel([partition.pixel for partition in partitions], footprints)
        return [
            ParquetPartition(
                partition.pixel,
                partition.n_rows,
                partition.key,
                tuple(
                    RowGroups(self.files[i].key, self.files[i].n_bytes, numbers)
                    for i, numbers in groups
                ),
            )
            for partition, groups in zip(partitions, touching, strict=True)
        ]

    def _count(
        self, file: ParquetFile, counts: NDArray[np.int64], counting: Lock
    ) -> list[Footprint]:
        """Add a file's sources to the counts, one array for all threads; its row groups'
        footprints.
        """
        names = [self.sources.ra, self.sources.dec]
        groups = tuple(range(len(file.row_group_rows)))
        pixels: dict[int, list[NDArray[np.int64]]] = {number: [] for number in groups}
        for number, table in read_file(self.storage, file.key, file.n_bytes, groups, names):
            ra, dec = (np.asarray(table[name].to_numpy(), np.float64) for name in names)
            found, rows = np.unique(
                count_pixels(healpix_29(*self._positions(file.key, ra, dec))), return_counts=True
            )
            with counting:
                counts[found] += rows
            pixels[number].append(found)
        return [
            Footprint.of(np.concatenate([np.empty(0, np.int64), *pixels[number]]))
            for number in groups
        ]
