"""Spectra in memory behind the reader protocol."""

import hashlib

import numpy as np

from xpscale.sky import MAX_ORDER, Pixel, healpix_29, source_id_pixel
from xpscale.types import Partition, SpectraBatch


class MemoryReader:
    """A spectra store in memory, partitioned by position at a low HEALPix order."""

    def __init__(self, batch, order=1):
        pixels = healpix_29(batch.ra, batch.dec)
        rows = np.argsort(pixels, kind="stable")
        batch, numbers = batch.take(rows), pixels[rows] >> 2 * (29 - order)
        self.batches = {Pixel(order, int(n)): batch.take(numbers == n) for n in np.unique(numbers)}
        self.partitions = tuple(Partition(p, len(b), p.key) for p, b in self.batches.items())
        self.n_coefficients = batch.n_coefficients
        self.digest = hashlib.sha256(
            batch.source_id.tobytes() + batch.coefficients.tobytes()
        ).hexdigest()

    def read(self, partition, *, errors=True):
        return self.batches[partition.pixel]


def positions(source_id):
    """The centre of the pixel that source_id carries, in degrees."""
    from cdshealpix.nested import healpix_to_lonlat

    ra, dec = healpix_to_lonlat(source_id_pixel(source_id, MAX_ORDER), MAX_ORDER)
    return ra.deg, dec.deg


def planted(n, n_coefficients=12, seed=0, n_base_pixels=12):
    """Spectra of two latents with known scatter, in the archive's units, in some of the 12 base
    pixels of the sky.
    """
    rng = np.random.default_rng(seed)
    source_id = np.sort(rng.choice(n_base_pixels * 4**12, n, replace=False)).astype(np.int64) << 35
    ra, dec = positions(source_id)
    latents = rng.normal(size=(n, 2))
    pattern = rng.normal(size=(2, n_coefficients))
    normalized = 0.05 + 0.01 * (
        np.tanh(latents @ pattern) + 0.1 * rng.normal(size=(n, n_coefficients))
    )
    flux = 10 ** rng.uniform(3, 6, n)
    errors = normalized * flux[:, None] * 0.01
    coefficients = normalized * flux[:, None] + errors * rng.normal(size=errors.shape)
    return SpectraBatch(
        source_id, ra, dec, flux, coefficients.astype(np.float32), np.abs(errors).astype(np.float32)
    )
