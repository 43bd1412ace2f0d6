r"""Residuals of reconstructions against wavelength, 336 to 1020 nm.

With A the calibration of `xpscale.query.wavelength`, the residual flux of a star is
f - f_hat = (c - c_hat) A, and what errors and scatter together say of its covariance is

    V = A^T diag(sigma^2 + s^2) A.

The calibration makes neighbouring wavelengths strongly correlated: a residual at one wavelength
is also one at the next, which is why their correlations are shown beside those of V.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xpscale.evaluation.bootstrap import of_rows
from xpscale.evaluation.reconstruction import predict
from xpscale.evaluation.sections import Drawing
from xpscale.plots.estimates import curves, matrix
from xpscale.query.wavelength import calibration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.evaluation.bootstrap import Estimate
    from xpscale.evaluation.judged_stars import Stars
    from xpscale.model.checkpoint import TrainedModel

__all__ = ["flux_drawings"]

MAX_STARS = 3_000
EVERY = 6  # wavelengths of 12 nm
AXIS = "wavelength [nm]"


def flux_drawings(model: TrainedModel, judged: Stars, seed: int = 0) -> dict[str, Drawing]:
    """Figures by name: relative residuals, standardized residuals, correlations.

    Parameters
    ----------
    model
        The model.
    judged
        Held-out stars.
    seed
        Of the bootstrap.

    Raises
    ------
    PermanentError
        GaiaXPy is not installed.
    """
    known = calibration()
    if known.bands != model.bands:  # of another release: there is no calibration yet
        return {}
    stars = judged.take(np.arange(min(len(judged), MAX_STARS)))
    grid, design = known.wavelength_nm[::EVERY], known.matrix[:, ::EVERY]
    found, unit = predict(model, stars.batch), model.scaling.std
    residual = ((found.x - found.mean) * unit) @ design  # of c / G
    predicted = (found.mean * unit + model.scaling.mean) @ design
    width = np.hypot(np.minimum(found.x_err, 1e6), found.scatter) * unit
    z = residual / np.sqrt(width**2 @ design**2)

    relative = of_rows(_percentiles, stars.group, 100 * residual / predicted, seed=seed)
    return {
        "flux_residuals": _relative(grid, relative),
        "flux_width": Drawing(
            curves(
                grid,
                {"width": of_rows(_half_width, stars.group, z, seed=seed).parts},
                (AXIS, "half 16 to 84 % width of residual / √V"),
                reference=1.0,
            ),
            "Standardized residuals against wavelength",
            "1 where the flux errors from errors and scatter, taken as independent from"
            " coefficient to coefficient, are those that are made.",
        ),
        "flux_correlations": _correlations(grid, z, width, design),
    }


def _percentiles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.percentile(values, (16, 50, 84), axis=0)


def _half_width(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, _, high = _percentiles(values)
    return np.asarray((high - low) / 2)


def _relative(grid: NDArray[np.float64], relative: Estimate) -> Drawing:
    names = ("16th percentile", "median", "84th percentile")
    lines = {name: relative[i].parts for i, name in enumerate(names)}
    return Drawing(
        curves(grid, lines, (AXIS, "observed − model [% of model]"), reference=0.0),
        "Residuals against wavelength",
        "Two thirds of the stars lie between the outer curves; a median off zero is a systematic"
        " error of the reconstruction there.",
    )


def _correlations(
    grid: NDArray[np.float64],
    z: NDArray[np.float64],
    width: NDArray[np.float64],
    design: NDArray[np.float64],
) -> Drawing:
    """Observed minus predicted correlations of residuals at two wavelengths."""
    clipped = np.clip(z, -5, 5)  # a few bad spectra would set them
    observed = np.corrcoef(clipped, rowvar=False)
    variance = design.T @ (np.median(width, 0)[:, None] ** 2 * design)
    scale = np.sqrt(np.diag(variance))
    names = [f"{wavelength:.0f}" for wavelength in grid]
    figure = matrix(
        observed - variance / np.outer(scale, scale),
        names,
        names,
        "observed − predicted correlation",
        limits=(-1, 1),
        printed=False,
        diverging=True,
    )
    axes = figure.axes[0]
    axes.set_yticks(range(0, len(names), 5), names[::5])
    axes.set(xlabel=AXIS, ylabel=AXIS)
    return Drawing(
        figure,
        "Correlations of residuals beyond those of V",
        "White where residuals at two wavelengths go together as the calibration and independent"
        " errors and scatter say; red blocks are features that the model leaves out as a whole.",
    )
