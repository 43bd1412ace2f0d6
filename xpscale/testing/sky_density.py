"""A sky with realistic densities of sources: a Galactic disc, a bulge, and some clusters.

The density is piecewise constant on HEALPix pixels of order 7 (about 0.46 degrees across), NESTED.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from xpscale.positions import unit_vectors
from xpscale.sky import GALACTIC_AXES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DENSITY_ORDER", "galactic_deg", "pixel_centers_deg", "source_counts"]

DENSITY_ORDER = 7

N_CLUSTERS = 24
CLUSTER_RADIUS_DEG = 0.6
CLUSTER_CONTRAST = 60.0  # density at a cluster's centre over that of the plane


def pixel_centers_deg(
    numbers: NDArray[np.int64], order: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right ascension and declination in degrees of the centres of pixels, each with shape (N,).

    Parameters
    ----------
    numbers
        NESTED numbers of the pixels, with shape (N,).
    order
        HEALPix order.
    """
    from cdshealpix.nested import healpix_to_lonlat

    if len(numbers) == 0:
        return np.empty(0), np.empty(0)
    lon, lat = healpix_to_lonlat(np.ascontiguousarray(numbers, np.uint64), order)
    return np.asarray(lon.deg), np.asarray(lat.deg)


def galactic_deg(
    ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Galactic longitude (0 to 360) and latitude in degrees, each with shape (N,).

    Parameters
    ----------
    ra, dec
        ICRS positions in degrees, with shape (N,).
    """
    x, y, z = (unit_vectors(ra, dec) @ GALACTIC_AXES.T).T
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arcsin(np.clip(z, -1, 1)))


def density(seed: int) -> NDArray[np.float64]:
    """Relative density of the pixels of order 7, with shape (196608,)."""
    ra, dec = pixel_centers_deg(np.arange(12 * 4**DENSITY_ORDER), DENSITY_ORDER)
    longitude, latitude = galactic_deg(ra, dec)
    from_center = (longitude + 180) % 360 - 180
    disc = np.exp(-np.abs(latitude) / 10) * (1 + 3 * np.exp(-((from_center / 40) ** 2)))
    weights = 0.1 + disc
    rng = np.random.default_rng([seed, 1])
    centers = rng.standard_normal((N_CLUSTERS, 3))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    vectors = unit_vectors(ra, dec)
    for center in centers:
        squared_chord = 2 - 2 * (vectors @ center)  # of a small angle, in radians, its square
        weights += CLUSTER_CONTRAST * np.exp(
            -0.5 * squared_chord / np.radians(CLUSTER_RADIUS_DEG) ** 2
        )
    return np.asarray(weights)


@lru_cache(maxsize=8)
def source_counts(n_sources: int, seed: int) -> NDArray[np.int64]:
    """Number of sources in every pixel of order 7, with shape (196608,).

    Parameters
    ----------
    n_sources
        The sum of the numbers.
    seed
        Of the random numbers.
    """
    weights = density(seed)
    counts = np.random.default_rng([seed, 2]).multinomial(n_sources, weights / weights.sum())
    counts.flags.writeable = False
    return np.asarray(counts, np.int64)
