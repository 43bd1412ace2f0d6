"""Reconstructed spectra, with the parts of their error, and what can be made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.query.frames import Result
from xpscale.query.posterior import PosteriorSpread, no_posterior, total_error
from xpscale.query.spectrum_views import SpectrumViews
from xpscale.query.wavelength import SampledSpectra
from xpscale.release import Release

__all__ = ["Spectra"]


@dataclass(frozen=True, slots=True, eq=False)
class Spectra(SpectrumViews):
    """Reconstructed spectra as basis coefficients, in the archive's units (electron/s).

    Parameters
    ----------
    source_id
        Gaia identifiers, int64, with shape (N,).
    mean
        Reconstructed coefficients, BP then RP, with shape (N, C).
    scatter
        Intrinsic scatter of each coefficient beyond its measurement error, one standard deviation,
        with shape (N, C).
    bands
        The numbers of BP and RP coefficients.
    release
        The data release of the sources.
    spread
        How far the reconstruction itself is known; ``None`` if the posterior is not.

    Raises
    ------
    InvalidInputError
        If the shapes do not fit.
    """

    source_id: NDArray[np.int64]
    mean: NDArray[np.floating[Any]]
    scatter: NDArray[np.floating[Any]]
    bands: Bands
    release: Release
    spread: PosteriorSpread | None = None

    def __post_init__(self) -> None:
        expected = (len(self.source_id), self.bands.n_coefficients)
        if self.mean.shape != expected or self.scatter.shape != expected:
            raise InvalidInputError(
                f"mean has shape {self.mean.shape} and scatter {self.scatter.shape}, expected"
                f" {expected} for both: {self.bands}"
            )

    def __len__(self) -> int:
        return len(self.source_id)

    def take(self, rows: NDArray[Any] | slice) -> Spectra:
        """The spectra of some rows: an index array, a boolean mask with shape (N,), or a slice."""
        return replace(
            self,
            source_id=self.source_id[rows],
            mean=self.mean[rows],
            scatter=self.scatter[rows],
            spread=None if self.spread is None else self.spread.take(rows),
        )

    @property
    def posterior_error(self) -> NDArray[np.float32] | None:
        """The part of the error that comes from the latents, which are known to their posterior
        only: one standard deviation of each coefficient, with shape (N, C); ``None`` without
        `spread`.  Computed when it is first asked for, in about 0.2 ms a spectrum.
        """
        return None if self.spread is None else self.spread.error

    @property
    def total_error(self) -> NDArray[np.floating[Any]]:
        """sqrt(posterior_error^2 + scatter^2), with shape (N, C): how far true coefficients lie
        from ``mean``.

        Raises
        ------
        InvalidInputError
            If the posterior is not known.
        """
        return total_error(self.posterior_error, self.scatter)

    def photometry(self, system: str) -> Result:
        """Synthetic magnitudes and fluxes through GaiaXPy; errors are those of ``total_error``, or
        of ``scatter`` where the posterior is not known, without correlations.

        Parameters
        ----------
        system
            A photometric system of GaiaXPy, such as ``"Gaia_DR3_Vega"`` or ``"SDSS_Std"``.

        Raises
        ------
        InvalidInputError
            If GaiaXPy has no such system, or no calibration of these bands and this release.
        PermanentError
            If GaiaXPy is not installed.
        """
        from xpscale.query.synthetic_photometry import photometry

        deviations = self.scatter if self.spread is None else self.total_error
        spectra = (self.source_id, self.mean, deviations, self.bands, self.release)
        return photometry(*spectra, system)

    def covariance(self, matrix: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Covariance of the coefficients, the posterior's and the independent scatter's together,
        with shape (N, C, C); or of linear functions of them, with shape (N, W, W).

        Parameters
        ----------
        matrix
            The functions' weights, with shape (C, W).
        """
        if self.spread is None:
            raise no_posterior()
        matrix = np.eye(self.bands.n_coefficients) if matrix is None else matrix
        scatter = self.scatter.astype(np.float64)[:, :, None] * matrix  # (N, C, W)
        return self.spread.covariance_of(matrix) + scatter.transpose(0, 2, 1) @ scatter

    def _columns(self) -> dict[str, NDArray[Any] | None]:
        known = self.posterior_error
        return {
            "source_id": self.source_id[:, None],
            "coefficient": np.arange(self.bands.n_coefficients)[None],
            "mean": self.mean,
            "scatter": self.scatter,
            "posterior_error": known,
            "total_error": None if known is None else self.total_error,
        }

    def at_wavelengths(
        self, wavelength_nm: ArrayLike | None = None, *, covariance: bool = False
    ) -> SampledSpectra:
        """The spectra as flux against wavelength (W m-2 nm-1, nm), through GaiaXPy.

        Parameters
        ----------
        wavelength_nm
            Increasing wavelengths from 330 to 1050 nm, with shape (W,); by default GaiaXPy's grid.
        covariance
            Whether to compute the covariance of the flux, too: W x W numbers a spectrum.

        Raises
        ------
        InvalidInputError
            If GaiaXPy has no calibration of these bands and this release or at these wavelengths,
            or the posterior is not known and a covariance asked for.
        """
        from xpscale.query.wavelength import calibration_at, sample

        known = calibration_at(wavelength_nm)
        found = sample(self.source_id, self.mean, self.scatter, self.bands, self.release, known)
        both = self.covariance(known.matrix) if covariance else None
        error = None if self.spread is None else self.spread.propagated(known.matrix)
        return replace(found, posterior_error=error, covariance=both)
