"""The noise-aware scatter VAE with a second look: its encoder corrects itself by its own residuals.

The decoder, the treatment of errors and of missing elements, and the letters are those of
`xpscale.model.noise_aware`. With o = [asinh x, (ln sigma + 2) / 2] as what that encoder is given
and h its last layer::

    first look    mu_1, log_var_1 = posterior(h(o))
    residuals     r = asinh[ (x - x_hat(mu_1)) / sqrt(sigma^2 + s(mu_1)^2) ]    0 where not seen
    second look   [r, mu_1, log_var_1, h] -> blocks -> d, e, t
    posterior     mu = mu_1 + exp(log_var_1 / 2) d,  log_var = log_var_1 + e,
                  R_k = (t_k, 1) / |(t_k, 1)|

An encoder of one pass has to learn the inverse of the decoder; it misses the best posterior of a
held-out star by three nats, and a larger one overfits.  The residuals of its own guess tell it
where the decoder disagrees, element by element, and in units of what matters (Marino, Yue & Mandt
2018, arXiv:1807.09356, iterative amortized inference, with one iteration).  The correction is in
units of the first posterior's width and starts near zero.  ``design/011-better-model.md`` has what
it is worth.

R is the Cholesky factor of the correlations of the latents given x; t_k are the numbers left of the
diagonal in its row k. Labels that a spectrum tells only together are correlated given that
spectrum.  A posterior that cannot say so is wrong, and training then bends the model until it is
right: latents follow the intrinsic scatter of single coefficients.

After training the latents are turned to axes that are the same for all spectra and have the least
correlations (`xpscale.model.axes`)::

    encoder    N(Q mu, Q C Q^T)         decoder    x | Q^T z

which is the same model, since the prior looks the same from every side.  Q is kept beside the
weights, as ``axes``: with exp(log_var_1 / 2) between them, the layers cannot take it up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xpscale.model.card import Architecture
from xpscale.model.constants import LARGEST_RESIDUAL, LATENT_LOG_VAR_BOUNDS
from xpscale.model.distributions import LatentPosterior, Reconstruction
from xpscale.model.nn import asinh
from xpscale.model.noise_aware import NoiseAwareVAE, measured_elements

__all__ = ["IterativeVAE"]

FIRST_CORRECTION = 0.1
"""Weights of the last layer of the second look, in units of their usual initial size."""


class IterativeVAE(NoiseAwareVAE):
    """The network, in training and at inference.

    Parameters
    ----------
    architecture
        Its widths; the second look has as many blocks of the encoder's last width as the encoder
        has.
    """

    left_of_diagonal: Tensor
    axes: Tensor | None

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        n_latents, hidden = architecture.n_latents, architecture.hidden
        n_coefficients, width = architecture.n_coefficients, hidden[-1]
        self.second_look = self._stack(
            (n_coefficients + 2 * n_latents + width, *(width for _ in hidden))
        )
        self.correction = nn.Linear(width, 2 * n_latents + n_latents * (n_latents - 1) // 2)
        self.register_buffer("axes", None)  # in training, and of models that were never turned
        below = torch.tril_indices(n_latents, n_latents, -1, device="cpu")
        self.register_buffer("left_of_diagonal", below, persistent=False)
        with torch.no_grad():
            self.correction.weight *= FIRST_CORRECTION
            self.correction.bias.zero_()

    def encode(self, x: Tensor, x_err: Tensor | None = None) -> LatentPosterior:
        """The posterior of the latents; elements that are not finite, or have no usable error, are
        not seen.
        """
        seen, x, x_err = measured_elements(x, x_err)
        h = self.last_layer(x, x_err)
        first = self.posterior(h)
        mean, log_var = first.chunk(2, -1)
        log_var = log_var.clamp(*LATENT_LOG_VAR_BOUNDS)
        guess = self.decode(mean if self.axes is None else mean @ self.axes.T)
        width = (self.errors_shown(x_err).square() + guess.scatter.square()).sqrt()
        off = ((x - guess.mean) / width).clamp(-LARGEST_RESIDUAL, LARGEST_RESIDUAL)
        h = self.second_look(torch.cat([torch.where(seen, asinh(off), 0), first, h], -1))
        d, e, t = self.correction(h).tensor_split((mean.shape[-1], 2 * mean.shape[-1]), -1)
        # of a spectrum with nothing in it the posterior is the prior
        some = seen.any(1, keepdim=True)
        posterior = LatentPosterior(
            torch.where(some, mean + (log_var / 2).exp() * d, 0),
            torch.where(some, (log_var + e).clamp(*LATENT_LOG_VAR_BOUNDS), 0),
            self._factor(torch.where(some, t, 0)),
        )
        return posterior if self.axes is None else posterior.turned(self.axes)

    def decode(self, z: Tensor) -> Reconstruction:
        """The distribution of standardized coefficients given latents z, with shape (B, L)."""
        return super().decode(z if self.axes is None else z @ self.axes)

    def turn(self, axes: Tensor) -> None:
        """Make z' = Q z the latents, for good."""
        axes = axes.to(self.correction.weight).contiguous()  # as safetensors needs it
        self.axes = axes if self.axes is None else axes @ self.axes

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        """Axes are loaded where there are some."""
        if (axes := state.get(f"{prefix}axes")) is not None:
            self.axes = torch.empty_like(axes)
        super()._load_from_state_dict(state, prefix, *others)

    def _factor(self, t: Tensor) -> Tensor:
        """R, with shape (B, L, L)."""
        n_latents = self.architecture.n_latents
        rows = torch.eye(n_latents, dtype=t.dtype, device=t.device).repeat(t.shape[0], 1, 1)
        rows[:, self.left_of_diagonal[0], self.left_of_diagonal[1]] = t
        return functional.normalize(rows, dim=-1)
