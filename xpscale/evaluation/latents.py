"""How much information the latents of a model hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["ALIVE_NATS", "n_alive", "redundancy"]

ALIVE_NATS = 0.5
"""Mean KL divergence from the prior, in nats, from which on a latent counts as alive."""


def n_alive(kl_per_latent: Sequence[float]) -> int:
    """Number of latents whose mean KL divergence is at least `ALIVE_NATS`.

    Parameters
    ----------
    kl_per_latent
        Mean KL divergence of each latent in nats, with shape (L,).
    """
    return sum(kl >= ALIVE_NATS for kl in kl_per_latent)


def redundancy(latents: NDArray[np.floating]) -> NDArray[np.float64]:
    """How well the other latents predict each one by a linear relation: R^2, with shape (L,).

    R_k^2 = 1 - 1 / (P_kk var_k) with P the inverse of the covariance of the posterior means; 1 is a
    copy of others.

    Parameters
    ----------
    latents
        Posterior means, with shape (N, L).
    """
    covariance = np.cov(np.asarray(latents, np.float64), rowvar=False)
    precision = np.linalg.pinv(covariance, hermitian=True)
    return np.asarray(1 - 1 / np.maximum(np.diag(precision) * np.diag(covariance), 1))
