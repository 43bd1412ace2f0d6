"""The physics of the synthetic sky: labels of stars, and from labels to spectra, scatter and
errors.

Letters in shapes: N sources, C coefficients (55 BP, then 55 RP).  With u the standardized labels
and G_flux the mean G flux, a spectrum is drawn as

    c_j = G_flux (f_j(u) + s_j(u) eps_j) + sigma_j eps'_j,        eps, eps' ~ N(0, 1)

where f and s are fixed smooth functions (the same in every universe) and sigma_j is the coefficient
error.  Numbers were read off 2,051 genuine DR3 spectra: medians of coefficients and errors, divided
by ``phot_g_mean_flux``, in bins of G and of the order j of the coefficient within its band.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from xpscale.release import DR3

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "N_COEFFICIENTS",
    "Labels",
    "coefficient_errors",
    "draw_labels",
    "error_shape",
    "intrinsic_scatter",
    "noiseless_coefficients",
    "typical_coefficients",
]

BANDS = DR3.known_bands
BAND_SIZE = BANDS.n_bp
N_COEFFICIENTS = BANDS.n_coefficients

# Cumulative distribution of G: 15.7 % of XP sources have G <= 15 (those with sampled spectra), none
# is fainter than 17.65 but for a few; the shares of single bins are those of the 2,000 sources at
# the head of the catalogue.
G_KNOTS = (5.0, 8.0, 10.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 17.65)
G_SHARES = (0.0, 0.001, 0.006, 0.024, 0.049, 0.093, 0.157, 0.403, 0.739, 1.0)

# Median and half 16-84 % width of the normalised coefficients of real stars at G 10 to 14.5,
# against order.
ORDER_KNOTS = (0, 1, 2, 3, 5, 7, 10, 20, 30, 54)
BP_MEDIAN = (6.15e-2, -4.8e-3, -1.2e-3, 2.5e-4, -2.3e-4, 7e-5, 0, 0, 0, 0)
RP_MEDIAN = (7.28e-2, -7.6e-3, -1.1e-4, 3e-5, -1.5e-4, 5e-5, 0, 0, 0, 0)
BP_WIDTH = (3.6e-3, 5.2e-3, 1.3e-3, 4.3e-4, 3.2e-4, 7e-5, 2.6e-5, 2.0e-5, 8e-6, 6e-7)
RP_WIDTH = (7.2e-3, 1.7e-3, 3.6e-4, 2.8e-4, 1.2e-4, 6e-5, 2.2e-5, 1.4e-5, 7e-6, 6e-7)

# Error of the first coefficient over G flux = hypot(floor, photons 10^(0.2 (G - 15))): within 25 %
# of the real median in every bin from G 7 to 18.  Errors fall with order; ratios to the first at
# the knots below.
BP_ERROR = (4.5e-5, 8.7e-5)
RP_ERROR = (1.7e-5, 7.5e-5)
ERROR_KNOTS = (0, 1, 10, 20, 30, 40, 50, 54)
BP_ERROR_SHAPE = (1.0, 0.86, 0.87, 0.72, 0.41, 0.32, 0.17, 0.035)
RP_ERROR_SHAPE = (1.0, 0.92, 0.86, 0.79, 0.74, 0.44, 0.27, 0.055)
ROW_ERROR_SPREAD = 0.25  # of the natural logarithm: sources differ in the number of their transits
ELEMENT_ERROR_SPREAD = 0.2  # half width, relative

PHYSICS_SEED = (
    20240607  # fixes f and s; not the universe's seed, so that all universes share their physics
)


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What a star is.

    Parameters
    ----------
    teff
        Effective temperature in K, float32, with shape (N,), as the others.
    logg
        Logarithm of the surface gravity in cm/s^2.
    fe_h
        Iron abundance [Fe/H] in dex.
    extinction
        Extinction in G, in mag.
    absolute_magnitude
        Absolute magnitude in G.
    parallax
        Parallax in mas, without noise.
    phot_g_mean_mag
        Apparent magnitude in G: absolute + extinction + 10 - 5 log10(parallax).
    """

    teff: NDArray[np.float32]
    logg: NDArray[np.float32]
    fe_h: NDArray[np.float32]
    extinction: NDArray[np.float32]
    absolute_magnitude: NDArray[np.float32]
    parallax: NDArray[np.float32]
    phot_g_mean_mag: NDArray[np.float32]

    def standardized(self) -> NDArray[np.float32]:
        """u: inverse temperature, gravity, metallicity, extinction, each about 0 +- 1, with shape
        (N, 4).
        """
        return np.stack(
            [
                (5040 / self.teff - 1) / np.float32(0.13),
                (self.logg - 3.7) / np.float32(1.1),
                (self.fe_h + 0.25) / np.float32(0.45),
                (np.log1p(self.extinction / 0.3) - 0.7) / np.float32(0.5),
            ],
            axis=1,
        ).astype(np.float32)


