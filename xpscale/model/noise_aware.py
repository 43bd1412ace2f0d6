"""A scatter VAE whose encoder sees the measurement errors, of residual blocks without batch
normalization.

The model, the loss and the letters are those of `xpscale.model.scatter_vae`; the networks are
others.  With h -> h + V GELU(W LayerNorm(h) + b) + c as the block (h -> GELU(W h + b) where the
width changes)::

    encoder   [asinh x, (ln sigma + 2) / 2]  2C -> blocks -> linear to mu and log_var
    decoder   L -> blocks of the same widths, mirrored -> linear to m and a
              x_hat = sinh m,    s = s_min + e^a cosh m

Why each part is there is shown by the ablation in ``design/011-better-model.md``.  In short: the
errors tell the encoder how far to trust a spectrum, so faint stars get wider posteriors.  asinh
bounds what a hot star or a white dwarf, tens of standard deviations off, does to the encoder, and
sinh lets the decoder follow it there: near zero both are the identity, far off both work in
logarithms, in which the scatter e^a is then relative (d x_hat = cosh m dm).  The scatter has a
floor and no ceiling; m, a and log_var are bounded, so that no outlier sends the decoder off to
infinity.  Nothing depends on the other spectra of a batch, so training and inference compute the
same function and there is nothing to fold.

Missing elements.  Where x is not finite, or sigma is not finite and positive, the element is not
seen: the encoder gets x = 0 with the largest error.  `xpscale.training.loss` hides bands and high
orders in training, so that it knows what to make of that; the decoder predicts all elements always.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from xpscale.errors import InvalidInputError
from xpscale.model.card import Architecture
from xpscale.model.constants import (
    ERROR_BOUNDS,
    LATENT_LOG_VAR_BOUNDS,
    LOG_SCATTER_BOUNDS,
    MEAN_BOUND,
    SCATTER_FLOOR,
)
from xpscale.model.distributions import (
    LatentPosterior,
    Reconstruction,
    seen_elements,
)
from xpscale.model.nn import asinh
from xpscale.model.scatter_vae import NetworkModule

__all__ = ["Block", "NoiseAwareVAE", "measured_elements", "required_errors"]


def measured_elements(x: Tensor, x_err: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Which elements are seen, and x and its errors with 0 and the largest error where they are
    not; all of shape (B, C).

    Parameters
    ----------
    x, x_err
        Standardized coefficients and errors, with shape (B, C).

    Raises
    ------
    InvalidInputError
        If there are no errors.
    """
    x_err = required_errors(x_err)
    seen = seen_elements(x, x_err)
    missing = ~seen
    return (
        seen,
        x.masked_fill(missing, 0),
        x_err.masked_fill(missing, ERROR_BOUNDS[1]).clamp(*ERROR_BOUNDS),
    )


def required_errors(x_err: Tensor | None) -> Tensor:
    """The errors.

    Raises
    ------
    InvalidInputError
        If there are none.
    """
    if x_err is None:
        raise InvalidInputError(
            "this network needs the errors of the coefficients",
            "Read the spectra with their errors",
        )
    return x_err


class Block(nn.Module):
    """h -> h + V GELU(W LayerNorm(h) + b) + c, or h -> GELU(W h + b) where the width changes; the
    exact (erf) GELU.

    Parameters
    ----------
    width, next_width
        Of h before and after.
    """

    def __init__(self, width: int, next_width: int) -> None:
        super().__init__()
        self.is_residual = width == next_width
        self.inner = nn.Linear(width, next_width)
        if self.is_residual:
            self.norm = nn.LayerNorm(width)
            self.outer = nn.Linear(next_width, next_width)

    def forward(self, h: Tensor) -> Tensor:
        """The next h, with shape (B, next_width)."""
        if not self.is_residual:
            return functional.gelu(self.inner(h))
        change: Tensor = self.outer(functional.gelu(self.inner(self.norm(h))))
        return h + change


class NoiseAwareVAE(NetworkModule):
    """The network, in training and at inference.

    Parameters
    ----------
    architecture
        Its widths.
    """

    needs_errors = True
    scatter_ceiling = float("inf")
    layer: ClassVar[type[nn.Module]] = Block

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        n_latents, hidden = architecture.n_latents, architecture.hidden
        n_coefficients = architecture.n_coefficients
        self.encoder = self._stack((2 * n_coefficients, *hidden))
        self.posterior = nn.Linear(hidden[-1], 2 * n_latents)
        self.decoder = self._stack((n_latents, *reversed(hidden)))
        self.spectrum = nn.Linear(hidden[0], 2 * n_coefficients)
        nn.init.constant_(
            self.spectrum.bias[n_coefficients:], -1.0
        )  # scatter of 0.37 to start from, as data have

    @classmethod
    def _stack(cls, widths: tuple[int, ...]) -> nn.Sequential:
        return nn.Sequential(*(cls.layer(i, o) for i, o in pairwise(widths)))

    def encode(self, x: Tensor, x_err: Tensor | None = None) -> LatentPosterior:
        """The posterior of the latents; elements that are not finite, or have no usable error, are
        not seen.
        """
        _, x, x_err = measured_elements(x, x_err)
        mean, log_var = self.posterior(self.last_layer(x, x_err)).chunk(2, -1)
        return LatentPosterior(mean, log_var.clamp(*LATENT_LOG_VAR_BOUNDS))

    def last_layer(self, x: Tensor, x_err: Tensor) -> Tensor:
        """The encoder's last layer, with shape (B, W).

        Parameters
        ----------
        x, x_err
            What `measured_elements` found, with shape (B, C).
        """
        h: Tensor = self.encoder(
            torch.cat([asinh(x), (self.errors_shown(x_err).log() + 2) / 2], -1)
        )
        return h

    def errors_shown(self, x_err: Tensor) -> Tensor:
        """The errors that the encoder is given, with shape (B, C)."""
        return x_err

    def decode(self, z: Tensor) -> Reconstruction:
        """The distribution of standardized coefficients given latents z, with shape (B, L)."""
        return self.distribution(*self.spectrum(self.decoder(z)).chunk(2, -1))

    def distribution(self, m: Tensor, a: Tensor) -> Reconstruction:
        """x_hat and s.

        Parameters
        ----------
        m, a
            The decoder's two outputs, with shape (B, C).
        """
        m = m.clamp(-MEAN_BOUND, MEAN_BOUND)
        return Reconstruction(
            m.sinh(), SCATTER_FLOOR + a.clamp(*LOG_SCATTER_BOUNDS).exp() * m.cosh()
        )
