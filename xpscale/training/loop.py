"""The training loop: steps over batches, in memory or streamed, in one process or several."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xpscale.errors import PermanentError
from xpscale.model.architectures import build
from xpscale.training.batches import Batch, Order
from xpscale.training.flat import FlatParameters
from xpscale.training.gradient import BatchGradient
from xpscale.training.metrics import EpochMetrics, held_out_loss
from xpscale.training.optimizer import Optimizer
from xpscale.training.parallel import ONE_PROCESS, Processes
from xpscale.training.replay import Replayed

if TYPE_CHECKING:
    from xpscale.bands import Bands
    from xpscale.training.batches import Rows, TrainingRows
    from xpscale.training.settings import TrainingSettings

__all__ = ["Progress", "Trainer"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an epoch is.

    Parameters
    ----------
    epoch
        Counted from 1.
    batch, n_batches
        Batches done of this epoch, of how many.
    loss
        Mean over the epoch's rows so far, nats per spectrum.
    """

    epoch: int
    batch: int
    n_batches: int
    loss: float


class Trainer:
    """A network in training, with everything the next step depends on.

    Its state (weights, optimiser, random numbers, epochs and batches done, the best epoch so far)
    goes in and out as one dictionary of tensors and plain values, so that a run continued from a
    state is the run that was never interrupted, bit for bit on one machine.

    Parameters
    ----------
    settings
        How to train.
    bands
        Of the spectra.
    device
        Where.
    processes
        Who trains together.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        bands: Bands,
        device: torch.device,
        processes: Processes = ONE_PROCESS,
    ) -> None:
        self.settings = settings
        self.processes = processes
        self.device = device
        self.order = Order(settings.batch_size, settings.seed, processes.rank, processes.n)
        # weights are drawn from torch's global generator, which is left as it was
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network = build(settings.architecture(bands)).to(device)
        processes.synchronize(self.network)
        self.weights = FlatParameters(self.network)
        self.optimizer = Optimizer(self.weights, settings)
        self.gradient = BatchGradient(settings, self.network, self.weights, processes)
        self.free_nats = torch.zeros((), device=device)  # of the step
        self.n_rows = settings.batch_size  # of the step's batch, over all processes
        self.update = self._update()
        self.generator = torch.Generator(device).manual_seed(settings.seed)
        self.epoch = self.batch = self.n_batches = 0
        self.totals = torch.zeros(3, dtype=torch.float64, device=device)  # nll, kl, rows
        self.best: dict[str, Any] = {"epoch": 0, "loss": float("inf"), "network": {}}
        # the last batch, and whether its loss is finite, which nobody has looked at yet
        self._last: tuple[Batch, Tensor] | None = None

    def _update(self) -> Callable[..., tuple[Tensor, ...]]:
        """`update_weights`; recorded on a GPU, where it finds the state that there is by then."""
        if self.device.type == "cuda" and self.processes.n == 1:
            return Replayed(self.update_weights)
        return self.update_weights

    def state(self) -> dict[str, Any]:
        """All that the next step depends on.

        Raises
        ------
        PermanentError
            As `train_epoch`.
        """
        self._require_finite()
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "totals": self.totals,
            "best": self.best,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.epoch, self.batch, self.best = state["epoch"], state["batch"], state["best"]
        self.totals = state["totals"].to(self.device)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.update = self._update()
        self.generator.set_state(state["generator"].cpu())

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done, or ``patience`` of them have passed without a better
        held-out loss.
        """
        best, patience = self.best["epoch"], self.settings.patience
        return self.epoch >= self.settings.epochs or bool(
            patience and best and self.epoch - best >= patience
        )

    def keep_chosen(self) -> int:
        """Put the weights that are kept into the network; the epoch they are of."""
        if self.settings.keep == "last" or not self.best["epoch"]:
            return self.epoch
        self.network.load_state_dict(self.best["network"])
        return int(self.best["epoch"])

    def train_epoch(
        self, training: TrainingRows, held_out: Rows, after_step: Callable[[], None] | None = None
    ) -> EpochMetrics:
        """The batches of an epoch that are left, then the loss on the held-out rows.

        Parameters
        ----------
        training, held_out
            Rows on this trainer's device.
        after_step
            Called after every step, when `state` is whole.

        Raises
        ------
        PermanentError
            If the loss or its gradient is not finite; the message names epoch, batch and sources.
        """
        began, n_done = time.perf_counter(), 0
        self.network.train()
        self.n_batches = self.order.n_batches(len(training))
        for batch in training.batches(self.order, self.epoch, self.batch):
            terms, norm = self.step(
                batch, self._learning_rate(batch.number), self._epochs_done(batch.number)
            )
            self._require_finite()  # of the step before this one: a GPU is at work meanwhile
            self._last = batch, torch.isfinite(terms.sum() + norm)
            self.totals += (
                torch.cat([terms.double(), torch.ones_like(self.totals[:1])]) * batch.n_rows
            )
            n_done += batch.n_rows
            self.batch = batch.number + 1
            if after_step:
                after_step()
        self._require_finite()
        trained_s = time.perf_counter() - began
        nll, kl = (self.totals[:2] / self.totals[2]).tolist()
        judged = self.processes.from_first(
            lambda: held_out_loss(self.network, held_out, self.settings.seed)
        )
        learning_rate = self._learning_rate(self.n_batches - 1)
        self.epoch, self.batch = self.epoch + 1, 0
        self.totals = torch.zeros_like(self.totals)
        if judged.loss < self.best["loss"]:
            weights = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
            self.best = {"epoch": self.epoch, "loss": judged.loss, "network": weights}
        seconds = time.perf_counter() - began
        return EpochMetrics(
            self.epoch, learning_rate, nll + kl, nll, kl, judged, seconds, n_done / trained_s
        )

    @property
    def progress(self) -> Progress:
        """How far the epoch is, after a step."""
        loss = float(self.totals[:2].sum() / self.totals[2])
        return Progress(self.epoch + 1, self.batch, self.n_batches, loss)

    def _learning_rate(self, batch: int) -> float:
        return self.settings.learning_rate_at(self._epochs_done(batch))

    def _epochs_done(self, batch: int) -> float:
        return self.epoch + batch / self.n_batches

    def step(self, batch: Batch, learning_rate: float, epoch: float = 0.0) -> tuple[Tensor, Tensor]:
        """One step: the batch's mean nll and kl, with shape (2,), and the gradient's norm; good
        until the next step.  No weight is changed if the norm is not finite.

        Parameters
        ----------
        batch
            This process's rows of a batch.
        learning_rate
            The eta of `xpscale.training.optimizer`.
        epoch
            How many epochs have been done: it sets free nats and added noise.
        """
        x, x_err = batch.rows.x, batch.rows.x_err
        draws = self.gradient.objective.draw(self.network, x, batch.n_rows, self.generator, epoch)
        if self.processes.n > 1:
            draws = tuple(values[slice(*batch.local_rows)] for values in draws)
        self.optimizer.set_learning_rate(learning_rate)
        self.n_rows = batch.n_rows
        self.free_nats.fill_(self.settings.free_nats_at(epoch))
        terms, norm = self.update(x, x_err, *draws)
        return terms, norm

    def update_weights(self, x: Tensor, x_err: Tensor, *draws: Tensor) -> tuple[Tensor, Tensor]:
        """What `step` does on the device, as `Replayed` can record it: the terms of the loss, and
        the gradient's norm.

        Parameters
        ----------
        x, x_err
            Standardized spectra and errors, with shape (B, C).
        draws
            What `Objective.draw` made for them.
        """
        terms, gradient = self.gradient(x, x_err, draws, self.n_rows, self.free_nats)
        norm, limit = gradient.norm(), self.settings.max_gradient_norm
        if limit:
            gradient = gradient / (norm / limit).clamp(min=1)
        self.optimizer.step(gradient, norm.isfinite())
        return terms, norm

    def _require_finite(self) -> None:
        """Look at the loss of the last step.

        Raises
        ------
        PermanentError
            It is not finite.
        """
        last, self._last = self._last, None
        if last and not last[1]:
            raise self._not_finite(last[0])

    def _not_finite(self, batch: Batch) -> PermanentError:
        """The error that names where it happened; the rows of largest |x| are the likely cause."""
        rows = batch.rows
        largest = rows.x.abs().amax(1).nan_to_num(torch.inf).cpu()
        mine = [
            (float(largest[i]), int(rows.source_id[i]))
            for i in largest.argsort(descending=True)[:5].tolist()
        ]
        worst = sorted(
            (found for share in self.processes.gather(mine) for found in share), reverse=True
        )[:5]
        return PermanentError(
            f"the loss is not finite in epoch {self.epoch + 1}, batch {batch.number}; its most"
            f" extreme spectra are source_id {', '.join(str(source_id) for _, source_id in worst)}"
            f" (|x| up to {worst[0][0]:.3g})",
            "Look at those rows of the store; if they are sound, lower learning_rate or"
            " max_gradient_norm",
        )
