"""The scatter variational autoencoder of Laroche & Speagle (2025), in the letters of its equations.

Letters: B spectra of a batch, C coefficients (BP, then RP), L latents (6).  Everything here
is in *standardized* units (`xpscale.model.scaling`): x are the coefficients, sigma their errors.

The model.  A spectrum is drawn from six latents with a Gaussian prior; what the latents cannot
explain is the intrinsic scatter s(z), learnt beside the mean spectrum and added to the measurement
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

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.model.nn import decoder_stack, encoder_stack

__all__ = [
    "LATENT_LOG_VAR_BOUNDS",
    "Architecture",
    "LatentPosterior",
    "Network",
    "NetworkModule",
    "Reconstruction",
    "ScatterVAE",
    "seen_elements",
]

LATENT_LOG_VAR_BOUNDS = (-20.0, 5.0)
"""The encoder's log variances are clamped to this range.

The published weights reach -15.2 on spectra of their own prior and never exceed 0.6 there.  Without
an upper bound one outlier's variance of e^13 sets the loss of the whole held-out set (spikes of
+500 nats in the published training log). """


@dataclass(frozen=True, slots=True)
class Architecture:
    """The widths that define a network.

    Parameters
    ----------
    bands
        How many BP and RP coefficients a spectrum has.
    n_latents
        L, the number of latents.
    hidden
        Widths of the encoder's layers; the decoders mirror them.
    name
        What kind of network it is: a key of `xpscale.model.architectures.ARCHITECTURES`.

    Raises
    ------
    InvalidInputError
        If a width is below 1.
    """

    bands: Bands
    n_latents: int = 6
    hidden: tuple[int, ...] = (90, 70, 50, 30, 10)
    name: str = "scatter_vae"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if min(self.n_latents, *self.hidden, len(self.hidden)) < 1:
            raise InvalidInputError(f"every width must be at least 1: {self}")

    @property
    def n_coefficients(self) -> int:
        """C, the number of coefficients of a spectrum."""
        return self.bands.n_coefficients

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Architecture:
        """The architecture that `to_dict` wrote.

        Raises
        ------
        KeyError, TypeError
            If a field is missing or unknown.
        """
        return Architecture(**{**values, "bands": Bands.from_dict(values["bands"])})


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


class Network(Protocol):
    """What inference needs of a network, as trained or folded (`xpscale.model.folding`)."""

    architecture: Architecture
    needs_errors: ClassVar[bool]
    """Whether `encode` reads x_err.  Such a network does not see the elements that `seen_elements`
    rules out; it encodes a spectrum by the others."""

    def encode(self, x: Tensor, x_err: Tensor | None = None) -> LatentPosterior:
        """The posterior of the latents.

        Parameters
        ----------
        x, x_err
            Standardized coefficients and errors, with shape (B, C); the errors may be None if they
            are not needed.
        """
        ...

    def decode(self, z: Tensor) -> Reconstruction:
        """The distribution of spectra with latents z, with shape (B, L)."""
        ...


class NetworkModule(nn.Module):
    """A `Network` as a torch module, to be trained, or folded for inference; every architecture
    derives from it.

    Parameters
    ----------
    architecture
        Its widths.
    """

    needs_errors: ClassVar[bool]
    scatter_ceiling: ClassVar[float] = 1.0
    """What the scatter cannot exceed, in standardized units."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture

    def encode(self, x: Tensor, x_err: Tensor | None = None) -> LatentPosterior:
        """The posterior of the latents.

        Parameters
        ----------
        x, x_err
            Standardized coefficients and errors, with shape (B, C).
        """
        raise NotImplementedError

    def decode(self, z: Tensor) -> Reconstruction:
        """The distribution of standardized coefficients given latents z, with shape (B, L)."""
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
        n_coefficients, n_latents, hidden = (
            self.architecture.n_coefficients,
            self.architecture.n_latents,
            self.architecture.hidden,
        )
        up = (n_latents, *reversed(hidden), n_coefficients)
        self.encoder = encoder_stack((n_coefficients, *hidden))
        self.latent_mean = nn.Linear(hidden[-1], n_latents)
        self.latent_log_var = nn.Linear(hidden[-1], n_latents)
        self.mean = decoder_stack(up)
        self.scatter = decoder_stack(up)

    def encode(self, x: Tensor, x_err: Tensor | None = None) -> LatentPosterior:
        """The posterior of the latents.

        Parameters
        ----------
        x
            Standardized coefficients, with shape (B, C).
        x_err
            Their errors, which are not looked at.
        """
        h = self.encoder(x)  # (B, hidden[-1])
        return LatentPosterior(
            self.latent_mean(h), self.latent_log_var(h).clamp(*LATENT_LOG_VAR_BOUNDS)
        )

    def decode(self, z: Tensor) -> Reconstruction:
        """The distribution of standardized coefficients given latents z, with shape (B, L)."""
        return Reconstruction(self.mean(z), self.scatter(z).sigmoid())
