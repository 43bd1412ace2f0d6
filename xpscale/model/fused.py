"""The noise-aware networks in the form a CPU runs them: the same function in a third of the time.

Activations are feature-major, (width, B), as in `xpscale.model.folding`.  LayerNorm's mean and
weights g, b' and a block's last bias c are taken into the layers around them::

    W LayerNorm(h) + b = U h / width(h) + (W b' + b),   U = W diag(g) (1 - mean)
    h + V u + c        = h' + c,                        c is added where h is read

What stands between matrix products, and the posterior, is compiled (`network_kernels`,
`posterior_kernels`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from xpscale.model.distributions import Reconstruction
from xpscale.model.iterative import IterativeVAE
from xpscale.model.network_kernels import (
    column_widths,
    distribution_rows,
    gelu_rows,
    normalized_gelu_rows,
    residual_rows,
    shown_rows,
)
from xpscale.model.noise_aware import Block, NoiseAwareVAE, required_errors
from xpscale.model.posterior_kernels import posterior_columns
from xpscale.model.scatter_vae import NetworkModule

__all__ = ["FusedVAE"]


class FusedBlock(nn.Module):
    """A `Block` for columns.

    Parameters
    ----------
    block
        In float64.
    before
        What is to be added to h where it is read, with shape (I,).
    widths
        Of the parts in which h comes.
    """

    inner: Tensor
    bias: Tensor
    before: Tensor
    shift: Tensor
    outer: Tensor

    def __init__(self, block: Block, before: Tensor, widths: list[int]) -> None:
        super().__init__()
        self.is_residual, self.widths = block.is_residual, widths
        inner, bias = block.inner.weight.detach(), block.inner.bias.detach()
        self.after = torch.zeros_like(bias)
        if block.is_residual:
            bias = bias + inner @ block.norm.bias
            inner = inner * block.norm.weight
            inner = inner - inner.mean(1, keepdim=True)
            self.after = before + block.outer.bias
            self.register_buffer("outer", block.outer.weight)
            self.register_buffer("before", before)
            self.register_buffer("shift", inner @ before)
        else:
            bias = bias + inner @ before
        self.register_buffer("inner", inner)
        self.register_buffer("bias", bias)

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """The next h without `after`, with shape (O, B)."""
        first, *others = zip(torch.split(self.inner, self.widths, 1), parts, strict=True)
        change = torch.mm(*first)
        for weight, part in others:
            change.addmm_(weight, part)
        if not self.is_residual:
            gelu_rows(change.numpy(), self.bias.numpy())
            return change
        h = parts[0].contiguous()
        widths = h.new_empty(h.shape[1])
        column_widths(h.numpy(), self.before.numpy(), widths.numpy())
        normalized_gelu_rows(*(each.numpy() for each in (change, self.shift, widths, self.bias)))
        return torch.addmm(h, self.outer, change)


class FusedStack(nn.Module):
    """Blocks one after the other, for columns.

    Parameters
    ----------
    blocks
        In float64.
    before
        What is to be added to the input, with shape (I,).
    widths
        Of the parts in which the input comes.
    """

    def __init__(self, blocks: Iterable[nn.Module], before: Tensor, widths: list[int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for block in blocks:
            assert isinstance(block, Block)
            self.blocks.append(fused := FusedBlock(block, before, widths))
            before, widths = fused.after, [len(fused.after)]
        self.after = before

    def forward(self, *parts: Tensor) -> Tensor:
        """The last h without `after`, with shape (O, B)."""
        for block in self.blocks:
            parts = (block(parts),)
        return parts[0]

    def head(self, linear: nn.Linear) -> nn.Linear:
        """The layer that reads the last h, with `after` in its bias."""
        with torch.no_grad():
            linear.bias.add_(linear.weight @ self.after)
        return linear


class FusedVAE(NetworkModule):
    """A `NoiseAwareVAE` or `IterativeVAE` for inference in float32 on a CPU; made by
    `xpscale.model.folding.fold`.

    Parameters
    ----------
    network
        A trained network in float64.
    """

    needs_errors = True
    scatter_ceiling = float("inf")
    axes: Tensor

    def __init__(self, network: NoiseAwareVAE) -> None:
        super().__init__(network.architecture)
        n, n_latents = network.architecture.n_coefficients, network.architecture.n_latents

        def zeros(width: int) -> Tensor:
            return torch.zeros(width, dtype=torch.float64)

        self.encoder = FusedStack(network.encoder, zeros(2 * n), [2 * n])
        self.posterior = self.encoder.head(network.posterior)
        self.decoder = FusedStack(network.decoder, zeros(n_latents), [n_latents])
        self.spectrum = self.decoder.head(network.spectrum)
        axes = torch.eye(n_latents, dtype=torch.float64)
        self.second_look = None
        if isinstance(network, IterativeVAE):
            axes = axes if network.axes is None else network.axes
            before = torch.cat([zeros(n + 2 * n_latents), self.encoder.after])
            widths = [n, 2 * n_latents, len(self.encoder.after)]
            self.second_look = FusedStack(network.second_look, before, widths)
            self.correction = self.second_look.head(network.correction)
        self.register_buffer("axes", axes)

    def latent_columns(
        self, x: Tensor, x_err: Tensor | None = None, *, correlates: bool = True
    ) -> dict[str, Tensor]:
        """As of `NetworkModule.latent_columns`."""
        x_err = required_errors(x_err)
        n_rows, n_latents = len(x), self.architecture.n_latents
        n_pairs = n_latents * (n_latents - 1) // 2
        shown, n_seen = x.new_empty(n_rows, 2 * x.shape[1]), x.new_empty(n_rows)
        shown_rows(x.numpy(), x_err.numpy(), shown.numpy(), n_seen.numpy())
        h = self.encoder(shown.T)
        first = _columns(self.posterior, h)
        if self.second_look is None:
            correction = x.new_zeros(2 * n_latents + n_pairs, n_rows)
            n_seen.fill_(1)
        else:
            residuals, decoded = torch.empty_like(x), self._decoded(first[:n_latents])
            residual_rows(x.numpy(), x_err.numpy(), decoded.numpy(), residuals.numpy())
            correction = _columns(self.correction, self.second_look(residuals.T, first, h))
        latents = x.new_empty(2 * n_latents + 2, n_rows)
        names = ("correlations", "correlation_widths")
        pairs = {name: x.new_empty(n_pairs, n_rows) for name in names}
        inputs = (first, correction, n_seen, self.axes)
        posterior_columns(*(each.numpy() for each in (*inputs, latents, *pairs.values())))
        return {"latents": latents, **(pairs if correlates else {})}

    def decode(self, z: Tensor) -> Reconstruction:
        """The distribution of standardized coefficients given latents z, with shape (B, L)."""
        decoded = self._decoded(self.axes.T @ z.T)
        mean, scatter = z.new_empty(2, len(z), self.architecture.n_coefficients)
        distribution_rows(decoded.numpy(), mean.numpy(), scatter.numpy())
        return Reconstruction(mean, scatter)

    def _decoded(self, z: Tensor) -> Tensor:
        """The m and a of `xpscale.model.noise_aware`, with shape (B, 2C), of unturned z, (L, B)."""
        return torch.addmm(self.spectrum.bias, self.decoder(z).T, self.spectrum.weight.T)


def _columns(linear: nn.Linear, h: Tensor) -> Tensor:
    """W h + b with shape (O, B)."""
    return torch.addmm(linear.bias[:, None], linear.weight, h)
