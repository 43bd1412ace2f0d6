"""Objects unlike ordinary stars, made from ordinary ones: emission lines added, hot continua, and
for a synthetic universe stars hotter than it has.

Flux y on GaiaXPy's grid becomes coefficients by ridge regression: with A the calibration
(`xpscale.query.wavelength`), w ten times the widths of real coefficients and y in units of a
typical star's peak,

    c = argmin |A c - y|^2 / tau^2 + |c / w|^2,        tau = 0.01.

The result is divided by its own G flux: the passband is linear in the coefficients, and is fitted
to the leading orders of the ordinary stars, for which it is 1.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from xpscale.query.wavelength import calibration
from xpscale.spectra import SpectraBatch
from xpscale.testing import starlight

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["hot_continua", "with_emission_lines"]

N_LEADING = 8
WIDEN, TAU = 10.0, 0.01
LINES_NM = {"[O III] 495.9": 495.9, "[O III] 500.7": 500.7, "H alpha": 656.3}
LINE_FWHM_NM = 14.0  # the resolution of the spectrographs: no line is narrower
PLANCK_NM_K = 1.438777e7  # h c / k


def with_emission_lines(
    ordinary: SpectraBatch, seed: int = 0, strength: tuple[float, float] = (10.0, 300.0)
) -> SpectraBatch:
    """The stars with [O III] and H alpha, as planetary nebulae have, errors unchanged.

    Parameters
    ----------
    ordinary
        Stars.
    seed
        Of the strengths.
    strength
        Range of the flux of all lines, in nm of a typical star's peak; logarithmically uniform.
    """
    rng, n = np.random.default_rng(seed), len(ordinary)
    total = _log_uniform(rng, strength, n)
    oxygen = total * rng.beta(1, 1, n)  # of both lines: 1 to 3
    fluxes = np.stack([oxygen / 4, 3 * oxygen / 4, total - oxygen], 1)
    grid = calibration().wavelength_nm
    sigma = LINE_FWHM_NM / np.sqrt(8 * np.log(2))
    offsets = (grid - np.array(list(LINES_NM.values()))[:, None]) / sigma
    profiles = np.exp(-(offsets**2) / 2) / (sigma * np.sqrt(2 * np.pi))
    return _of_unit_flux(ordinary, _normalized(ordinary) + _coefficients(fluxes @ profiles))


def hot_continua(
    ordinary: SpectraBatch, seed: int = 0, kelvin: tuple[float, float] = (9e3, 4e4)
) -> SpectraBatch:
    """Black bodies, as white dwarfs nearly are, of the magnitudes and errors of ordinary stars.

    Parameters
    ----------
    ordinary
        Stars.
    seed
        Of temperatures and noise.
    kelvin
        Range of temperatures, logarithmically uniform.
    """
    rng, grid = np.random.default_rng(seed), calibration().wavelength_nm
    teff = _log_uniform(rng, kelvin, len(ordinary))
    flux = (grid / 500) ** -5 / np.expm1(PLANCK_NM_K / (grid * teff[:, None]))
    made = _of_unit_flux(ordinary, _coefficients(flux / flux.max(1, keepdims=True)))
    return _noisy(made, rng)


def _log_uniform(
    rng: np.random.Generator, limits: tuple[float, float], n: int
) -> NDArray[np.float64]:
    return np.asarray(np.exp(rng.uniform(math.log(limits[0]), math.log(limits[1]), n)))


def _normalized(batch: SpectraBatch) -> NDArray[np.float64]:
    return np.asarray(batch.coefficients / batch.phot_g_mean_flux[:, None])


@lru_cache(maxsize=1)
def _ridge() -> NDArray[np.float64]:
    """From flux in units of a typical star's peak to normalized coefficients, with shape (W, C)."""
    median, width = starlight.typical_coefficients()
    design = calibration().matrix.T
    unit = (design @ median).max()
    u, d, vt = np.linalg.svd(design / unit * (WIDEN * width), full_matrices=False)
    return np.asarray((u * (d / (d**2 + TAU**2))) @ vt * (WIDEN * width))


def _coefficients(flux: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalized coefficients of flux in units of a typical star's peak, with shape (N, C)."""
    return np.asarray(flux @ _ridge())


def _of_unit_flux(ordinary: SpectraBatch, made: NDArray[np.float64]) -> SpectraBatch:
    """Normalized spectra, over their G flux, as rows of the ordinary stars' flux and errors."""
    columns = np.concatenate(
        [band.start + np.arange(N_LEADING) for band in (ordinary.bands.bp, ordinary.bands.rp)]
    )
    known = _normalized(ordinary)[:, columns]
    scale = np.abs(known).mean(0)
    moments = (known / scale).T @ (known / scale) / len(known) + 1e-6 * np.eye(len(columns))
    passband = np.linalg.solve(moments, (known / scale).mean(0)) / scale
    made = made / (made[:, columns] @ passband)[:, None]
    coefficients = (made * ordinary.phot_g_mean_flux[:, None]).astype(np.float32)
    return replace(ordinary, coefficients=coefficients)


def _noisy(batch: SpectraBatch, rng: np.random.Generator) -> SpectraBatch:
    errors = (
        np.zeros(1, np.float32) if batch.coefficient_errors is None else batch.coefficient_errors
    )
    noise = errors * rng.standard_normal(batch.coefficients.shape, dtype=np.float32)
    return replace(batch, coefficients=batch.coefficients + noise)
