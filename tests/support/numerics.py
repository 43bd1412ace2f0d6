"""The numerics contract: how far a number of the catalogue may be from the equations in float64
(design/007).

Every backend and every device is held to it; `tests.support.exact` has the float64 numbers,
tests/golden the test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["MAX_DEVIATION", "MAX_DEVIATION_HOSTILE", "deviations"]

MAX_DEVIATION = {
    "latent_mean": 5e-5,
    "latent_mean_sigmas": 0.15,
    "latent_log_var": 1e-4,
    "reconstruction": 5e-4,
    "scatter": 1e-4,
    "nll": 1e-3,
    "reduced_chi2": 5e-5,
    "kl": 1e-5,
}
"""Largest deviation of any row, in the units of `deviations`, on spectra such as the archive has.
"""

MAX_DEVIATION_HOSTILE = {
    "latent_mean": 1e-3,
    "latent_log_var": 1e-3,
    "reconstruction": 0.25,
    "scatter": 1e-3,
    "nll": 1e-3,
    "reduced_chi2": 3e-4,
    "kl": 5e-5,
}
"""The same for what no survey should hold: coefficients off by a factor 1,000, errors or G flux
wrong by powers of ten.

The worst of 20,000 such rows are those whose coefficients lie hundreds of standard deviations off:
a latent below 1 beside one of a thousand is the difference of sums of thousands, of which float32
keeps seven digits (design/007). There is no bound in posterior standard deviations: far outside the
training sample the latents are in the hundreds, and the variances at their lower bound.  Such rows
are flagged. """


def deviations(
    found: Mapping[str, NDArray[np.floating]],
    exact: Mapping[str, NDArray[np.float64]],
    coefficient_errors: NDArray[np.floating] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """How far results are from the float64 ones, for those columns that were found.

    Parameters
    ----------
    found
        Some of the columns of ``exact``.
    exact
        From `tests.support.exact.exact_columns`, or any float64 evaluation: ``latent_mean``,
        ``latent_log_var`` with shape (N, L), ``reconstruction``, ``scatter`` (N, C) in the
        archive's units, ``nll``, ``kl``, ``reduced_chi2`` (N,).
    coefficient_errors
        Errors in the archive's units, with shape (N, C); zero if not given.

    Returns
    -------
    dict
        ``latent_mean``: relative, or absolute below 1; ``latent_mean_sigmas``: in standard
        deviations of the posterior; ``latent_log_var``: absolute; ``reconstruction`` and
        ``scatter``: in units of sqrt(err^2 + s^2); the others: relative, or absolute below 1.
        Shapes are those of the columns.
    """
    units: dict[str, NDArray[np.float64]] = {
        "latent_log_var": np.ones_like(exact["latent_log_var"]),
        **{
            name: np.maximum(np.abs(exact[name]), 1)
            for name in ("latent_mean", "nll", "kl", "reduced_chi2")
            if name in exact
        },
    }
    if "scatter" in exact:
        noise = np.hypot(
            0.0 if coefficient_errors is None else coefficient_errors, exact["scatter"]
        )
        units |= {"reconstruction": noise, "scatter": noise}
    off = {
        name: np.abs(np.asarray(values, np.float64) - exact[name])
        for name, values in found.items()
        if name in units
    }
    result = {name: values / units[name] for name, values in off.items()}
    if "latent_mean" in off:
        result["latent_mean_sigmas"] = off["latent_mean"] / np.exp(exact["latent_log_var"] / 2)
    return result
