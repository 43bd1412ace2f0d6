"""How the loss falls with the number of training objects, and with their density around a star.

**Number.**  With N training objects, and a seed's luck apart,

    L(N) = L_inf + A N^-b,      A, b > 0                                             (1)

as for other networks (Hestness et al. 2017, arXiv:1712.00409).  For a given b, (1) is linear in
L_inf and A: b is searched, the other two follow by least squares.

**Density at fixed number.**  Runs r have equally many objects, drawn by different rules, so that a
star i lies among many objects, n_ir, in one run and few in another:

    L_ir = a_i + c_r + k log10(1 + n_ir) + noise                                     (2)

a_i is what makes a star hard to predict (its noise, its kind), c_r what makes a run good for all
stars; k, in nats a decade, is what the density around a star does.  Taking means over stars and
runs off both sides leaves a regression through the origin (Frisch & Waugh 1933, Econometrica 1,
387).

**The loss** of a star is the negative evidence lower bound of its c / G, in nats, the mean over a
few draws of z: it does not depend on a model's scaling, which differs from sample to sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from xpscale.errors import InvalidInputError
from xpscale.evaluation.reconstruction import standardized
from xpscale.extras import naming_extras

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.model.checkpoint import TrainedModel
    from xpscale.spectra import SpectraBatch

__all__ = [
    "Law",
    "density_effect",
    "fit_law",
    "loss_of_stars",
    "probe_errors",
    "trimmed_mean",
]

EXPONENTS = np.linspace(0.05, 1.5, 146)
MIN_SIZES = 4
N_NEIGHBOURS = 20
ROWS_AT_ONCE = 4096
TRIMMED = 0.01
"""Share of the stars, those of highest loss, that a trimmed mean leaves out: a mean over all stars
is that of a few spectra with artefacts."""


@dataclass(frozen=True, slots=True)
class Law:
    """``L(N) = floor + amplitude N^-exponent``, in nats per spectrum."""

    floor: float
    amplitude: float
    exponent: float

    def at(self, n: NDArray[np.floating] | float) -> NDArray[np.float64]:
        """L(N), with the shape of ``n``."""
        return np.asarray(self.floor + self.amplitude * np.asarray(n, float) ** -self.exponent)


def fit_law(n: NDArray[np.floating], loss: NDArray[np.floating]) -> Law:
    """Equation (1) of the module by least squares.

    Parameters
    ----------
    n
        Numbers of training objects, with shape (R,).
    loss
        Losses in nats, with shape (R,).

    Raises
    ------
    InvalidInputError
        If there are fewer than four different numbers: three unknowns fit any three.
    """
    n, loss = np.asarray(n, float), np.asarray(loss, float)
    if len(np.unique(n)) < MIN_SIZES:
        raise InvalidInputError(
            f"a law cannot be fitted to {len(np.unique(n))} sizes", "Train with at least 4 sizes"
        )
    best = (math.inf, Law(math.nan, math.nan, math.nan))
    for exponent in EXPONENTS:
        design = np.stack([np.ones_like(n), n**-exponent], axis=1)
        (floor, amplitude), *_ = np.linalg.lstsq(design, loss, rcond=None)
        missed = float(((design @ [floor, amplitude] - loss) ** 2).sum())
        if missed < best[0]:
            best = (missed, Law(float(floor), float(amplitude), float(exponent)))
    return best[1]


def density_effect(loss: NDArray[np.floating], n_around: NDArray[np.floating]) -> float:
    """K of equation (2) of the module, in nats a decade; below 0 where density helps.

    Parameters
    ----------
    loss
        L_ir, with shape (R, N).
    n_around
        Training objects of run r around star i, with shape (R, N).
    """
    x, y = (_doubly_centred(values) for values in (np.log10(1 + n_around), loss))
    return float((x * y).sum() / (x * x).sum())


def _doubly_centred(values: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.asarray(values, float)
    return np.asarray(values - values.mean(0) - values.mean(1, keepdims=True) + values.mean())


def trimmed_mean(loss: NDArray[np.floating]) -> float:
    """The mean of losses with shape (N,) without the hundredth that is highest."""
    return float(np.sort(loss)[: math.ceil(len(loss) * (1 - TRIMMED))].mean())


def probe_errors(
    known: NDArray[np.floating],
    values: NDArray[np.floating],
    latents: NDArray[np.floating],
    truth: NDArray[np.floating],
) -> float:
    """The robust error, 1.4826 times the median absolute one, of a label read off the 20 nearest
    stars in latent space, weighted by inverse distance.

    Parameters
    ----------
    known, values
        Latents and labels of stars of which the label is known, with shapes (M, L) and (M,).
    latents, truth
        Of the stars that are judged, with shapes (N, L) and (N,).

    Raises
    ------
    PermanentError
        If scikit-learn is not installed.
    """
    with naming_extras():
        from sklearn.neighbors import KNeighborsRegressor
    taught, judged = np.isfinite(values), np.isfinite(truth)
    spread = known.std(0)
    probe = KNeighborsRegressor(N_NEIGHBOURS, weights="distance")
    probe.fit(known[taught] / spread, values[taught])
    off = probe.predict(latents[judged] / spread) - truth[judged]
    return float(1.4826 * np.median(np.abs(off)))


@torch.inference_mode()
def loss_of_stars(
    model: TrainedModel, batch: SpectraBatch, n_draws: int = 4, seed: int = 0
) -> NDArray[np.float64]:
    """The loss of each star in nats (see the module), with shape (N,).

    Parameters
    ----------
    model
        The model.
    batch
        N spectra with errors that the model was not trained on.
    n_draws
        Draws of z for each spectrum, over which the loss is averaged.
    seed
        Of the draws.

    Raises
    ------
    InvalidInputError
        If the spectra have no errors.
    """
    x, x_err = standardized(model, batch)
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for first in range(0, len(batch), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        seen, errors = torch.from_numpy(x[rows]), torch.from_numpy(x_err[rows])
        total = torch.zeros(len(seen), dtype=torch.float64)
        for _ in range(n_draws):
            noise = torch.empty(len(seen), model.n_latents).normal_(generator=generator)
            posterior, reconstruction = model.network(seen, errors, noise)
            total += reconstruction.nll(seen, errors) + posterior.kl_per_latent().sum(1)
        losses.append((total / n_draws).numpy())
    constant = model.n_coefficients / 2 * math.log(2 * math.pi) + model.scaling.log_volume
    return np.concatenate(losses) + constant
