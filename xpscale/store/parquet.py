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

from collections.abc import Iterable, Iterator, Mapping
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
from xpscale.store.layout import ARRAYS
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
POSITIONS = ("source_id", "ra", "dec")
"""What tells where a row belongs, and its place among others of one position."""


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
        return self._as_batch(self.read_columns(partition, self._names(errors)))

    def read_columns(self, partition: Partition, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Some arrays of a partition by name, sorted by position.

        Only their columns are read, and those that tell which rows lie in the partition.

        Parameters
        ----------
        partition
            One of `partitions`.
        names
            Arrays of `xpscale.types.SpectraBatch`.

        Raises
        ------
        InvalidInputError
            As of `read`; or errors are asked for, and the table has none.
        ConflictError
            As of `read`.
        """
        if not isinstance(partition, ParquetPartition):
            raise InvalidInputError(f"{partition} is not a partition of {self.url}")
        wanted = tuple(dict.fromkeys(names))
        low, high = partition.pixel.index_range
        found: dict[str, list[NDArray[Any]]] = {name: [] for name in (*wanted, *POSITIONS)}
        indexes = [np.empty(0, np.int64)]
        for groups in partition.row_groups:
            for columns in self._read_columns(groups, tuple(found)):
                index = healpix_29(*self._positions(groups.file, columns["ra"], columns["dec"]))
                inside = (index >= low) & (index < high)
                if self.is_hats and not inside.all():
                    raise self._outside(groups.file, int((~inside).sum()), partition.pixel)
                rows = slice(None) if inside.all() else inside
                for name, arrays in found.items():
                    arrays.append(columns[name][rows])
                indexes.append(index[rows])
        index = np.concatenate(indexes)
        if len(index) != partition.n_rows:
            raise ConflictError(
                f"{self.url} has changed while it was in use", "Start the run again"
            )
        order = np.lexsort((np.concatenate(found["source_id"]), index))
        # one array after the other, so that only one is there twice
        return {name: np.concatenate(found.pop(name))[order] for name in wanted}

    @property
    def form(self) -> str:
        """What the files are, for people: ``2 Parquet files, arrays coefficients``."""
        n_files = len(self.files)
        kind = (
            "HATS catalogue" if self.is_hats else f"{n_files:,} Parquet file{'s' * (n_files > 1)}"
        )
        shape = "scalar columns" if self.spectra.is_scalar else "arrays"
        remark = f"; G flux from {self.sources.g}" if self.sources.g_is_magnitude else ""
        return f"{kind}, {shape} {self.spectra}{remark}"

    def __str__(self) -> str:
        rows = f"{self.n_rows:,} sources of {self.release}, {self.bands} coefficients"
        return f"{rows} · {self.form} · {self.url}"

    # -- rows

    def read_row_groups(self, groups: RowGroups, errors: bool = True) -> Iterator[SpectraBatch]:
        """Rows as they stand in a file, in batches of a bounded size; positions may be missing.

        Parameters
        ----------
        groups
            Which rows.
        errors
            Whether to read the coefficient errors.
        """
        yield from map(self._as_batch, self._read_columns(groups, self._names(errors)))

    def _names(self, errors: bool) -> tuple[str, ...]:
        """The arrays of a whole batch."""
        return tuple(
            spec.name
            for spec in ARRAYS
            if spec.name != "coefficient_errors" or (errors and self.spectra.errors)
        )

    def _as_batch(self, columns: Mapping[str, NDArray[Any]]) -> SpectraBatch:
        values: dict[str, Any] = {"coefficient_errors": None, **columns}
        return SpectraBatch(**values, bands=self.bands)

    def _read_columns(
        self, groups: RowGroups, names: tuple[str, ...]
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Some arrays of the rows of some row groups, in the order of the file."""
        if "coefficient_errors" in names and not self.spectra.errors:
            raise InvalidInputError(f"{self.url} has no coefficient errors")
        columns = {column: None for name in names for column in self._columns_of(name)}
        for number, table in read_file(
            self.storage, groups.file, groups.n_bytes, groups.numbers, list(columns)
        ):
            where = f"{self.storage.url}/{groups.file}, row group {number}"
            yield {name: self._values(table, name, where) for name in names}

    def _columns_of(self, name: str) -> tuple[str, ...]:
        """The table's columns that make an array of a batch."""
        spectra = {
            "coefficients": self.spectra.coefficients,
            "coefficient_errors": self.spectra.errors,
        }
        if name in spectra:
            return tuple(column for group in spectra[name] for column in group)
        return (getattr(self.sources, "g" if name == "phot_g_mean_flux" else name),)

    def _values(self, table: pa.Table, name: str, where: str) -> NDArray[Any]:
        """An array of a batch, of the rows of a table that has its columns."""
        if name in ("coefficients", "coefficient_errors"):
            is_values = name == "coefficients"
            groups = self.spectra.coefficients if is_values else self.spectra.errors
            both = (self.bands.n_bp, self.bands.n_rp)
            widths = both if len(groups) == 2 else (self.bands.n_coefficients,)
            return arrow_vectors(table, groups, widths, where)
        column = table[self._columns_of(name)[0]]
        values = np.asarray(column.to_numpy())
        if name != "source_id":
            numbers = values.astype(np.float64, copy=False)
            return self.sources.flux(numbers) if name == "phot_g_mean_flux" else numbers
        if column.null_count or values.dtype.kind not in "iu":
            raise InvalidInputError(
                f"{where}: {self.sources.source_id} is {column.type} with {column.null_count} nulls",
                "Identifiers must be integers, one a row",
            )
        return values.astype(np.int64, copy=False)

    def _outside(self, file: str, n_rows: int, pixel: Pixel) -> InvalidInputError:
        return InvalidInputError(
            f"{self.storage.url}/{file}: {n_rows} rows lie outside {pixel} by {self.sources.ra},"
            f" {self.sources.dec}",
            f"Make a spectra store of it: 'xpscale ingest {self.url} STORE'",
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
