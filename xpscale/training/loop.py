"""The training loop: AdamW, over rows in memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xpscale.errors import PermanentError
from xpscale.model.architectures import build
from xpscale.training.loss import Objective
from xpscale.training.metrics import EpochMetrics, held_out_loss

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xpscale.training.loader import Rows
    from xpscale.training.settings import TrainingSettings

__all__ = ["Trainer"]


class Trainer:
    """A network in training, with everything the next step depends on.

    Its state (weights, optimiser, random numbers, epochs done) goes in and out as one dictionary of tensors and plain
    values, so that a run continued from a state is the run that was never interrupted, bit for bit on one machine.

    Parameters
    ----------
    settings
        How to train.
    n_coefficients
        C of the spectra.
    device
        Where.
    """

    def __init__(self, settings: TrainingSettings, n_coefficients: int, device: torch.device) -> None:
        self.settings = settings
        self.epoch = 0
        with torch.random.fork_rng(devices=[]):  # weights are drawn from torch's global generator: leave it as found
            torch.manual_seed(settings.seed)
            self.network = build(settings.architecture(n_coefficients)).to(device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.objective = Objective(settings)
        self.generator = torch.Generator(device).manual_seed(settings.seed)

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.epoch = state["epoch"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])

    def train_epoch(self, training: Rows, held_out: Rows) -> EpochMetrics:
        """One pass over the training rows in random order, then the loss on the held-out rows.

        Raises
        ------
        PermanentError
            If the loss or its gradient is not finite; the message names epoch, batch and sources.
        """
        began = time.perf_counter()
        device = training.x.device
        self.network.train()
        order = torch.randperm(len(training), generator=self.generator, device=device)
        # batches of nearly equal size: none is dropped, and none is too small for batch normalization
        batches = order.tensor_split(max(1, round(len(training) / self.settings.batch_size)))
        totals = torch.zeros(2, dtype=torch.float64, device=device)
        for number, rows in enumerate(batches):
            learning_rate = self.settings.learning_rate_at(self.epoch + number / len(batches))
            terms, norm = self.step(training.x[rows], training.x_err[rows], learning_rate)
            if not torch.isfinite(terms.sum() + norm):
                raise self._not_finite(number, training, rows)
            totals += terms.double() * len(rows)
        trained_s = time.perf_counter() - began
        self.epoch += 1
        nll, kl = (totals / len(training)).tolist()
        judged = held_out_loss(self.network, held_out, self.settings.seed)
        return EpochMetrics(
            self.epoch,
            learning_rate,
            nll + kl,
            nll,
            kl,
            judged,
            time.perf_counter() - began,
            len(training) / trained_s,
        )

    def step(self, x: Tensor, x_err: Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
        """One step on a batch x, x_err (B, C): its mean nll and kl, with shape (2,), and the gradient's norm.

        Nothing is changed if the norm is not finite.
        """
        draws = self.objective.draw(self.network, x, len(x), self.generator)
        loss = self.objective(self.network, x, x_err, draws, self.epoch)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss.cost)
        limit = self.settings.max_gradient_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        if torch.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            self.optimizer.step()
        return loss.terms, norm

    def _not_finite(self, batch: int, training: Rows, rows: Tensor) -> PermanentError:
        """The error that names where it happened; the rows of largest |x| are the likely cause."""
        largest = training.x[rows].abs().amax(1)
        worst = rows[largest.argsort(descending=True)[:5]].cpu().numpy()
        sources: NDArray[np.int64] = training.source_id[worst]
        return PermanentError(
            f"the loss is not finite in epoch {self.epoch + 1}, batch {batch}; its most extreme spectra are source_id "
            f"{', '.join(map(str, sources))} (|x| up to {largest.max():.3g})",
            "Look at those rows of the store; if they are sound, lower learning_rate or max_gradient_norm",
        )