def draw_labels(rng: np.random.Generator, latitude: NDArray[np.float64]) -> Labels:
    """Draw dwarfs (65 %) and giants, a disc and a halo (8 %), seen through dust that thickens
    towards the plane.

    Parameters
    ----------
    rng
        Source of randomness.
    latitude
        Galactic latitude in degrees, with shape (N,).
    """
    n = len(latitude)
    is_giant, is_clump, is_halo = (rng.random(n) < share for share in (0.35, 0.4, 0.08))
    fe_h = np.clip(
        np.where(is_halo, rng.normal(-1.4, 0.35, n), rng.normal(-0.15, 0.22, n)), -2.5, 0.5
    )
    along = rng.beta(2, 2.5, n)
    dwarf_teff = 3400 + 4000 * along
    dwarf_logg = 4.7 - 0.55 * along**1.5 + 0.05 * rng.standard_normal(n)
    giant_logg = np.where(is_clump, rng.normal(2.45, 0.1, n), rng.uniform(0.8, 3.5, n))
    giant_teff = 3700 + 470 * giant_logg - 200 * fe_h + 50 * rng.standard_normal(n)
    teff = np.where(is_giant, giant_teff, dwarf_teff)
    logg = np.where(is_giant, giant_logg, dwarf_logg)
    main_sequence = np.interp(
        dwarf_teff, (3400, 4000, 5000, 5800, 6500, 7400), (10.0, 8.2, 6.2, 4.6, 3.6, 2.6)
    )
    absolute = np.where(is_giant, 1.35 * giant_logg - 2.5, main_sequence) - 0.3 * fe_h * ~is_giant
    extinction = np.minimum(rng.exponential(0.08 + 0.9 * np.exp(-np.abs(latitude) / 8)), 4.0)
    magnitude = np.interp(rng.random(n), G_SHARES, G_KNOTS)
    parallax = 10 ** (0.2 * (absolute + extinction + 10 - magnitude))
    values = (teff, logg, fe_h, extinction, absolute, parallax, magnitude)
    return Labels(*(value.astype(np.float32) for value in values))


def noiseless_coefficients(labels: Labels) -> NDArray[np.float32]:
    """f(u): normalised coefficients without scatter and noise, with shape (N, C)."""
    median, width, weights, _ = _physics()
    return np.asarray(median + width * (_features(labels.standardized()) @ weights))


def intrinsic_scatter(labels: Labels) -> NDArray[np.float32]:
    """s(u): standard deviation of the normalised coefficients at fixed labels, with shape (N, C).

    Between 0.05 and 0.2 of the width of the coefficient over all stars.
    """
    _, width, _, weights = _physics()
    logits = labels.standardized() @ weights
    return np.asarray(width * (np.float32(0.05) + np.float32(0.15) / (1 + np.exp(-logits))))


def coefficient_errors(
    rng: np.random.Generator, magnitude: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Realistic errors of the normalized coefficients, with shape (N, C).

    Parameters
    ----------
    rng
        Source of random numbers.
    magnitude
        G magnitudes, with shape (N,).
    """
    n = len(magnitude)
    photons = 10 ** (np.float32(0.2) * (magnitude - 15))
    first = [np.hypot(floor, faint * photons)[:, None] for floor, faint in (BP_ERROR, RP_ERROR)]
    shapes = error_shape().reshape(2, BAND_SIZE)
    errors = np.empty((n, N_COEFFICIENTS), np.float32)
    row = np.exp(ROW_ERROR_SPREAD * rng.standard_normal(n))[:, None]
    for band, (of_first, shape) in enumerate(zip(first, shapes, strict=True)):
        columns = slice(band * BAND_SIZE, (band + 1) * BAND_SIZE)
        np.multiply(
            (row * of_first).astype(np.float32), shape.astype(np.float32), out=errors[:, columns]
        )
    jitter = rng.random((n, N_COEFFICIENTS), dtype=np.float32)
    jitter *= np.float32(2 * ELEMENT_ERROR_SPREAD)
    jitter += np.float32(1 - ELEMENT_ERROR_SPREAD)
    errors *= jitter
    return errors


def _features(u: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear terms, curved ones, and all products of two, with shape (N, F)."""
    t, g, m, a = u.T
    curved = [t * t - 1, g * g - 1, np.tanh(2 * t), np.tanh(2 * g), np.sin(1.5 * t), t * t * t / 4]
    products = [t * g, t * m, t * a, g * m, g * a, m * a]
    return np.stack([t, g, m, a, *curved, *products], axis=1)


FEATURE_SCALES = (
    1.0,
    0.5,
    0.45,
    0.7,
    0.2,
    0.15,
    0.2,
    0.3,
    0.15,
    0.08,
    0.15,
    0.15,
    0.1,
    0.1,
    0.08,
    0.08,
)


def typical_coefficients() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median and width of normalised coefficients of real stars, both with shape (C,)."""
    order = np.arange(BAND_SIZE)
    median = np.concatenate(
        [np.interp(order, ORDER_KNOTS, values) for values in (BP_MEDIAN, RP_MEDIAN)]
    )
    return median, _against_order(ORDER_KNOTS, BP_WIDTH, RP_WIDTH)


def error_shape() -> NDArray[np.float64]:
    """Errors of real coefficients over that of the first of their band, with shape (C,)."""
    return _against_order(ERROR_KNOTS, BP_ERROR_SHAPE, RP_ERROR_SHAPE)


def _against_order(knots: tuple[int, ...], *bands: tuple[float, ...]) -> NDArray[np.float64]:
    return np.concatenate(
        [np.exp(np.interp(np.arange(BAND_SIZE), knots, np.log(values))) for values in bands]
    )


@lru_cache(maxsize=1)
def _physics() -> tuple[NDArray[np.float32], ...]:
    """Median and width, each with shape (C,), and the weights of f, (F, C), and of s, (4, C)."""
    median, width = typical_coefficients()
    rng = np.random.default_rng(PHYSICS_SEED)
    weights = (
        rng.standard_normal((len(FEATURE_SCALES), N_COEFFICIENTS))
        * np.array(FEATURE_SCALES)[:, None]
    )
    # Cooler and redder stars have less light in BP and more in RP: the sign real spectra show.
    weights[:, [0, BAND_SIZE]] *= np.sign(weights[0, [0, BAND_SIZE]]) * (-1, 1)
    weights /= np.linalg.norm(weights, axis=0)
    scatter_weights = rng.standard_normal((4, N_COEFFICIENTS))
    return tuple(array.astype(np.float32) for array in (median, width, weights, scatter_weights))
