"""What a step of training minimises.

With the letters of `xpscale.model.scatter_vae`, over a batch::

    loss = mean(nll) + sum_k mean(kl_k)                             the negative evidence lower bound: what is reported
    cost = mean(nll) + sum_k max(mean(kl_k), free_nats)             what is minimised
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from xpscale.model.scatter_vae import NetworkModule
    from xpscale.training.settings import TrainingSettings

__all__ = ["BatchLoss", "Objective"]


@dataclass(frozen=True, slots=True, eq=False)
class BatchLoss:
    """The loss of a batch: ``cost`` is differentiated, ``terms`` are the mean nll and kl, detached, with shape (2,)."""

    cost: Tensor
    terms: Tensor


class Objective:
    """The cost of a batch under a network.

    Parameters
    ----------
    settings
        How to train.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings

    def draw(self, network: NetworkModule, x: Tensor, n_rows: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Everything random that a batch of ``n_rows`` spectra like x needs: tensors with a row for each spectrum.

        Drawn apart from the loss, for the whole batch, so that a batch shared among processes is the same batch, and so
        that the loss can be compiled.
        """
        return (torch.empty(n_rows, network.architecture.n_latents, device=x.device).normal_(generator=generator),)

    def __call__(
        self, network: NetworkModule, x: Tensor, x_err: Tensor, draws: tuple[Tensor, ...], epoch: int
    ) -> BatchLoss:
        """The loss of standardized spectra x and errors x_err, with shape (B, C), in an epoch counted from 0.

        ``draws`` are the rows for these spectra of what `draw` made.
        """
        (noise,) = draws
        posterior, reconstruction = network(x, x_err, noise)
        kl_per_latent = posterior.kl_per_latent().mean(0)  # (L,)
        nll = reconstruction.nll(x, x_err).mean()
        cost = nll + kl_per_latent.clamp(min=self.settings.free_nats).sum()
        return BatchLoss(cost, torch.stack([nll, kl_per_latent.sum()]).detach())
