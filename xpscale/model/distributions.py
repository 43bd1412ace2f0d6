"""The two distributions of a scatter VAE, in the letters of `xpscale.model.scatter_vae`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xpscale.model.constants import LATENT_LOG_VAR_BOUNDS, SMALLEST_DIAGONAL

__all__ = ["LatentPosterior", "Reconstruction", "seen_elements"]


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
    before, axes
        Of a `turned` posterior: what was turned, and the Q by which it was.
    """

    mean: Tensor
    log_var: Tensor
    factor: Tensor | None = None
    before: LatentPosterior | None = None
    axes: Tensor | None = None

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of z for each spectrum, with shape (B, L)."""
        return self.at(torch.empty_like(self.mean).normal_(generator=generator))

    def at(self, noise: Tensor) -> Tensor:
        """The draw of z that standard normal numbers, with shape (B, L), stand for."""
        if self.before is not None and self.axes is not None:
            return self.before.at(noise) @ self.axes.T  # so that turning changes no reconstruction
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
        if self.before is not None:
            return self.before.kl()  # turning changes nothing but the last digits
        return self.kl_per_latent().sum(-1)

    def cross_entropy(self, other: LatentPosterior) -> Tensor:
        """Mean of -ln q(z) over z drawn from another posterior, in nats, with shape (B,), *without*
        the constant L/2 ln(2 pi).

        With W = exp(log_var / 2) R, and mu' and W' those of the other one::

            sum_k ln W_kk + ( |W^-1 (mu' - mu)|^2 + |W^-1 W'|^2 ) / 2

        Parameters
        ----------
        other
            Of the same spectra.
        """
        root = self.root()
        off = torch.cat([other.root(), (other.mean - self.mean)[..., None]], -1)
        whitened: Tensor = torch.linalg.solve_triangular(root, off, upper=False)
        log_det: Tensor = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_det + whitened.square().sum((-2, -1)) / 2

    def root(self) -> Tensor:
        """W = exp(log_var / 2) R, the Cholesky factor of the covariance, with shape (B, L, L)."""
        width = (self.log_var / 2).exp()
        return width.diag_embed() if self.factor is None else width[..., None] * self.factor

    @property
    def pairs(self) -> Tensor:
        """The pairs i < j of latents by rows, (0, 1), (0, 2) ..., with shape (2, L (L - 1) / 2)."""
        n_latents = self.mean.shape[-1]
        return torch.triu_indices(n_latents, n_latents, offset=1, device=self.mean.device)

    def correlations(self) -> Tensor:
        """R R^T of each of `pairs`, with shape (B, L (L - 1) / 2)."""
        i, j = self.pairs
        if self.factor is None:
            return self.mean.new_zeros(len(self.mean), len(i))
        return (self.factor[:, i] * self.factor[:, j]).sum(-1)

    def correlation_widths(self) -> Tensor:
        """How well the spectrum tells each of `correlations`: 1 / sqrt(P_ii P_jj + P_ij^2), with
        P = (R R^T)^-1, and the shape of those.  Errors e_ij far smaller change the distribution by
        sum (e_ij / width_ij)^2 / 2 nats.
        """
        if self.factor is None:
            return torch.ones_like(self.correlations())
        one = torch.eye(self.mean.shape[-1], dtype=self.mean.dtype, device=self.mean.device)
        one = one.expand_as(self.factor)
        inverse: Tensor = torch.linalg.solve_triangular(self.factor, one, upper=False)
        precision = inverse.mT @ inverse
        i, j = self.pairs
        diagonal = precision.diagonal(dim1=-2, dim2=-1)
        return (diagonal[:, i] * diagonal[:, j] + precision[:, i, j].square()).rsqrt()

    def turned(self, axes: Tensor) -> LatentPosterior:
        """The same distribution in the latents z' = Q z: mean Q mu, covariance Q W (Q W)^T.

        The rows of Q W are made triangular by Gram and Schmidt's steps, which needs no square of
        them, and so loses no digits.

        Parameters
        ----------
        axes
            Q, orthogonal, with shape (L, L).
        """
        rows = (axes @ self.root()).unbind(-2)
        width = [row.norm(dim=-1, keepdim=True) for row in rows]  # (B, 1) each
        directions: list[Tensor] = []
        factor = []
        for row, size in zip(rows, width, strict=True):
            left, along = row / size, []
            for direction in directions:
                along.append((left * direction).sum(-1, keepdim=True))
                left = left - along[-1] * direction
            diagonal = left.norm(dim=-1, keepdim=True).clamp(min=SMALLEST_DIAGONAL)
            directions.append(left / diagonal)
            zeros = row.new_zeros(row.shape[0], len(rows) - len(directions))
            factor.append(torch.cat([*along, diagonal, zeros], -1))
        log_var = 2 * torch.cat(width, -1).log()
        return LatentPosterior(self.mean @ axes.T, log_var, torch.stack(factor, -2), self, axes)

    def take(self, rows: Tensor | slice) -> LatentPosterior:
        """The posterior of some spectra: an index, a boolean mask with shape (B,), or a slice."""
        factor = None if self.factor is None else self.factor[rows]
        return LatentPosterior(self.mean[rows], self.log_var[rows], factor)

    @property
    def clamped(self) -> Tensor:
        """Whether a log variance ran against `LATENT_LOG_VAR_BOUNDS`, with shape (B,)."""
        if self.before is not None:
            return self.before.clamped
        lower, upper = LATENT_LOG_VAR_BOUNDS
        return ((self.log_var <= lower) | (self.log_var >= upper)).any(-1)


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """The Gaussian x | z of a batch: ``mean`` x_hat and intrinsic ``scatter`` s, with shape
    (B, C).
    """

    mean: Tensor
    scatter: Tensor

    def nll(self, x: Tensor, x_err: Tensor) -> Tensor:
        """Negative log likelihood in nats, with shape (B,), *without* the constant C/2 ln(2 pi).

        Parameters
        ----------
        x, x_err
            Coefficients and their errors in the units of the reconstruction, with shape (B, C).
        """
        w = x_err.square() + self.scatter.square()
        return ((x - self.mean).square() / w + w.log()).sum(-1) / 2


def seen_elements(x: Tensor, x_err: Tensor) -> Tensor:
    """Elements that are measured: x finite, x_err finite and positive; with shape (B, C).

    Parameters
    ----------
    x, x_err
        Coefficients and errors in any units, with shape (B, C).
    """
    return x.isfinite() & x_err.isfinite() & (x_err > 0)
