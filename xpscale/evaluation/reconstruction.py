"""How well a model predicts spectra, and whether the errors it predicts are the errors it makes.

With the letters of `xpscale.model.scatter_vae`, a standardized residual of coefficient j of a
spectrum is

    r_j = (x_j - x_hat_j) / sqrt(sigma_j^2 + s_j^2)

at one draw of z from z | x: under the model, (x, z) is then a draw from the joint distribution and
r is N(0, 1).  At the posterior mean, which is what a catalogue has, r is a little narrower, because
z was chosen by looking at x.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from xpscale.errors import InvalidInputError
from xpscale.training.batches import Rows
from xpscale.training.metrics import HeldOutLoss, held_out_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from xpscale.model.checkpoint import TrainedModel
    from xpscale.spectra import SpectraBatch

__all__ = [
    "Calibration",
    "Prediction",
    "calibration",
    "evidence",
    "predict",
    "scatter_ratio",
    "standardized",
]

MIN_ROWS = 30
"""Bins with fewer spectra are not judged."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Spectra and what a model predicts of them, standardized, float32.

    Parameters
    ----------
    x, x_err
        Coefficients and errors, with shape (N, C).
    latents
        Posterior means, with shape (N, L).
    mean, scatter
        The reconstruction, with shape (N, C).
    """

    x: NDArray[np.float32]
    x_err: NDArray[np.float32]
    latents: NDArray[np.float32]
    mean: NDArray[np.float32]
    scatter: NDArray[np.float32]

    @property
    def residuals(self) -> NDArray[np.float32]:
        """r, with shape (N, C)."""
        return np.asarray((self.x - self.mean) / np.hypot(self.x_err, self.scatter))


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Width of the standardized residuals in bins of some quantity.

    Parameters
    ----------
    edges
        Edges of the bins, with shape (M + 1,).
    n
        Spectra in each bin, with shape (M,).
    std
        Standard deviation of their residuals, all coefficients together, with shape (M,); NaN in
        bins of fewer than 30 spectra.
    """

    edges: NDArray[np.float64]
    n: NDArray[np.int64]
    std: NDArray[np.float64]

    @property
    def worst(self) -> float:
        """The standard deviation farthest from 1."""
        judged = self.std[np.isfinite(self.std)]
        return float(judged[np.argmax(np.abs(judged - 1))]) if len(judged) else float("nan")


def predict(model: TrainedModel, batch: SpectraBatch, seed: int | None = None) -> Prediction:
    """What a model predicts of spectra with usable errors.

    Parameters
    ----------
    model
        The model.
    batch
        N spectra in the archive's units.
    seed
        Seed of one draw of z for each spectrum; without it, z is the posterior mean.

    Raises
    ------
    InvalidInputError
        If the spectra have no errors.
    """
    x, x_err = standardized(model, batch)
    with torch.inference_mode():
        posterior = model.network.encode(torch.from_numpy(x), torch.from_numpy(x_err))
        z = (
            posterior.mean
            if seed is None
            else posterior.sample(torch.Generator().manual_seed(seed))
        )
        decoded = model.network.decode(z)
    return Prediction(
        x, x_err, posterior.mean.numpy(), decoded.mean.numpy(), decoded.scatter.numpy()
    )


def evidence(model: TrainedModel, batch: SpectraBatch, seed: int = 0) -> HeldOutLoss:
    """The loss on spectra with usable errors, with one draw of z each, without C/2 ln(2 pi).

    Parameters
    ----------
    model
        The model.
    batch
        N spectra in the archive's units.
    seed
        Seed of the draws.

    Raises
    ------
    InvalidInputError
        If the spectra have no errors.
    """
    x, x_err = standardized(model, batch)
    return held_out_loss(
        model.network, Rows(torch.from_numpy(x), torch.from_numpy(x_err), batch.source_id), seed
    )


def calibration(
    residuals: NDArray[np.float32],
    values: NDArray[np.float64],
    edges: Sequence[float] | NDArray[np.float64],
) -> Calibration:
    """Width of the standardized residuals in bins of some quantity of their spectra.

    Parameters
    ----------
    residuals
        r, with shape (N, C).
    values
        The quantity, with shape (N,).
    edges
        Edges of the bins, ascending, with shape (M + 1,).
    """
    edges = np.asarray(edges, np.float64)
    n, std = [], []
    for low, high in pairwise(edges):
        inside = (values >= low) & (values < high)
        n.append(int(inside.sum()))
        std.append(float(residuals[inside].std(dtype=np.float64)) if n[-1] >= MIN_ROWS else np.nan)
    return Calibration(edges, np.array(n), np.array(std))


def scatter_ratio(
    prediction: Prediction, true_scatter: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Predicted over planted scatter of each coefficient, where the planted one exceeds the error,
    with shape (C,).

    Root mean squares over the spectra are compared, since variances add up.

    Parameters
    ----------
    prediction
        What a model predicts of spectra of a synthetic universe.
    true_scatter
        Their planted scatter, standardized, with shape (N, C).

    Returns
    -------
    ndarray
        NaN for coefficients whose scatter exceeds the error in fewer than 30 spectra.
    """
    exceeds = true_scatter > prediction.x_err
    predicted, planted = (
        np.where(exceeds, np.asarray(values, np.float64) ** 2, 0).sum(0)
        for values in (prediction.scatter, true_scatter)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(exceeds.sum(0) >= MIN_ROWS, np.sqrt(predicted / planted), np.nan)


def standardized(
    model: TrainedModel, batch: SpectraBatch
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coefficients and errors in the model's units, with shape (N, C).

    Parameters
    ----------
    model
        The model.
    batch
        N spectra in the archive's units.

    Raises
    ------
    InvalidInputError
        If the spectra have no errors.
    """
    x, x_err = model.scaling.standardize(batch)
    if x_err is None:
        raise InvalidInputError("the spectra have no errors", "Read them with their errors")
    return x, x_err
