"""What the latents of a model hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["ALIVE_NATS", "n_alive", "redundancy"]

ALIVE_NATS = 0.5
"""Mean KL divergence from the prior above which a latent counts as alive, nats."""


def n_alive(kl_per_latent: Sequence[float]) -> int:
    """How many latents hold at least `ALIVE_NATS` on average."""
    return sum(kl >= ALIVE_NATS for kl in kl_per_latent)


def redundancy(latents: NDArray[np.floating]) -> NDArray[np.float64]:
    """How much of each latent the others tell by a linear relation, R^2 with shape (L,); 1 is a
    copy.

    R_k^2 = 1 - 1 / (P_kk var_k) with P the inverse of the covariance of the posterior means (N, L).
    """
    covariance = np.cov(np.asarray(latents, np.float64), rowvar=False)
    precision = np.linalg.pinv(covariance, hermitian=True)
    return np.asarray(1 - 1 / np.maximum(np.diag(precision) * np.diag(covariance), 1))
