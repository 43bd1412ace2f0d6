"""The scatter variational autoencoder of Laroche & Speagle (2025), in the letters of its equations.

Letters: B spectra of a batch, C coefficients (BP, then RP), L latents (6).  Everything here
is in *standardized* units (`xpscale.model.scaling`): x are the coefficients, sigma their errors.

The model.  A spectrum is drawn from six latents with a Gaussian prior; what the latents cannot
explain is the intrinsic scatter s(z), learnt with the mean spectrum and added to the measurement
error::

    z          ~ N(0, 1)                                        (L,)
    x | z      ~ N(x_hat(z), sigma^2 + s(z)^2)                  (C,)    0 < s < 1
    z | x      ~ N(mu(x), exp(log_var(x)))                      (L,)    the encoder's approximation

The loss of one spectrum is the negative evidence lower bound, estimated with one draw of z from z |
x, and without the constant C/2 ln(2 pi) (101.083 nats for C = 110)::

    nll  = sum_j [ (x_j - x_hat_j)^2 / w_j + ln w_j ] / 2,           w_j = sigma_j^2 + s_j^2
    kl   = sum_k [ mu_k^2 + exp(log_var_k) - 1 - log_var_k ] / 2
    loss = nll + kl

The networks, with h -> GELU(BatchNorm(W h + b)) as the layer::

    encoder   C -> 90 -> 70 -> 50 -> 30 -> 10, then one linear layer each for mu and log_var
    x_hat     L -> 10 (linear), -> 30 -> 50 -> 70 -> 90, -> C (linear)
    s         the same shape with its own weights, then a sigmoid

The encoder sees x alone, not sigma.  At inference the posterior mean is used; nothing is drawn
without a generator.

References
----------
Laroche A., Speagle J. S., 2025, ApJ 979, 5, "Closing the stellar labels gap".
https://doi.org/10.3847/1538-4357/ad9607
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from xpscale.model.card import Architecture
from xpscale.model.constants import LATENT_LOG_VAR_BOUNDS
from xpscale.model.distributions import LatentPosterior, Reconstruction
from xpscale.model.nn import decoder_stack, encoder_stack

__all__ = ["NetworkModule", "ScatterVAE"]


class NetworkModule(nn.Module):
    """A network to be trained, or folded for inference (`xpscale.model.folding`): the base of every
    architecture.

    Parameters
    ----------
    architecture
        Its widths.
    """

    needs_errors: ClassVar[bool]
    """Whether `encode` reads x_err.  Such a network does not see the elements that `seen_elements`
    rules out; it encodes a spectrum by the others."""

    scatter_ceiling: ClassVar[float] = 1.0
    """What the scatter cannot exceed, in standardized units."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture

    @property
    def encoding_bytes(self) -> int:
        """Memory that a row takes while it is encoded, where that is more than a few kilobytes; 0
        elsewhere.
        """
        return 0

    def encode(self, x: Tensor, x_err: Tensor | None = None) -> LatentPosterior:
        """The posterior of the latents.

        Parameters
        ----------
        x, x_err
            Standardized coefficients and errors, with shape (B, C); the errors may be None if they
            are not needed.
        """
        raise NotImplementedError

    def latent_columns(
        self, x: Tensor, x_err: Tensor | None = None, *, correlates: bool = True
    ) -> dict[str, Tensor]:
        """What a run wants of the posterior: ``latents`` with shape (2L + 2, B): means, log
        variances, kl, and 1 where a variance is at its bound; ``correlations`` and their
        ``correlation_widths`` with shape (L (L - 1) / 2, B).

        Parameters
        ----------
        x, x_err
            As of `encode`.
        correlates
            Whether correlations are wanted.
        """
        posterior = self.encode(x, x_err)
        alone = torch.stack([posterior.kl(), posterior.clamped.to(posterior.mean)])
        results = {"latents": torch.cat([posterior.mean.T, posterior.log_var.T, alone])}
        if correlates:
            results["correlations"] = posterior.correlations().T
            results["correlation_widths"] = posterior.correlation_widths().T
        return results

    def decode(self, z: Tensor) -> Reconstruction:
        """The distribution of standardized coefficients given latents z, with shape (B, L)."""
        raise NotImplementedError

    def turn(self, axes: Tensor) -> None:
        """Make z' = Q z the latents, for good; only where posteriors have correlations.

        Parameters
        ----------
        axes
            Q, orthogonal, with shape (L, L).
        """
        raise NotImplementedError

    def forward(
        self, x: Tensor, x_err: Tensor | None, noise: Tensor
    ) -> tuple[LatentPosterior, Reconstruction]:
        """The posterior, and the reconstruction at one draw from it: the two parts of the loss.

        Parameters
        ----------
        x, x_err
            Standardized coefficients and errors, with shape (B, C).
        noise
            Standard normal numbers that make the draw, with shape (B, L).
        """
        posterior = self.encode(x, x_err)
        return posterior, self.decode(posterior.at(noise))


class ScatterVAE(NetworkModule):
    """The paper's network.

    Parameters
    ----------
    architecture
        Its widths; the default ones are those of the paper, 67,182 trainable parameters for the
        bands of Gaia DR3.
    """

    needs_errors = False

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        n_latents, hidden = architecture.n_latents, architecture.hidden
        n_coefficients = architecture.n_coefficients
        up = (n_latents, *reversed(hidden), n_coefficients)
        self.encoder = encoder_stack((n_coefficients, *hidden))
        self.latent_mean = nn.Linear(hidden[-1], n_latents)
        self.latent_log_var = nn.Linear(hidden[-1], n_latents)
        self.mean = decoder_stack(up)
        self.scatter = decoder_stack(up)

    def encode(self, x: Tensor, x_err: Tensor | None = None) -> LatentPosterior:
        """The posterior of the latents; errors are not looked at."""
        h = self.encoder(x)  # (B, hidden[-1])
        return LatentPosterior(
            self.latent_mean(h), self.latent_log_var(h).clamp(*LATENT_LOG_VAR_BOUNDS)
        )

    def decode(self, z: Tensor) -> Reconstruction:
        """The distribution of standardized coefficients given latents z, with shape (B, L)."""
        return Reconstruction(self.mean(z), self.scatter(z).sigmoid())
