"""A scatter VAE whose encoder is a transformer over coefficients: a second architecture behind the
same protocol.

The model, the loss and the letters are those of `xpscale.model.scatter_vae`; the encoder is in the
spirit of Leung & Bovy (2024, MNRAS 527, 1494) and SpectraFM (Koblischke & Bovy 2024,
arXiv:2411.04750): every coefficient is a token that says which coefficient it is and what was
measured, and one that is missing is not there at all, instead of being filled in. With W the width
of a token::

    token j    t_j = e_j + v asinh x_j + u (ln sigma_j + 2) / 2   (W,)   e_j learnt for each j
    summary    t_0 = e_0                                                   (W,)   always there
    block      t <- t + attention(norm t),   t <- t + W2 GELU(W1 norm t)
               4 W inside; heads of 8; missing tokens masked
    posterior  linear(norm t_0) to mu and log_var
    decoder    L -> 4 W -> 4 W -> linear to x_hat and a;   s = s_min + ln(1 + e^a)

A spectrum costs about 12 W^2 multiplications a token and block, some fifty times those of the other
networks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xpscale.errors import InvalidInputError
from xpscale.model.card import Architecture
from xpscale.model.constants import LATENT_LOG_VAR_BOUNDS, SCATTER_FLOOR
from xpscale.model.distributions import LatentPosterior, Reconstruction
from xpscale.model.nn import asinh
from xpscale.model.noise_aware import measured_elements
from xpscale.model.scatter_vae import NetworkModule

__all__ = ["TransformerVAE"]

HEAD_WIDTH = 8


class Block(nn.Module):
    """Attention of every token to every token that is there, then a layer on each; both added to
    what was.

    Parameters
    ----------
    width
        W, a multiple of `HEAD_WIDTH`.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.n_heads = width // HEAD_WIDTH
        self.before_attention, self.before_layer = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inside, self.outside = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, t: Tensor, there: Tensor) -> Tensor:
        """The next tokens, with shape (B, T, W).

        Parameters
        ----------
        t
            Tokens, with shape (B, T, W).
        there
            Which of them exist, with shape (B, 1, 1, T).
        """
        n, n_tokens, width = t.shape
        heads = self.query_key_value(self.before_attention(t)).view(
            n, n_tokens, 3, self.n_heads, HEAD_WIDTH
        )
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (B, heads, T, 8) each
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=there)
        t = t + self.mixed(attended.transpose(1, 2).reshape(n, n_tokens, width))
        changed: Tensor = t + self.outside(functional.gelu(self.inside(self.before_layer(t))))
        return changed


class TransformerVAE(NetworkModule):
    """The network, in training and at inference.

    Parameters
    ----------
    architecture
        ``hidden`` has the width of the tokens, once for each block: ``(32, 32)`` are two blocks of
        tokens 32 wide.
    """

    needs_errors = True
    scatter_ceiling = float("inf")

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        width, n_coefficients = architecture.hidden[0], architecture.n_coefficients
        if set(architecture.hidden) != {width} or width % HEAD_WIDTH:
            raise InvalidInputError(
                f"hidden is {list(architecture.hidden)} for a transformer",
                f"Give one width as often as there are blocks, a multiple of {HEAD_WIDTH}:"
                " [32, 32]",
            )
        self.which = nn.Parameter(torch.randn(n_coefficients + 1, width, device="cpu") / 2)  # e
        self.measured = nn.Linear(2, width)  # v, u
        self.blocks = nn.ModuleList(Block(width) for _ in architecture.hidden)
        self.norm = nn.LayerNorm(width)
        self.posterior = nn.Linear(width, 2 * architecture.n_latents)
        wide = 4 * width
        self.decoder = nn.Sequential(
            nn.Linear(architecture.n_latents, wide), nn.GELU(), nn.Linear(wide, wide), nn.GELU()
        )
        self.spectrum = nn.Linear(wide, 2 * n_coefficients)
        nn.init.constant_(
            self.spectrum.bias[n_coefficients:], -1.0
        )  # scatter of 0.3 to start from, as data have

    @property
    def encoding_bytes(self) -> int:
        """Of a block about 24 numbers for each of the W of T tokens, and twice the
        attention of every token to every other, head by head.
        """
        n_tokens, width = self.which.shape
        return 4 * (24 * width * n_tokens + 2 * width // HEAD_WIDTH * n_tokens**2)

    def encode(self, x: Tensor, x_err: Tensor | None = None) -> LatentPosterior:
        """The posterior of the latents; elements that are not finite, or have no usable error, are
        no tokens.
        """
        seen, x, x_err = measured_elements(x, x_err)
        tokens = (
            self.measured(torch.stack([asinh(x), (x_err.log() + 2) / 2], -1)) + self.which[1:]
        )  # (B, C, W)
        tokens = torch.cat([self.which[:1].expand(x.shape[0], 1, -1), tokens], 1)
        there = functional.pad(seen, (1, 0), value=True)[:, None, None]  # the summary always is
        for block in self.blocks:
            tokens = block(tokens, there)
        mean, log_var = self.posterior(self.norm(tokens[:, 0])).chunk(2, -1)
        return LatentPosterior(mean, log_var.clamp(*LATENT_LOG_VAR_BOUNDS))

    def decode(self, z: Tensor) -> Reconstruction:
        """The distribution of standardized coefficients given latents z, with shape (B, L)."""
        mean, a = self.spectrum(self.decoder(z)).chunk(2, -1)
        return Reconstruction(mean, SCATTER_FLOOR + functional.softplus(a))
