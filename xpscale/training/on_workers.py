"""One training run in several worker processes of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from xpscale.model.checkpoint import TrainedModel, load_model
from xpscale.training.loop import Progress
from xpscale.training.metrics import EpochMetrics, HeldOutLoss
from xpscale.training.parallel import joined
from xpscale.training.run import train
from xpscale.training.settings import TrainingSettings

if TYPE_CHECKING:
    from xpscale.runtime.executors.worker_group import WorkerGroup
    from xpscale.sampling.sample import Sample
    from xpscale.types import SpectraReader

__all__ = ["train_on_workers"]


def train_on_workers(
    together: WorkerGroup,
    reader: SpectraReader,
    destination: str,
    settings: TrainingSettings | None = None,
    *,
    sample: Sample | None = None,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    checkpoint_every_s: float = 120.0,
    device: str = "cpu",
) -> TrainedModel:
    """`xpscale.training.run.train` in workers of a cluster that share every batch; arguments and
    errors are its.

    Parameters
    ----------
    together
        The workers, which must reach each other, the store and the destination; each holds all
        rows, or streams its share.
    reader, destination, settings, sample, on_step, on_epoch, checkpoint_every_s, device
        See there; the listeners are called in this process.
    """

    def listen(told: dict[str, Any]) -> None:
        if "step" in told and on_step:
            on_step(Progress(**told["step"]))
        if "epoch" in told and on_epoch:
            on_epoch(_metrics(told["epoch"]))

    member = _Member(
        reader, destination, settings or TrainingSettings(), sample, checkpoint_every_s, device
    )
    together.run(member, listen)
    return load_model(destination)


@dataclass(frozen=True)
class _Member:
    """What each worker does."""

    reader: SpectraReader
    destination: str
    settings: TrainingSettings
    sample: Sample | None
    checkpoint_every_s: float
    device: str

    def __call__(self, rank: int, n: int, address: str, tell: Callable[[Any], None]) -> str:
        with joined(rank, n, address) as processes:
            model = train(
                self.reader,
                self.destination,
                self.settings,
                sample=self.sample,
                on_step=lambda progress: tell({"step": asdict(progress)}),
                on_epoch=lambda metrics: tell({"epoch": asdict(metrics)}),
                checkpoint_every_s=self.checkpoint_every_s,
                device=self.device,
                processes=processes,
            )
        return model.model_id


def _metrics(told: dict[str, Any]) -> EpochMetrics:
    held_out = {**told["held_out"], "kl_per_latent": tuple(told["held_out"]["kl_per_latent"])}
    return EpochMetrics(**{**told, "held_out": HeldOutLoss(**held_out)})
