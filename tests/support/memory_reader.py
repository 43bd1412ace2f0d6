"""Spectra in memory that are read like a store."""

import hashlib

import numpy as np

from xpscale.bands import Bands
from xpscale.release import Release, release_of
from xpscale.sky import INDEX_ORDER, Pixel, healpix_29, source_id_position
from xpscale.spectra import SpectraBatch, SpectraReader
from xpscale.types import Partition

SIX_EACH = Bands(6, 6)


class MemoryReader(SpectraReader):
    """A spectra store in memory, partitioned by position at a low HEALPix order.

    Parameters
    ----------
    batch
        All rows.
    order
        HEALPix order of the partitions.
    """

    def __init__(self, batch: SpectraBatch, order: int = 1) -> None:
        pixels = healpix_29(batch.ra, batch.dec)
        rows = np.argsort(pixels, kind="stable")
        batch, numbers = batch.take(rows), pixels[rows] >> 2 * (INDEX_ORDER - order)
        self.batch = batch
        self.batches = {Pixel(order, int(n)): batch.take(numbers == n) for n in np.unique(numbers)}

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """All partitions, sorted by position."""
        return tuple(Partition(pixel, len(rows), pixel.key) for pixel, rows in self.batches.items())

    @property
    def bands(self) -> Bands:
        """The numbers of BP and RP coefficients."""
        return self.batch.bands

    @property
    def release(self) -> Release:
        """The release of the bands."""
        return release_of("", self.bands)

    @property
    def digest(self) -> str:
        """Content hash of identifiers and coefficients."""
        content = self.batch.source_id.tobytes() + self.batch.coefficients.tobytes()
        return hashlib.sha256(content).hexdigest()

    def read(self, partition: Partition, *, errors: bool = True) -> SpectraBatch:
        """The rows of a partition."""
        return self.batches[partition.pixel]


def planted(
    n: int, bands: Bands = SIX_EACH, seed: int = 0, n_base_pixels: int = 12
) -> SpectraBatch:
    """Spectra made from two latents with known scatter, in the archive's units.

    Parameters
    ----------
    n
        Number of spectra.
    bands
        Numbers of BP and RP coefficients.
    seed
        Of the random numbers.
    n_base_pixels
        In how many of the 12 base pixels of the sky they are.
    """
    n_coefficients = bands.n_coefficients
    rng = np.random.default_rng(seed)
    source_id = np.sort(rng.choice(n_base_pixels * 4**12, n, replace=False)).astype(np.int64) << 35
    ra, dec = source_id_position(source_id)
    latents = rng.normal(size=(n, 2))
    pattern = rng.normal(size=(2, n_coefficients))
    normalized = 0.05 + 0.01 * (
        np.tanh(latents @ pattern) + 0.1 * rng.normal(size=(n, n_coefficients))
    )
    flux = 10 ** rng.uniform(3, 6, n)
    errors = normalized * flux[:, None] * 0.01
    coefficients = normalized * flux[:, None] + errors * rng.normal(size=errors.shape)
    return SpectraBatch(
        source_id,
        ra,
        dec,
        flux,
        coefficients.astype(np.float32),
        np.abs(errors).astype(np.float32),
        bands,
    )
