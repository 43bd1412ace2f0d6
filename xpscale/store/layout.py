"""The spectra store's format: object keys, arrays, chunk shapes and attributes, as values.

::

    STORE/
        zarr.json                          root group; written last, so a store with it is finished
        Norder=5/zarr.json
        Norder=5/Npix=1234/zarr.json           group of one partition
        Norder=5/Npix=1234/coefficients/{zarr.json, c/0/0}    an array is one shard, written whole
        Norder=5/Npix=1234/{source_id, ra, dec, phot_g_mean_flux, coefficient_errors}/...
        Norder=5/Npix=1234/{bp,rp}_correlations/...           only after ingest --correlations
        _xpscale/partitions.json           partitions with rows; objects with bytes and sha256
        _xpscale/ingest.json                   what the store is made of
        _xpscale/report.json               rows read, written, rejected by reason; files set aside

Any partition opens by itself, without xpscale: ``zarr.open_group(f"{STORE}/Norder=5/Npix=1234")``,
or ``xarray.open_zarr(f"{STORE}/Norder=5/Npix=1234", consolidated=False)`` with dimensions
``source`` and ``coefficient``.

Attributes of the root group:

``format``, ``format_version``
    What this is, and by which version of this description; see `FORMAT_VERSION`.
``n_rows``, ``n_partitions``, ``n_coefficients``, ``n_bp``
    Sources, partitions; coefficients of a source, and how many of them, the first ones, are BP.
``correlations``
    Whether correlations of coefficients were kept.
``companions``
    Names of the arrays that came along from the sources' table (`xpscale.companions`).
``pixel_positions``
    Whether positions are the centres of the pixels in the identifiers.
``n_quarantined``
    Files that could not be read and were left out; 0 in a whole store.  The report names them.
``release``, ``origin``, ``archive_digest`` (or ``input_digest``)
    Name of the data release, from which files, and the hash over the content of these.
``coefficient_unit``, ``position``, ``partitioning``
    Units, frame and epoch, and how rows are distributed and sorted.
``digest``
    SHA-256 over ``_xpscale/partitions.json``, and so over every byte of every partition.
``credit``
    The acknowledgement that Gaia asks of everyone who uses its data.

A partition's group has ``order`` and ``pixel``; each array ``units`` (as the Gaia archive writes
them; empty for none) and ``description``.
"""

from __future__ import annotations

from dataclasses import dataclass

from xpscale.companions import COMPANIONS

__all__ = [
    "ARRAYS",
    "CHUNK_ROWS",
    "COMPANION_ARRAYS",
    "CORRELATIONS",
    "CORRELATION_CHUNK_ROWS",
    "FORMAT",
    "FORMAT_VERSION",
    "PARTITIONS",
    "REPORT",
    "ArraySpec",
]

FORMAT = "xpscale spectra store"
FORMAT_VERSION = 1
"""Raised when a store made before cannot be read any more."""

CHUNK_ROWS = 16_384
"""Rows of a chunk, the unit of compression."""

CORRELATION_CHUNK_ROWS = 1_024
"""The same for correlations, whose rows are 13 times as long: 6 MB."""

PARTITIONS = "_xpscale/partitions.json"
INGEST = "_xpscale/ingest.json"
REPORT = "_xpscale/report.json"


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array of a partition.

    Parameters
    ----------
    name
        As in `xpscale.spectra.SpectraBatch`.
    dtype
        Type of its values, in numpy's words.
    unit
        As the Gaia archive writes it; empty for none.
    description
        Its meaning; ``{position}`` stands for what `xpscale.release.Release.position_text` says.
    dimensions
        Names of its dimensions.
    """

    name: str
    dtype: str
    unit: str
    description: str
    dimensions: tuple[str, ...] = ("source",)

    @property
    def is_vector(self) -> bool:
        """Whether a source has more than one value."""
        return len(self.dimensions) > 1


ARRAYS = (
    ArraySpec("source_id", "int64", "", "Gaia source identifier"),
    ArraySpec("ra", "float64", "deg", "Right ascension, {position}"),
    ArraySpec("dec", "float64", "deg", "Declination, {position}"),
    ArraySpec("phot_g_mean_flux", "float64", "electron.s**-1", "Mean flux in the G band"),
    ArraySpec(
        "coefficients",
        "float32",
        "electron.s**-1",
        "BP then RP basis coefficients",
        dimensions=("source", "coefficient"),
    ),
    ArraySpec(
        "coefficient_errors",
        "float32",
        "electron.s**-1",
        "Their standard deviations",
        dimensions=("source", "coefficient"),
    ),
)

COMPANION_ARRAYS = {
    its.name: ArraySpec(its.name, its.dtype, its.unit, its.description)
    for its in COMPANIONS.values()
}
"""What a partition also has where it came along, by name."""

CORRELATIONS = tuple(
    ArraySpec(
        f"{band.lower()}_correlations",
        "float32",
        "",
        f"Correlations of {band} coefficients: strict lower triangle by rows, (1,0), (2,0), (2,1),"
        " (3,0), ...",
        dimensions=("source", f"{band.lower()}_pair"),
    )
    for band in ("BP", "RP")
)
"""What an ingest with correlations adds to a partition, with shape (N, n (n - 1) / 2) for the
band's n coefficients.
"""
