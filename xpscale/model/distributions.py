"""The two distributions of a scatter VAE, in the letters of `xpscale.model.scatter_vae`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LATENT_LOG_VAR_BOUNDS", "LatentPosterior", "Reconstruction", "seen_elements"]

LATENT_LOG_VAR_BOUNDS = (-20.0, 5.0)
"""The encoder's log variances are clamped to this range.

The published weights reach -15.2 on spectra of their own prior and never exceed 0.6 there.  Without
an upper bound one outlier's variance of e^13 sets the loss of the whole held-out set (spikes of
+500 nats in the published training log). """


@dataclass(frozen=True, slots=True, eq=False)
class LatentPosterior:
    """The Gaussian z | x of a batch, of each spectrum with its own covariance::

        z = mu + exp(log_var / 2) R epsilon,      epsilon ~ N(0, 1)

    Parameters
    ----------
    mean, log_var
        mu and the natural log of the variance of each latent, with shape (B, L).
    factor
        R, the Cholesky factor of the latents' correlation matrix, with shape (B, L, L): lower
        triangular, rows of length one.  Without it they are uncorrelated.
    """

    mean: Tensor
    log_var: Tensor
    factor: Tensor | None = None

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of z for each spectrum, with shape (B, L)."""
        return self.at(torch.empty_like(self.mean).normal_(generator=generator))

    def at(self, noise: Tensor) -> Tensor:
        """The draw of z that standard normal numbers, with shape (B, L), stand for."""
        if self.factor is not None:
            noise = (self.factor * noise[:, None]).sum(-1)
        return torch.addcmul(self.mean, torch.exp(self.log_var / 2), noise)

    def kl_per_latent(self) -> Tensor:
        """Kullback-Leibler divergence from the prior in nats, with shape (B, L); of a latent given
        those before it.

        ::

            kl_k = (mu_k^2 + exp(log_var_k) - 1 - log_var_k) / 2 - ln R_kk
        """
        kl = (self.mean.square() + self.log_var.exp() - 1 - self.log_var) / 2
        return kl if self.factor is None else kl - self.factor.diagonal(dim1=-2, dim2=-1).log()

    def kl(self) -> Tensor:
        """Kullback-Leibler divergence from the prior in nats, with shape (B,)."""
        return self.kl_per_latent().sum(-1)

    @property
    def clamped(self) -> Tensor:
        """Whether a log variance ran against `LATENT_LOG_VAR_BOUNDS`, with shape (B,)."""
        lower, upper = LATENT_LOG_VAR_BOUNDS
        return ((self.log_var <= lower) | (self.log_var >= upper)).any(-1)


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """The Gaussian x | z of a batch: ``mean`` x_hat and intrinsic ``scatter`` s, with shape
    (B, C).
    """

    mean: Tensor
    scatter: Tensor

    def nll(self, x: Tensor, x_err: Tensor, seen: Tensor | None = None) -> Tensor:
        """Negative log likelihood in nats, with shape (B,), *without* the constant C/2 ln(2 pi).

        Parameters
        ----------
        x, x_err
            Coefficients and their errors in the units of the reconstruction, with shape (B, C).
        seen
            The elements to judge by, with shape (B, C), as `seen_elements` tells; all if not given.
        """
        w = x_err.square() + self.scatter.square()
        terms = (x - self.mean).square() / w + w.log()
        return (terms if seen is None else torch.where(seen, terms, 0)).sum(-1) / 2

    def reduced_chi2(self, x: Tensor, x_err: Tensor, seen: Tensor | None = None) -> Tensor:
        """Mean over coefficients of (x - x_hat)^2 / (sigma^2 + s^2), with shape (B,).

        Parameters
        ----------
        x, x_err, seen
            As of `nll`.
        """
        w = x_err.square() + self.scatter.square()
        terms = (x - self.mean).square() / w
        return (
            terms.mean(-1) if seen is None else torch.where(seen, terms, 0).sum(-1) / seen.sum(-1)
        )


def seen_elements(x: Tensor, x_err: Tensor) -> Tensor:
    """Elements that are measured: x finite, x_err finite and positive; with shape (B, C).

    Parameters
    ----------
    x, x_err
        Coefficients and errors in any units, with shape (B, C).
    """
    return x.isfinite() & x_err.isfinite() & (x_err > 0)
