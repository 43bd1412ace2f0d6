"""A training run, from the first line that it prints to the model: `train`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from xpscale.formatting import format_duration
from xpscale.model.devices import pick_device
from xpscale.storage import Storage
from xpscale.training.batches import Batch, Rows
from xpscale.training.job import TrainingJob, finished_model
from xpscale.training.loader import is_streamed
from xpscale.training.loop import Progress, Trainer
from xpscale.training.metrics import EpochMetrics
from xpscale.training.session import one_torch_thread, train_here
from xpscale.training.settings import TrainingSettings

if TYPE_CHECKING:
    from xpscale.bands import Bands
    from xpscale.model.checkpoint import TrainedModel
    from xpscale.sampling.sample import Sample
    from xpscale.spectra import SpectraReader

__all__ = ["estimate", "is_first_process", "train"]

StartClient: TypeAlias = Callable[[], AbstractContextManager[Any]]


def train(
    reader: SpectraReader,
    destination: str | Storage,
    settings: TrainingSettings | None = None,
    *,
    sample: Sample | None = None,
    on_message: Callable[[str], None] | None = None,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    checkpoint_every_s: float = 120.0,
    device: str = "cpu",
    workers: int = 0,
    scheduler: str | StartClient = "",
) -> TrainedModel:
    """Train a scatter VAE on a store, or on a sample of it, and save it.

    Called again after an interruption it goes on from the last checkpoint, in the middle of an
    epoch if need be, and ends with the same weights, bit for bit on the same machine, as if it had
    not been interrupted.  Called again after it finished it returns the saved model.

    Parameters
    ----------
    reader
        The spectra store.
    destination
        The model's folder, local or ``s3://``.
    settings
        How to train; the default preset if not given.
    sample
        Which objects to train on; by default all usable ones outside the held-out pixels.
    on_message
        Called with what will be done, and with what came of it.
    on_step, on_epoch
        Called some times a second, and with the metrics of every epoch as it ends.  All listeners
        are called in the first of several processes only.
    checkpoint_every_s
        Seconds between checkpoints; one is also written when the run is interrupted.
    device
        A torch device, or ``"auto"``: a GPU if there is one.
    workers
        Worker processes that share every batch; 0 for this process (with those that ``torchrun``
        started with it, if any), or for all workers of the cluster.
    scheduler
        Address of the Dask scheduler whose workers train, or a function that starts a cluster and
        gives its client; by default they are started here.

    Raises
    ------
    ConflictError
        If the folder holds something else, or a run with other settings or data; the message lists
        the differences.
    InvalidInputError
        If the data cannot be trained on.
    PermanentError
        If the loss is not finite.
    TryAgainError
        If one of several processes was lost.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif not scheduler:
        pick_device(device)
    place = destination.url if isinstance(destination, Storage) else destination
    settings = settings or TrainingSettings()
    job = TrainingJob(reader, place, settings, sample, checkpoint_every_s, device)
    tell = on_message if on_message and is_first_process() else lambda text: None
    is_done = job.is_done
    if not is_done and on_message:
        tell(_description(job, workers))
    if is_done and workers:
        model = finished_model(job, workers)
    elif workers or scheduler:
        from xpscale.runtime.executors.worker_group import WorkerGroup
        from xpscale.training.on_workers import train_on_workers

        with _client(scheduler, workers) as client:
            group = WorkerGroup(client, workers or len(client.nthreads()))
            model = train_on_workers(group, job, on_step=on_step, on_epoch=on_epoch)
    else:
        model = train_here(job, on_step=on_step, on_epoch=on_epoch)
    if is_done:
        tell("nothing to do: the model was trained before")
    tell(f"model {model.model_id[:12]}: {place}")
    return model


def _client(scheduler: str | StartClient, workers: int) -> AbstractContextManager[Any]:
    from xpscale.runtime.executors.dask import connect, local_cluster

    if callable(scheduler):
        return scheduler()
    return connect(scheduler) if scheduler else local_cluster(workers)


def is_first_process() -> bool:
    """Whether this is the only process of a run, or the first that ``torchrun`` started."""
    return os.environ.get("RANK", "0") == "0"


def _description(job: TrainingJob, workers: int) -> str:
    """What will be done, and how long it will take."""
    settings = job.settings
    seconds = estimate(job.n_rows, settings, job.reader.bands, job.device)
    epochs = f"{settings.epochs} epoch{'s' * (settings.epochs != 1)}"
    streamed = f", streamed, {settings.max_rows:,} rows in memory"
    shared = f" in one process (of {workers} that share the work)"
    return (
        f"train on {job.n_rows:,} spectra, {epochs} on {job.device}"
        f"{streamed * is_streamed(job.reader, settings, job.sample)}: about"
        f" {format_duration(seconds)}{shared * (workers > 1)}"
    )


def estimate(n_rows: int, settings: TrainingSettings, bands: Bands, device: str = "cpu") -> float:
    """Seconds a run will take on this machine, from a few timed steps on random numbers.

    Parameters
    ----------
    n_rows
        Rows of the store or the sample, held-out ones included.
    settings
        How to train.
    bands
        Of the spectra.
    device
        A torch device.
    """
    trainer = Trainer(settings, bands, torch.device(device))
    x = torch.randn(settings.batch_size, bands.n_coefficients, device=device)
    rows = Rows(x, torch.ones_like(x), np.arange(len(x)))
    batch = Batch(0, rows, len(x), (0, len(x)))
    warm_up, n_steps = 3, 10
    with one_torch_thread():
        for number in range(warm_up + n_steps):
            if number == warm_up:
                began = time.perf_counter()
            trainer.step(batch, 1e-6)[1].item()
    step_s = (time.perf_counter() - began) / n_steps
    held_out = min(settings.max_held_out_rows, n_rows * settings.held_out_fraction)
    # the held-out loss takes a forward pass without gradients: a third of a step
    n_equivalent = n_rows * (1 - settings.held_out_fraction) + held_out / 3
    return settings.epochs * n_equivalent / settings.batch_size * step_s
