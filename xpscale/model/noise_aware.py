"""A scatter VAE whose encoder sees the measurement errors, of residual layers without normalization.

The model, the loss and the letters are those of `xpscale.model.scatter_vae`; the networks are others.  With
h -> h + GELU(W h + b) as the layer (h -> GELU(W h + b) where the width changes)::

    encoder   [asinh x, (ln sigma + 2) / 2]  2C -> layers -> linear to mu and log_var
    decoder   L -> the same layers mirrored -> linear to x_hat and a;   s = s_min + ln(1 + e^a)

Why each part is there is shown by the ablation in ``design/011-better-model.md``.  In short: the errors tell the encoder
how far to trust a spectrum, so faint stars get wider posteriors; asinh bounds what a hot star or a white dwarf, tens of
standard deviations off, does to it; the scatter has a floor and no ceiling; nothing depends on the other spectra of a
batch, so training and inference compute the same function and there is nothing to fold.

Missing elements.  Where x is not finite, or sigma is not finite and positive, the element is not seen: the encoder gets
x = 0 with the largest error.  `xpscale.training.loss` hides bands and high orders in training, so that it knows what to
make of that; the decoder predicts all elements always.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from xpscale.errors import InvalidInputError
from xpscale.model.scatter_vae import (
    LATENT_LOG_VAR_BOUNDS,
    Architecture,
    LatentPosterior,
    NetworkModule,
    Reconstruction,
    seen_elements,
)

__all__ = ["SCATTER_FLOOR", "NoiseAwareVAE"]

SCATTER_FLOOR = 1e-3
"""Smallest scatter, in standard deviations of the coefficient over the training sample.

The smallest errors of bright stars are of this size (BP 0, RP 0); below it the likelihood could grow without bound.
"""

ERROR_BOUNDS = (1e-6, 1e3)  # of a standardized error; what is not seen has the upper one


class Layer(nn.Linear):
    """h -> h + GELU(W h + b), or without the sum where the width changes; the GELU is the exact (erf) one."""

    def forward(self, h: Tensor) -> Tensor:
        """The next h, with shape (B, O)."""
        change = functional.gelu(super().forward(h))
        return h + change if self.in_features == self.out_features else change


def layers(widths: tuple[int, ...]) -> nn.Sequential:
    """Layers from ``widths[0]`` to ``widths[-1]``."""
    return nn.Sequential(*(Layer(i, o) for i, o in pairwise(widths)))


class NoiseAwareVAE(NetworkModule):
    """The network, in training and at inference.

    Parameters
    ----------
    architecture
        Its widths.
    """

    needs_errors = True
    scatter_ceiling = float("inf")

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        n_coefficients, n_latents, hidden = architecture.n_coefficients, architecture.n_latents, architecture.hidden
        self.encoder = layers((2 * n_coefficients, *hidden))
        self.posterior = nn.Linear(hidden[-1], 2 * n_latents)
        self.decoder = layers((n_latents, *reversed(hidden)))
        self.spectrum = nn.Linear(hidden[0], 2 * n_coefficients)
        nn.init.constant_(self.spectrum.bias[n_coefficients:], -1.0)  # scatter of 0.3 to start from, as data have

    def encode(self, x: Tensor, x_err: Tensor | None = None) -> LatentPosterior:
        """The posterior of the latents of standardized coefficients x and their errors, with shape (B, C).

        Elements that are not finite, or have no usable error, are not seen.
        """
        if x_err is None:
            raise InvalidInputError(
                "this network needs the errors of the coefficients", "Read the spectra with their errors"
            )
        seen = seen_elements(x, x_err)
        value = torch.where(seen, x, 0).asinh()
        width = (torch.where(seen, x_err, ERROR_BOUNDS[1]).clamp(*ERROR_BOUNDS).log() + 2) / 2
        mean, log_var = self.posterior(self.encoder(torch.cat([value, width], -1))).chunk(2, -1)
        return LatentPosterior(mean, log_var.clamp(*LATENT_LOG_VAR_BOUNDS))

    def decode(self, z: Tensor) -> Reconstruction:
        """The distribution of standardized coefficients given latents z, with shape (B, L)."""
        mean, a = self.spectrum(self.decoder(z)).chunk(2, -1)
        return Reconstruction(mean, SCATTER_FLOOR + functional.softplus(a))
