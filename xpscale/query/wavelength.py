r"""From basis coefficients to flux against wavelength, through GaiaXPy's calibration.

The calibration is linear in the coefficients: f = c A, with c (N, C) the coefficients and A (C, W)
the design matrix, whose rows are the calibrated spectra of unit coefficients.  So A is computed
once and a spectrum costs one product of matrices. Independent standard deviations s of the
coefficients give the covariance C_f = A^T diag(s^2) A, whose diagonal is (s^2) (A * A).  (It is not
\|s A\|: that adds the coefficients' deviations with their signs, and passes through zero.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError, PermanentError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from xpscale.types import SpectraBatch

__all__ = ["SampledSpectra", "design_matrix", "sample", "sample_batch"]

N_PARAMETERS = 55  # a band in Gaia DR3, whose calibration GaiaXPy carries
BASES = {"bp": 56, "rp": 57}  # the archive's basis_function_id in DR3


@dataclass(frozen=True, slots=True, eq=False)
class SampledSpectra:
    """Spectra as flux on a grid of wavelengths.

    Parameters
    ----------
    source_id
        Gaia DR3 identifiers, int64, with shape (N,).
    wavelength_nm
        Grid in nm, with shape (W,); GaiaXPy's default, 336 to 1020 nm in steps of 2.
    flux
        W m-2 nm-1, with shape (N, W).
    scatter
        One standard deviation of the flux, from independent deviations of the coefficients, with
        shape (N, W).
    """

    source_id: NDArray[np.int64]
    wavelength_nm: NDArray[np.float64]
    flux: NDArray[np.float64]
    scatter: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.source_id)


@lru_cache(maxsize=1)
def design_matrix() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """GaiaXPy's calibration as a matrix (110, 343) in W m-2 nm-1 per electron/s, and its grid
    (343,) in nm.

    Takes some seconds at the first call, nearly all of it GaiaXPy's import.

    Raises
    ------
    PermanentError
        If GaiaXPy is not installed.
    """
    import pandas as pd

    calibrate = _gaiaxpy_calibrate()

    n = N_PARAMETERS
    unit = {"bp": np.eye(2 * n)[:, :n], "rp": np.eye(2 * n)[:, n:]}
    columns: dict[str, Any] = {"source_id": np.arange(1, 2 * n + 1)}
    for band, basis in BASES.items():
        columns |= {
            f"{band}_basis_function_id": basis,
            f"{band}_n_parameters": n,
            f"{band}_n_relevant_bases": n,
            f"{band}_standard_deviation": 1.0,
            f"{band}_coefficients": list(unit[band]),
            f"{band}_coefficient_errors": [np.ones(n)] * (2 * n),
            f"{band}_coefficient_correlations": [np.zeros(n * (n - 1) // 2)] * (2 * n),
        }
    rows, grid = calibrate(pd.DataFrame(columns), save_file=False, disable_info=True)
    return np.vstack(rows["flux"].to_list()).astype(np.float64), np.asarray(grid, np.float64)


def _gaiaxpy_calibrate() -> Callable[..., tuple[pd.DataFrame, NDArray[np.float64]]]:
    """GaiaXPy's calibration without its two side effects.

    Its public ``calibrate`` prints progress on stdout, where our commands put data; and its import
    sets matplotlib's ``text.usetex``, after which no figure can be drawn where there is no LaTeX.
    """
    before = (
        sys.modules["matplotlib"].rcParams["text.usetex"] if "matplotlib" in sys.modules else False
    )
    try:
        from gaiaxpy.calibrator.calibrator import _calibrate
    except ImportError as error:
        raise PermanentError(
            "GaiaXPy is not installed", 'pip install "xpscale[wavelength]"'
        ) from error
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].rcParams["text.usetex"] = before
    return _calibrate  # type: ignore[no-any-return]


def sample(
    source_id: NDArray[np.int64],
    coefficients: NDArray[np.floating[Any]],
    deviations: NDArray[np.floating[Any]],
) -> SampledSpectra:
    """Spectra on GaiaXPy's default grid.

    Parameters
    ----------
    source_id
        With shape (N,).
    coefficients, deviations
        Coefficients, BP then RP, and their independent standard deviations, in electron/s, with
        shape (N, 110).

    Raises
    ------
    InvalidInputError
        If there are not 110 coefficients: GaiaXPy's calibration is that of Gaia DR3.
    """
    if coefficients.ndim != 2 or coefficients.shape[1] != 2 * N_PARAMETERS:
        raise InvalidInputError(
            f"coefficients have shape {coefficients.shape}, GaiaXPy's calibration takes (N,"
            f" {2 * N_PARAMETERS})",
            "Plot against the index of the coefficient instead",
        )
    matrix, grid = design_matrix()
    mean, sigma = coefficients.astype(np.float64), deviations.astype(np.float64)
    return SampledSpectra(source_id, grid, mean @ matrix, np.sqrt(sigma**2 @ matrix**2))


def sample_batch(batch: SpectraBatch) -> SampledSpectra:
    """Observed spectra on GaiaXPy's default grid; ``scatter`` is their measurement error.

    Correlations of the coefficients' errors are not kept in a spectra store, and are taken as zero.
    """
    errors = batch.coefficient_errors
    return sample(
        batch.source_id,
        batch.coefficients,
        np.zeros_like(batch.coefficients) if errors is None else errors,
    )
