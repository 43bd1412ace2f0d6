"""Labels of a catalogue's stars: fitted to those of which they are known, with errors that hold.

Each label is a `Regression` of its own; a positive one that spans more than a factor of three, such
as the temperature, is fitted in its logarithm.  The known stars of whole sky pixels are left out in
turn (five times a fifth of them), and predicted from the others.  From these predictions come

* the scores that are printed and kept with the model;
* the calibration: with r the residual, e the error of the known label and s the predicted error,
  the factor c of s is the 68.3 % quantile of sqrt(max(r^2 - e^2, 0)) / s, so that 68.3 % of all |r|
  are below sqrt(c^2 s^2 + e^2).  It is found in bins of s, between which it is interpolated
  (conformal prediction in bins: Bostrom & Johansson 2020, PMLR 128, 24).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError
from xpscale.flags import LabelFlag
from xpscale.labels.regression import Regression, fit_regression
from xpscale.labels.star_latents import StarLatents
from xpscale.sampling.hashing import uniform_hash

__all__ = [
    "FAR",
    "OUT_OF_RANGE",
    "FittedLabel",
    "LabelModel",
    "LabelScore",
    "fit_model",
]

MIN_STARS = 50
N_FOLDS = 5
ONE_SIGMA = 0.6827
LOG_FACTOR = 3.0
STARS_IN_BIN = 200
FEW = 500
"""With fewer stars, those left out would be seen in the kernel if it were not found anew."""

FAR, OUT_OF_RANGE = LabelFlag.FEW_LABELLED_STARS_NEAR.value, LabelFlag.OUTSIDE_THE_KNOWN_RANGE.value

FAR_ABOVE = 0.5


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How well a label was predicted for known stars that were left out.

    Parameters
    ----------
    n
        Stars.
    mae, rmse, robust, bias
        Mean absolute and root mean square residual, 1.4826 times the median absolute one, median
        residual; in the label's unit.
    coverage
        Share of the residuals within one stated error (with that of the known label).
    """

    n: int
    mae: float
    rmse: float
    robust: float
    bias: float
    coverage: float


@dataclass(frozen=True, slots=True, eq=False)
class FittedLabel:
    """One label.

    Parameters
    ----------
    regression
        Of the label, or of its natural logarithm.
    is_log
        Which of the two.
    unit
        As the user's table has it.
    lowest, highest
        Of the known labels.
    at, factor
        Predicted errors, ascending, and by what errors near them are multiplied, each with shape
        (B,); in the unit of the regression.
    score
        Of stars that were left out.
    """

    regression: Regression
    is_log: bool
    unit: str
    lowest: float
    highest: float
    at: NDArray[np.float64]
    factor: NDArray[np.float64]
    score: LabelScore

    def predict(
        self, u: NDArray[np.float64], covariance: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]]:
        """Label, error and flag of stars, each with shape (N,).

        Parameters
        ----------
        u, covariance
            As of `Regression.predict`.
        """
        value, error, unknown = self.regression.predict(u, covariance)
        error = error * np.exp(np.interp(np.log(error), np.log(self.at), np.log(self.factor)))
        if self.is_log:
            value = np.exp(value)
            error = value * error
        outside = (value < self.lowest) | (value > self.highest)
        flag = FAR * (unknown > FAR_ABOVE) | OUT_OF_RANGE * outside
        return value, error, flag.astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class LabelModel:
    """Labels as functions of the latents of one model of spectra.

    Parameters
    ----------
    labels
        By name.
    center, spread
        Mean and standard deviation of the latents of the known stars, with shape (L,).
    model_id
        Content hash of the model whose latents these are.
    n_stars
        Number of known stars.
    """

    labels: dict[str, FittedLabel]
    center: NDArray[np.float64]
    spread: NDArray[np.float64]
    model_id: str
    n_stars: int

    def predict(
        self, stars: StarLatents
    ) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]]]:
        """Label, error and flag by the label's name, each with shape (N,).

        Parameters
        ----------
        stars
            N of them.
        """
        u = (stars.mean - self.center) / self.spread
        covariance = stars.covariance / self.spread[:, None] / self.spread
        return {name: label.predict(u, covariance) for name, label in self.labels.items()}

    def __str__(self) -> str:
        """The scores as a table."""
        heads = ("label", "stars", "MAE", "RMSE", "robust", "bias", "in one error")
        lines = ["{:>10}{:>9}{:>11}{:>11}{:>11}{:>11}{:>14}".format(*heads)]
        for name, label in self.labels.items():
            s = label.score
            numbers = "".join(f"{x:>11.3g}" for x in (s.mae, s.rmse, s.robust, s.bias))
            lines.append(f"{name:>10}{s.n:>9,}{numbers}{s.coverage:>14.1%}")
        return "\n".join(lines)


