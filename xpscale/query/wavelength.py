r"""From basis coefficients to flux against wavelength, through GaiaXPy's calibration.

The calibration is linear in the coefficients: f = c A, with c (N, C) the coefficients and A (C, W)
the design matrix: the basis functions of each band on the grid of wavelengths, times the weight
that merges BP and RP (Montegriffo et al. 2023, A&A 674, A3).  So a spectrum costs one product of
matrices.  Independent standard deviations s of the coefficients give the covariance
C_f = A^T diag(s^2) A, whose diagonal is (s^2) (A * A).  (It is not \|s A\|: that adds the
coefficients' deviations with their signs, and passes through zero.)
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.extras import naming_extras
from xpscale.query.posterior import total_error
from xpscale.query.spectrum_views import SpectrumViews
from xpscale.release import UNSTATED, Release, release_of
from xpscale.spectra import SpectraBatch

__all__ = [
    "Calibration",
    "SampledSpectra",
    "calibration",
    "calibration_at",
    "sample",
    "sample_batch",
]

LIMITS_NM = (330, 1050)
MODELS = ("v375wi", "v142r")
"""Of BP and RP: GaiaXPy's defaults."""


@dataclass(frozen=True, slots=True, eq=False)
class SampledSpectra(SpectrumViews):
    """Spectra as flux on a grid of wavelengths.

    Parameters
    ----------
    source_id
        Gaia identifiers, int64, with shape (N,).
    wavelength_nm
        Grid in nm, with shape (W,); GaiaXPy's default, 336 to 1020 nm in steps of 2.
    flux
        W m-2 nm-1, with shape (N, W).
    scatter
        One standard deviation of the flux, from independent deviations of the coefficients, with
        shape (N, W).
    posterior_error
        One standard deviation of the flux as far as the latents are not known, with shape (N, W);
        ``None`` where that is not known, or nothing was reconstructed.
    covariance
        Of the flux, scatter and posterior together, with shape (N, W, W); ``None`` unless it was
        asked for.
    """

    source_id: NDArray[np.int64]
    wavelength_nm: NDArray[np.float64]
    flux: NDArray[np.float64]
    scatter: NDArray[np.float64]
    posterior_error: NDArray[np.float64] | None = None
    covariance: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.source_id)

    @property
    def total_error(self) -> NDArray[np.float64]:
        """sqrt(posterior_error^2 + scatter^2), with shape (N, W).

        Raises
        ------
        InvalidInputError
            If the posterior is not known.
        """
        return total_error(self.posterior_error, self.scatter)

    def to_specutils(self) -> list[Any]:
        """A `specutils.Spectrum` for each source, with its total error, or its scatter where the
        posterior is not known, and ``source_id`` in ``meta``.

        Raises
        ------
        PermanentError
            If specutils is not installed.
        """
        from astropy import units
        from astropy.nddata import StdDevUncertainty

        with naming_extras():
            from specutils import Spectrum
        flux_unit = units.W / units.m**2 / units.nm
        errors = self.scatter if self.posterior_error is None else self.total_error
        return [
            Spectrum(
                spectral_axis=self.wavelength_nm * units.nm,
                flux=flux * flux_unit,
                uncertainty=StdDevUncertainty(error, unit=flux_unit),
                meta={"source_id": int(source_id)},
            )
            for source_id, flux, error in zip(self.source_id, self.flux, errors, strict=True)
        ]

    def _columns(self) -> dict[str, NDArray[Any] | None]:
        known = self.posterior_error
        return {
            "source_id": self.source_id[:, None],
            "wavelength_nm": self.wavelength_nm[None],
            "flux": self.flux,
            "scatter": self.scatter,
            "posterior_error": known,
            "total_error": None if known is None else self.total_error,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A calibration of basis coefficients, on a grid of wavelengths.

    Parameters
    ----------
    matrix
        A, in W m-2 nm-1 per electron/s, with shape (C, W).
    wavelength_nm
        The grid in nm, with shape (W,).
    bands
        Coefficients of each band that it takes.
    release
        The data release whose bases these are.
    """

    matrix: NDArray[np.float64]
    wavelength_nm: NDArray[np.float64]
    bands: Bands
    release: Release

    def require(self, bands: Bands, release: Release) -> None:
        """Refuse spectra that it was not made for.

        Parameters
        ----------
        bands, release
            Those of the spectra.

        Raises
        ------
        InvalidInputError
            If either differs; the message names both sides.
        """
        if bands != self.bands or self.release.name not in (release.name, UNSTATED.name):
            raise InvalidInputError(
                f"GaiaXPy {version('gaiaxpy')} has the calibration of {self.bands} coefficients of"
                f" {self.release}, and none of {bands} of {release}",
                "Use the coefficients as they are, or a GaiaXPy that has this calibration",
            )


@lru_cache(maxsize=1)
def calibration() -> Calibration:
    """The calibration that the installed GaiaXPy has, on its default grid.

    Takes some seconds at the first call, nearly all of it GaiaXPy's import.

    Raises
    ------
    PermanentError
        If GaiaXPy is not installed.
    """
    uses_latex = "text.usetex"
    matplotlib = sys.modules.get("matplotlib")
    before = matplotlib.rcParams[uses_latex] if matplotlib else False
    with naming_extras():
        from gaiaxpy.core.config import load_xpmerge_from_xml, load_xpsampling_from_xml
    # GaiaXPy's import makes matplotlib ask for LaTeX, without which no figure could be drawn
    if matplotlib := sys.modules.get("matplotlib"):
        matplotlib.rcParams[uses_latex] = before
    bases = load_xpsampling_from_xml()  # by band, with shapes (n, W)
    grid, weights = load_xpmerge_from_xml()  # and by band, with shape (W,)
    bands = Bands(len(bases["bp"]), len(bases["rp"]))
    matrix = np.vstack([bases[band] * weights[band] for band in ("bp", "rp")])
    return Calibration(
        matrix.astype(np.float64), np.asarray(grid, np.float64), bands, release_of("", bands)
    )


def calibration_at(wavelength_nm: ArrayLike | None) -> Calibration:
    """The calibration that the installed GaiaXPy has, at wavelengths such as those of
    `xpscale.query.reconstructed_spectra.Spectra.at_wavelengths`.
    """
    known = calibration()
    if wavelength_nm is None:
        return known
    grid = np.atleast_1d(np.asarray(wavelength_nm, np.float64))
    low, high = LIMITS_NM
    if (
        grid.ndim > 1
        or not len(grid)
        or not (np.diff(grid) > 0).all()
        or not (low <= grid[0] and grid[-1] <= high)
    ):
        raise InvalidInputError(
            f"the wavelengths are not an increasing list from {low} to {high} nm",
            "Give nm, such as numpy.arange(400, 900, 5)",
        )
    from gaiaxpy.calibrator import calibrator

    # what its public function, which takes tables of archive rows only, makes for itself
    make = vars(calibrator)["__generate_xp_matrices_and_merge"]
    bases, weights = make("calibrator", grid, *MODELS)
    matrix = np.vstack([bases[band].get_design_matrix() * weights[band] for band in ("bp", "rp")])
    return replace(known, matrix=matrix.astype(np.float64), wavelength_nm=grid)


def sample(
    source_id: NDArray[np.int64],
    coefficients: NDArray[np.floating[Any]],
    deviations: NDArray[np.floating[Any]],
    bands: Bands,
    release: Release,
    known: Calibration | None = None,
) -> SampledSpectra:
    """Spectra as flux against wavelength.

    Parameters
    ----------
    source_id
        With shape (N,).
    coefficients, deviations
        Coefficients, BP then RP, and their independent standard deviations, in electron/s, with
        shape (N, C).
    bands
        The numbers of BP and RP coefficients.
    release
        The data release that they are of.
    known
        The calibration, from `calibration_at`; by default on GaiaXPy's default grid.
    """
    known = known or calibration()
    known.require(bands, release)
    mean, sigma = coefficients.astype(np.float64), deviations.astype(np.float64)
    flux, variance = mean @ known.matrix, sigma**2 @ known.matrix**2
    return SampledSpectra(source_id, known.wavelength_nm, flux, np.sqrt(variance))


def sample_batch(batch: SpectraBatch, release: Release) -> SampledSpectra:
    """Observed spectra on GaiaXPy's default grid; ``scatter`` is their measurement error.

    Correlations of the coefficients' errors are not kept in a spectra store, and are taken as zero.

    Parameters
    ----------
    batch
        The spectra.
    release
        The data release that they are of.

    Raises
    ------
    InvalidInputError
        If GaiaXPy has no calibration of such spectra.
    """
    errors = batch.coefficient_errors
    deviations = np.zeros_like(batch.coefficients) if errors is None else errors
    return sample(batch.source_id, batch.coefficients, deviations, batch.bands, release)
