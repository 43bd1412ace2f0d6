"""What a model says of spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.model.checkpoint import TrainedModel
    from xpscale.spectra import SpectraBatch

__all__ = ["Prediction", "predict", "standardized"]


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


def predict(model: TrainedModel, batch: SpectraBatch) -> Prediction:
    """What a model predicts of spectra with usable errors, at the posterior mean of z.

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
    x, x_err = standardized(model, batch)
    with torch.inference_mode():
        z = model.network.encode(torch.from_numpy(x), torch.from_numpy(x_err)).mean
        decoded = model.network.decode(z)
    return Prediction(x, x_err, z.numpy(), decoded.mean.numpy(), decoded.scatter.numpy())


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
