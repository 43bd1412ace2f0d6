"""Tables of positions and G flux, for spectra that come without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xpscale.archive.tables import Table, explained, open_tables
from xpscale.columns import SourceColumns, find_source_columns, lacking_source_columns
from xpscale.errors import InvalidInputError
from xpscale.storage import Storage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SourceTable", "read_source_table", "source_values"]


@dataclass(frozen=True, slots=True, eq=False)
class SourceTable:
    """Position and G flux of sources, sorted by ``source_id``; arrays with shape (N,)."""

    source_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    phot_g_mean_flux: NDArray[np.float64]

    def rows(self, source_id: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Where sources stand in this table (any row where they do not), and whether they do."""
        if len(self.source_id) == 0:
            return np.zeros(len(source_id), np.int64), np.zeros(len(source_id), bool)
        rows = np.minimum(np.searchsorted(self.source_id, source_id), len(self.source_id) - 1)
        return rows, self.source_id[rows] == source_id


def read_source_table(url: str, stated: Mapping[str, str] | None = None) -> SourceTable:
    """Position and G flux from a Parquet, CSV, ECSV, FITS, VOTable or HDF5 file, whole into memory.

    Parameters
    ----------
    url
        The file.
    stated
        What the user says its columns are called.

    Raises
    ------
    InvalidInputError
        The file is damaged or lacks a column.
    """
    folder, _, key = Storage(url).url.rpartition("/")
    storage = Storage(folder)
    parts = []
    with storage.open(key) as stream:
        for table in open_tables(stream, url):
            columns = find_source_columns(table.names, url, stated=stated)
            if columns is None:
                raise InvalidInputError(
                    lacking_source_columns(table.names, url),
                    "Select them from gaia_source, or say what they are called: --columns-map FILE",
                )
            with explained(url):
                parts.append((table.integers(columns.source_id), *source_values(table, columns)))
    source_id, ra, dec, flux = (np.concatenate(values) for values in zip(*parts, strict=True))
    order = np.argsort(source_id, kind="stable")
    return SourceTable(source_id[order], ra[order], dec[order], flux[order])


def source_values(table: Table, columns: SourceColumns) -> list[NDArray[np.float64]]:
    """Ra, dec and G flux of a table's rows, each with shape (N,).

    Parameters
    ----------
    table
        The table.
    columns
        What its columns are called.
    """
    ra, dec, g = (table.floats(name) for name in (columns.ra, columns.dec, columns.g))
    return [ra, dec, columns.flux(g)]
