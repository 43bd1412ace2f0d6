"""One star's spectrum as curves: reconstruction, the parts of its error, and what was observed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.spectra import SpectraBatch

__all__ = ["Coefficients", "Curves", "Sampled", "curves_of"]


class Coefficients(Protocol):
    """Spectra as basis coefficients in electron/s, as `xpscale.query.reconstruct.Spectra`."""

    @property
    def source_id(self) -> NDArray[np.int64]:
        """With shape (N,)."""

    @property
    def bands(self) -> Bands:
        """The numbers of BP and RP coefficients."""

    @property
    def mean(self) -> NDArray[Any]:
        """With shape (N, C)."""

    @property
    def scatter(self) -> NDArray[Any]:
        """With shape (N, C)."""

    @property
    def posterior_error(self) -> NDArray[Any] | None:
        """With shape (N, C), where it is known."""


@runtime_checkable
class Sampled(Protocol):
    """Spectra as flux in W m-2 nm-1, as `xpscale.query.wavelength.SampledSpectra`."""

    @property
    def source_id(self) -> NDArray[np.int64]:
        """With shape (N,)."""

    @property
    def wavelength_nm(self) -> NDArray[np.float64]:
        """With shape (W,)."""

    @property
    def flux(self) -> NDArray[np.float64]:
        """With shape (N, W)."""

    @property
    def scatter(self) -> NDArray[np.float64]:
        """With shape (N, W)."""

    @property
    def posterior_error(self) -> NDArray[Any] | None:
        """With shape (N, W), where it is known."""


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """One star, sampled at W wavelengths or of W coefficients.

    Parameters
    ----------
    x
        Wavelength in nm, or the index of the coefficient, with shape (W,).
    mean, scatter, posterior_error
        Reconstruction, its intrinsic scatter, and how far itself is known, with shape (W,); the
        last is ``None`` where nothing is known of it.
    observed, error
        Observation and its error, with shape (W,); ``None`` if there is none.
    """

    x: NDArray[Any]
    mean: NDArray[Any]
    scatter: NDArray[Any]
    posterior_error: NDArray[Any] | None = None
    observed: NDArray[Any] | None = None
    error: NDArray[Any] | None = None


def curves_of(
    model: Coefficients | Sampled, observed: SpectraBatch | Sampled | None, i: int
) -> Curves:
    """The curves of one star.

    Parameters
    ----------
    model
        Reconstructions.
    observed
        Observations, matched by source_id.
    i
        Which row of ``model``.

    Raises
    ------
    InvalidInputError
        Model and observation are not of one kind, or have different widths.
    """
    mean, scatter = _row(model, i)
    x = model.wavelength_nm if isinstance(model, Sampled) else np.arange(len(mean))
    known = model.posterior_error
    curves = Curves(x, mean, scatter, None if known is None else np.asarray(known[i], np.float64))
    if observed is None:
        return curves
    if isinstance(model, Sampled) != isinstance(observed, Sampled):
        raise InvalidInputError(
            "reconstruction and observation are not both flux or both coefficients",
            "Sample both: spectra.at_wavelengths() and sample_batch(batch)",
        )
    rows = np.flatnonzero(np.asarray(observed.source_id) == model.source_id[i])
    if len(rows) == 0:
        return curves
    values, errors = _row(observed, rows[0])
    if values.shape != mean.shape:
        raise InvalidInputError(
            f"the observation has {len(values)} values, the reconstruction {len(mean)}"
        )
    return replace(curves, observed=values, error=errors)


def _row(spectra: Any, i: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values and their spread of one row of spectra of any kind, each with shape (W,)."""
    values: NDArray[Any]
    spread: NDArray[Any] | None
    if isinstance(spectra, SpectraBatch):
        values, spread = spectra.coefficients, spectra.coefficient_errors
    else:
        values = spectra.flux if isinstance(spectra, Sampled) else spectra.mean
        spread = spectra.scatter
    row = np.asarray(values[i], np.float64)
    return row, np.zeros_like(row) if spread is None else np.asarray(spread[i], np.float64)
