"""The spectra store's format: object keys, arrays, chunk shapes and attributes, as values.

::

    STORE/
        zarr.json                              root group; written last: a store without it is not finished
        Norder=5/zarr.json
        Norder=5/Npix=1234/zarr.json           group of one partition
        Norder=5/Npix=1234/coefficients/{zarr.json, c/0/0}      every array is one shard, written whole
        Norder=5/Npix=1234/{source_id, ra, dec, phot_g_mean_flux, coefficient_errors}/...
        _xpscale/partitions.json               every partition with its rows, and every object with bytes and sha256
        _xpscale/ingest.json                   what the store is made of
        _xpscale/report.json                   rows read, written, rejected by reason; in total and by file
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ARRAYS", "CHUNK_ROWS", "FORMAT", "FORMAT_VERSION", "PARTITIONS", "REPORT", "ArraySpec"]

FORMAT = "xpscale spectra store"
FORMAT_VERSION = 1
"""Raised when a store made before cannot be read any more."""

CHUNK_ROWS = 16_384
"""Rows of a chunk, the unit of compression."""

PARTITIONS = "_xpscale/partitions.json"
INGEST = "_xpscale/ingest.json"
REPORT = "_xpscale/report.json"

CREDIT = (
    "This work has made use of data from the European Space Agency (ESA) mission Gaia "
    "(https://www.cosmos.esa.int/gaia), processed by the Gaia Data Processing and Analysis Consortium "
    "(DPAC, https://www.cosmos.esa.int/web/gaia/dpac/consortium)."
)


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array of a partition: name (as in `xpscale.types.SpectraBatch`), dtype, unit and meaning."""

    name: str
    dtype: str
    unit: str
    description: str
    is_vector: bool = False


ARRAYS = (
    ArraySpec("source_id", "int64", "", "Gaia source identifier"),
    ArraySpec("ra", "float64", "deg", "Right ascension, ICRS, epoch J2016.0"),
    ArraySpec("dec", "float64", "deg", "Declination, ICRS, epoch J2016.0"),
    ArraySpec("phot_g_mean_flux", "float64", "electron.s**-1", "Mean flux in the G band"),
    ArraySpec("coefficients", "float32", "electron.s**-1", "BP then RP basis coefficients", is_vector=True),
    ArraySpec("coefficient_errors", "float32", "electron.s**-1", "Their standard deviations", is_vector=True),
)