def fit_model(
    stars: StarLatents,
    known: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    pixel: NDArray[np.int64],
    model_id: str,
    units: dict[str, str] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> LabelModel:
    """Fit every label.

    Parameters
    ----------
    stars
        N stars of which labels are known.
    known
        Labels and their errors by name, each with shape (N,); NaN where a star has none, errors 0
        if they are not known.
    pixel
        A pixel of the sky for each star, with shape (N,): those of one are left out together.
    model_id
        Of the model whose latents these are.
    units
        Of the labels, by name.
    tell
        Called with the name of the label that is being fitted.

    Raises
    ------
    InvalidInputError
        If a label is known of fewer than 50 stars, or is the same for all.
    """
    center, spread = stars.mean.mean(0), stars.mean.std(0)
    u = StarLatents((stars.mean - center) / spread, stars.covariance / spread[:, None] / spread)
    fold = (uniform_hash(pixel, 1) * N_FOLDS).astype(int)
    fitted = {}
    for name, (values, errors) in known.items():
        rows = np.flatnonzero(np.isfinite(values) & np.isfinite(errors))
        _require_label(name, values[rows])
        tell(name)
        one = _fit(u.take(rows), values[rows], errors[rows], fold[rows])
        fitted[name] = replace(one, unit=(units or {}).get(name, ""))
    return LabelModel(fitted, center, spread, model_id, len(stars))


def _require_label(name: str, values: NDArray[np.float64]) -> None:
    if len(values) < MIN_STARS:
        raise InvalidInputError(
            f"the label {name} is known of {len(values)} stars of the catalogue, too few to fit",
            f"Give at least {MIN_STARS}",
        )
    if values.std() <= 1e-6 * np.abs(values).max():
        raise InvalidInputError(
            f"the label {name} is {values[0]:g} for all {len(values)} stars",
            "There is nothing to fit",
        )


def _fit(
    stars: StarLatents,
    values: NDArray[np.float64],
    errors: NDArray[np.float64],
    fold: NDArray[np.int64],
) -> FittedLabel:
    """One label, calibrated on the stars that each fold leaves out."""
    is_log = bool(values.min() > 0 and values.max() / values.min() > LOG_FACTOR)
    y, e = (np.log(values), errors / values) if is_log else (values, errors)
    whole = fit_regression(stars.mean, stars.covariance, y, e)
    predicted, error = np.empty_like(y), np.empty_like(y)
    for one in np.unique(fold):
        out = fold == one
        taught = stars.take(~out)
        kernel = whole.kernel if len(y) > FEW else None
        left = fit_regression(taught.mean, taught.covariance, y[~out], e[~out], kernel=kernel)
        predicted[out], error[out], _ = left.predict(stars.mean[out], stars.covariance[out])
    at, factor = _calibration(predicted - y, e, error)
    error = error * np.exp(np.interp(np.log(error), np.log(at), np.log(factor)))
    inside = np.abs(predicted - y) < np.hypot(error, e)
    residual = (np.exp(predicted) if is_log else predicted) - values
    score = LabelScore(
        len(values),
        float(np.abs(residual).mean()),
        float(np.sqrt((residual**2).mean())),
        float(1.4826 * np.median(np.abs(residual))),
        float(np.median(residual)),
        float(inside.mean()),
    )
    return FittedLabel(
        whole, is_log, "", float(values.min()), float(values.max()), at, factor, score
    )


def _calibration(
    residual: NDArray[np.float64], known: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predicted errors and their factors c, each with shape (B,)."""
    n_bins = int(np.clip(len(error) // STARS_IN_BIN, 1, 8))
    ratio = np.sqrt(np.maximum(residual**2 - known**2, 0)) / error
    groups = np.array_split(np.argsort(error, kind="stable"), n_bins)
    at = np.array([np.median(error[rows]) for rows in groups])
    factor = np.array([np.quantile(ratio[rows], ONE_SIGMA) for rows in groups])
    # a factor near 0 says that the known labels' errors explain every residual
    return at + np.arange(n_bins) * 1e-12, np.maximum(factor, 0.05)
