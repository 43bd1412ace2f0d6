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
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.extras import naming_extras
from xpscale.query.posterior import total_error
from xpscale.release import UNSTATED, Release, release_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.spectra import SpectraBatch

__all__ = ["Calibration", "SampledSpectra", "calibration", "sample", "sample_batch"]


@dataclass(frozen=True, slots=True, eq=False)
class SampledSpectra:
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
    """

    source_id: NDArray[np.int64]
    wavelength_nm: NDArray[np.float64]
    flux: NDArray[np.float64]
    scatter: NDArray[np.float64]
    posterior_error: NDArray[np.float64] | None = None

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


def sample(
    source_id: NDArray[np.int64],
    coefficients: NDArray[np.floating[Any]],
    deviations: NDArray[np.floating[Any]],
    bands: Bands,
    release: Release,
) -> SampledSpectra:
    """Spectra on GaiaXPy's default grid.

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

    Raises
    ------
    InvalidInputError
        If GaiaXPy has no calibration of such coefficients.
    PermanentError
        If GaiaXPy is not installed.
    """
    known = calibration()
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
