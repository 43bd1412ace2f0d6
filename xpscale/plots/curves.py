"""One star's spectrum as curves: reconstruction, intrinsic scatter, and what was observed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.spectra import SpectraBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.bands import Bands

__all__ = ["Coefficients", "Curves", "Sampled", "curves_of"]


class Coefficients(Protocol):
    """Spectra as basis coefficients in electron/s, as `xpscale.query.reconstruct.Spectra`."""

    @property
    def source_id(self) -> NDArray[np.int64]:
        """With shape (N,)."""
        ...

    @property
    def bands(self) -> Bands:
        """The numbers of BP and RP coefficients."""
        ...

    @property
    def mean(self) -> NDArray[Any]:
        """With shape (N, C)."""
        ...

    @property
    def scatter(self) -> NDArray[Any]:
        """With shape (N, C)."""
        ...


@runtime_checkable
class Sampled(Protocol):
    """Spectra as flux in W m-2 nm-1, as `xpscale.query.wavelength.SampledSpectra`."""

    @property
    def source_id(self) -> NDArray[np.int64]:
        """With shape (N,)."""
        ...

    @property
    def wavelength_nm(self) -> NDArray[np.float64]:
        """With shape (W,)."""
        ...

    @property
    def flux(self) -> NDArray[np.float64]:
        """With shape (N, W)."""
        ...

    @property
    def scatter(self) -> NDArray[np.float64]:
        """With shape (N, W)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """One star, sampled at W wavelengths or of W coefficients.

    Parameters
    ----------
    x
        Wavelength in nm, or the index of the coefficient, with shape (W,).
    mean, scatter
        Reconstruction and its intrinsic scatter, with shape (W,).
    observed, error
        Observation and its error, with shape (W,); ``None`` if there is none.
    """

    x: NDArray[Any]
    mean: NDArray[Any]
    scatter: NDArray[Any]
    observed: NDArray[Any] | None
    error: NDArray[Any] | None


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
    if observed is None:
        return Curves(x, mean, scatter, None, None)
    if isinstance(model, Sampled) != isinstance(observed, Sampled):
        raise InvalidInputError(
            "reconstruction and observation are not both flux or both coefficients",
            "Sample both: spectra.at_wavelengths() and sample_batch(batch)",
        )
    rows = np.flatnonzero(np.asarray(observed.source_id) == model.source_id[i])
    if len(rows) == 0:
        return Curves(x, mean, scatter, None, None)
    values, errors = _row(observed, rows[0])
    if values.shape != mean.shape:
        raise InvalidInputError(
            f"the observation has {len(values)} values, the reconstruction {len(mean)}"
        )
    return Curves(x, mean, scatter, values, errors)


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
