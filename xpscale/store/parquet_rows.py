"""Rows of Parquet files as a `xpscale.spectra.SpectraBatch`, whatever their columns are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.bands import Bands
from xpscale.columns import SourceColumns, XpColumns, flux_of_magnitude
from xpscale.errors import InvalidInputError
from xpscale.gaia_ids import ids_or_zero
from xpscale.positions import is_placed, positive_ra
from xpscale.release import Release
from xpscale.sky import (
    INDEX_ORDER,
    MAX_ORDER,
    healpix_29,
    source_id_pixel,
    source_id_position,
)
from xpscale.storage import Storage
from xpscale.store.arrow_arrays import arrow_numbers, arrow_vectors
from xpscale.store.layout import ARRAYS
from xpscale.store.parquet_files import read_file

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["ParquetRows", "RowGroups"]


@dataclass(frozen=True, order=True, slots=True)
class RowGroups:
    """Some row groups of one file, which has ``n_bytes`` bytes."""

    file: str
    n_bytes: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ParquetRows:
    """What the columns of Parquet files mean.

    Parameters
    ----------
    storage
        Where the files are.
    spectra, sources
        What their columns are.
    bands
        The numbers of BP and RP coefficients of a source.
    release
        The release whose sources they are.
    """

    storage: Storage
    spectra: XpColumns
    sources: SourceColumns
    bands: Bands
    release: Release

    def names(self, *, errors: bool) -> tuple[str, ...]:
        """The arrays that make a batch; without errors if not wanted, or if there are none."""
        with_errors = errors and bool(self.spectra.errors)
        names = (spec.name for spec in ARRAYS)
        own = (name for name in names if with_errors or name != "coefficient_errors")
        return (*own, *dict(self.sources.companions))

    def read(
        self, groups: RowGroups, names: tuple[str, ...]
    ) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        """Arrays of the rows of some row groups, in the order of the file.

        Parameters
        ----------
        groups
            Which rows.
        names
            Arrays of a batch.

        Yields
        ------
        int, dict
            The number of a row group, and arrays by name of some of its rows.

        Raises
        ------
        InvalidInputError
            The file is damaged, or a column is not what it should be.
        """
        columns = {column: None for name in names for column in self._columns(name)}
        for number, table in read_file(
            self.storage, groups.file, groups.n_bytes, groups.numbers, list(columns)
        ):
            where = self.place(groups.file, number)
            yield number, {name: self._array(table, name, where) for name in names}

    def place(self, file: str, number: int) -> str:
        """What errors call a row group.

        Parameters
        ----------
        file
            Key of the file.
        number
            Number of the row group in it.
        """
        return f"{self.storage.url}/{file}, row group {number}"

    def index(
        self,
        source_id: NDArray[np.int64],
        ra: NDArray[np.float64],
        dec: NDArray[np.float64],
    ) -> NDArray[np.int64]:
        """``_healpix_29`` of positions; where there is none, of the pixel in the identifier: a row
        without position is counted somewhere.

        Parameters
        ----------
        source_id
            Identifiers, with shape (N,).
        ra, dec
            Degrees, each with shape (N,).
        """
        placed, n_pixels = is_placed(ra, dec), 12 * 4**MAX_ORDER
        index = source_id_pixel(source_id, MAX_ORDER).clip(0, n_pixels - 1)
        index <<= 2 * (INDEX_ORDER - MAX_ORDER)
        index[placed] = healpix_29(ra[placed], dec[placed])
        return index

    def _groups(self, name: str) -> tuple[tuple[str, ...], ...]:
        """The groups of columns of coefficients or of errors."""
        return self.spectra.coefficients if name == "coefficients" else self.spectra.errors

    def _columns(self, name: str) -> tuple[str, ...]:
        """The table's columns that make an array of a batch."""
        if name in ("coefficients", "coefficient_errors"):
            columns = tuple(column for group in self._groups(name) for column in group)
            if not columns:
                raise InvalidInputError(f"{self.storage.url} has no coefficient errors")
            return columns
        if name == "source_id":
            return (self.sources.source_id,)
        if name in ("ra", "dec"):
            return (getattr(self.sources, name) or self.sources.source_id,)
        return (dict(self.sources.companions).get(name) or self.sources.g,)

    def _array(self, table: pa.Table, name: str, where: str) -> NDArray[Any]:
        """An array of a batch, of the rows of a table that has its columns."""
        if name in ("coefficients", "coefficient_errors"):
            groups, bands = self._groups(name), self.bands
            widths = (bands.n_bp, bands.n_rp) if len(groups) == 2 else (bands.n_coefficients,)
            return arrow_vectors(table, groups, widths, where)
        if name == "source_id":
            return self._identifiers(table, where)

        if name in ("ra", "dec") and not self.sources.ra:
            return source_id_position(self._identifiers(table, where))[name == "dec"]
        column = self._columns(name)[0]
        if column not in table.column_names:  # a companion that other files have
            return np.full(table.num_rows, np.nan)
        values = arrow_numbers(table[column], where, column)
        if name == "ra":
            return positive_ra(values)
        is_magnitude = name == "phot_g_mean_flux" and self.sources.g_is_magnitude
        return flux_of_magnitude(values) if is_magnitude else values

    def _identifiers(self, table: pa.Table, where: str) -> NDArray[np.int64]:
        name = self.sources.source_id
        return ids_or_zero(table[name], f"{where}, column {name}", self.release)
