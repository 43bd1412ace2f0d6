r"""The axes of the latents, chosen after training.

The prior of a scatter VAE, N(0, 1), looks the same from every side, so a network with latents z is
as good as one with z' = Q z, Q orthogonal, and training leaves Q to chance.  With C_n the posterior
covariance of spectrum n, `common_axes` takes the Q that makes the latents of a spectrum as
independent of each other as one Q can::

    minimise over Q    mean_n sum_k ln (Q C_n Q^T)_kk

which up to a constant is twice their mean total correlation, KL(q || prod_k q_k): the common
principal components of Flury (1984, JASA 79, 892), found by rotations of two axes at a time as in
Flury & Gautschi (1986, SIAM J. Sci. Stat. Comput. 7, 169).  It leaves order and sign free:

* Latents come in the order of what they tell: the mean of the divergence of their own posterior
  from the prior, (mean^2 + var - 1 - ln var) / 2, falls.
* A latent grows with the standardized coefficient with which it varies most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from xpscale.model.scatter_vae import NetworkModule

__all__ = ["N_SPECTRA", "common_axes", "turn_axes"]

N_SPECTRA = 2_048
"""Spectra that are enough to choose axes by."""

N_ANGLES = 48
MAX_SWEEPS = 50
SMALLEST_TURN = 1e-3  # radian


def turn_axes(network: NetworkModule, x: Tensor, x_err: Tensor) -> bool:
    """Turn the latents of a trained network to their common axes, if its posterior allows it.

    Posteriors without correlations cannot be turned: a rotated diagonal covariance is not diagonal.

    Parameters
    ----------
    network
        In evaluation mode; its latents are other ones afterwards, and its spectra the same.
    x, x_err
        Standardized spectra and errors of the training sample, with shape (N, C).

    Returns
    -------
    bool
        Whether the axes were turned.
    """
    with torch.inference_mode():
        posterior = network.encode(x, x_err if network.needs_errors else None)
    if posterior.factor is None:
        return False
    root = posterior.root().double().numpy()
    axes = common_axes(
        root @ root.transpose(0, 2, 1), posterior.mean.double().numpy(), x.double().numpy()
    )
    network.turn(torch.from_numpy(axes))
    return True


def common_axes(
    covariance: NDArray[np.float64], mean: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Q, orthogonal, with shape (L, L); its rows are the new axes.

    Parameters
    ----------
    covariance
        C_n, with shape (N, L, L).
    mean
        Posterior means, with shape (N, L).
    x
        Standardized spectra, with shape (N, C).
    """
    # to begin with, the axes of the mean information: what is measured best comes first
    axes = np.linalg.eigh(np.linalg.inv(covariance).mean(0))[1].T
    axes = _least_correlated(axes @ covariance @ axes.T, axes)
    var = np.einsum("kl,nlm,km->nk", axes, covariance, axes)
    mean = mean @ axes.T
    information = (mean**2 + var - 1 - np.log(var)).mean(0)
    order = np.argsort(-information)
    response = (mean - mean.mean(0)).T @ (x - x.mean(0)) / x.std(0)  # (L, C)
    strongest = np.take_along_axis(response, np.abs(response).argmax(1)[:, None], 1)
    return np.asarray((axes * np.sign(strongest))[order])


def _least_correlated(
    covariance: NDArray[np.float64], axes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The axes after rotations that make the criterion fall no further; ``covariance`` is on
    ``axes``.
    """
    n_latents = len(axes)
    for _ in range(MAX_SWEEPS):
        largest = 0.0
        for i in range(n_latents):
            for j in range(i):
                angle = _best_angle(covariance[:, i, i], covariance[:, j, j], covariance[:, i, j])
                turn = np.eye(n_latents)
                turn[i, i] = turn[j, j] = np.cos(angle)
                turn[i, j], turn[j, i] = np.sin(angle), -np.sin(angle)
                covariance, axes = turn @ covariance @ turn.T, turn @ axes
                largest = max(largest, abs(angle))
        if largest < SMALLEST_TURN:
            break
    return axes


def _best_angle(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> float:
    """The angle in (-pi/4, pi/4] by which to turn two axes of variances a, b and covariance c, with
    shape (N,) each: the best of a grid, then the minimum of the parabola through its neighbours.
    """
    step = np.pi / 2 / N_ANGLES
    angles = step * np.arange(N_ANGLES)[:, None]
    cos, sin = np.cos(angles), np.sin(angles)
    first = cos**2 * a + sin**2 * b + 2 * sin * cos * c
    cost = (np.log(first) + np.log(a + b - first)).mean(1)  # of period pi / 2
    best = int(cost.argmin())
    before, after = cost[best - 1], cost[(best + 1) % N_ANGLES]
    bend = before - 2 * cost[best] + after
    angle = step * (best + ((before - after) / bend / 2 if bend > 0 else 0))
    return float(angle - np.pi / 2 if angle > np.pi / 4 else angle)
