"""One training run in several worker processes of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from xpscale.model.checkpoint import TrainedModel, load_model
from xpscale.spectra import require_readable
from xpscale.training.job import TrainingJob
from xpscale.training.loop import Progress
from xpscale.training.metrics import EpochMetrics, HeldOutLoss
from xpscale.training.parallel import joined, own_device
from xpscale.training.session import train_here

if TYPE_CHECKING:
    from xpscale.runtime.executors.worker_group import WorkerGroup

__all__ = ["train_on_workers"]


def train_on_workers(
    group: WorkerGroup,
    job: TrainingJob,
    *,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
) -> TrainedModel:
    """Train in workers of a cluster that share every batch.

    Parameters
    ----------
    group
        The workers, which must reach each other, the store and the destination; each holds all
        rows, or streams its share.
    job
        What to train.
    on_step, on_epoch
        Listeners, which are called in this process.

    Raises
    ------
    ConflictError, InvalidInputError, PermanentError, TryAgainError
        As `xpscale.training.run.train`.
    """

    def listen(message: dict[str, Any]) -> None:
        if "step" in message and on_step:
            on_step(Progress(**message["step"]))
        if "epoch" in message and on_epoch:
            on_epoch(_metrics(message["epoch"]))

    group.run(_Member(job), listen)
    return load_model(job.destination)


@dataclass(frozen=True)
class _Member:
    """What each worker does."""

    job: TrainingJob

    def check(self, memory: int | None) -> None:
        """Refuse a process that lacks the device, or cannot read the spectra."""
        torch.empty(0, device=own_device(self.job.device))
        require_readable(self.job.reader)

    def __call__(self, rank: int, n: int, address: str, tell: Callable[[Any], None]) -> str:
        with joined(rank, n, address) as processes:
            model = train_here(
                self.job,
                on_step=lambda progress: tell({"step": asdict(progress)}),
                on_epoch=lambda metrics: tell({"epoch": asdict(metrics)}),
                processes=processes,
            )
        return model.model_id


def _metrics(message: dict[str, Any]) -> EpochMetrics:
    held_out = message["held_out"] | {"kl_per_latent": tuple(message["held_out"]["kl_per_latent"])}
    return EpochMetrics(**message | {"held_out": HeldOutLoss(**held_out)})
