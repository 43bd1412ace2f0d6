"""The default network with one of its parts removed, for ablation studies only."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from xpscale.model.architectures import ARCHITECTURES
from xpscale.model.distributions import LatentPosterior, Reconstruction
from xpscale.model.iterative import IterativeVAE
from xpscale.model.scatter_vae import NetworkModule

__all__ = ["VARIANTS", "register_variants"]


class Blind(IterativeVAE):
    """The encoder is given the same error for all elements that it sees."""

    def errors_shown(self, x_err: Tensor) -> Tensor:
        """exp(-2), the middle of the range, where there is an error."""
        return torch.where(x_err < 1e3, torch.full_like(x_err, 0.135), x_err)


class Uncorrelated(IterativeVAE):
    """The latents are independent of each other, given a spectrum."""

    def encode(self, x: Tensor, x_err: Tensor | None = None) -> LatentPosterior:
        """Means and variances alone, without correlations."""
        posterior = super().encode(x, x_err)
        return LatentPosterior(posterior.mean, posterior.log_var)


class SigmoidScatter(IterativeVAE):
    """The scatter of the paper: a sigmoid, so between 0 and 1, on a linear mean."""

    scatter_ceiling = 1.0

    def distribution(self, m: Tensor, a: Tensor) -> Reconstruction:
        """x_hat = m, s = sigmoid(a)."""
        return Reconstruction(m, a.sigmoid())


class PlainLayer(nn.Sequential):
    """The layer of the paper: h -> GELU(BatchNorm(W h + b))."""

    def __init__(self, width: int, next_width: int) -> None:
        super().__init__(nn.Linear(width, next_width), nn.BatchNorm1d(next_width), nn.GELU())


class BatchNormalized(IterativeVAE):
    """Layers of the paper in place of residual blocks."""

    layer: ClassVar[type[nn.Module]] = PlainLayer


VARIANTS: dict[str, type[NetworkModule]] = {
    "blind": Blind,
    "uncorrelated": Uncorrelated,
    "sigmoid_scatter": SigmoidScatter,
    "batch_normalized": BatchNormalized,
}
"""By the name that `xpscale.training.settings.TrainingSettings.network` then takes."""


def register_variants() -> None:
    """Make the variants known to settings, in this process."""
    ARCHITECTURES.update(VARIANTS)
