"""``xpscale train``."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from xpscale.cli.common import Scheduler, say
from xpscale.cli.model import Model
from xpscale.cli.store import Spectra, open_input
from xpscale.formatting import format_duration

if TYPE_CHECKING:
    from typing import TextIO

    from xpscale.model.checkpoint import TrainedModel
    from xpscale.sampling.sample import Sample
    from xpscale.training.loop import Progress
    from xpscale.training.metrics import EpochMetrics
    from xpscale.training.settings import TrainingSettings
    from xpscale.types import SpectraReader

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(train)


def train(
    store: Spectra,
    model: Model,
    sample: Annotated[
        str, typer.Option(help="Train on this sample only (from 'xpscale sample').")
    ] = "",
    settings: Annotated[str, typer.Option(help="TOML file with a [training] table.")] = "",
    preset: Annotated[
        str, typer.Option(help="Instead of --settings: default, or laroche2024, the paper's.")
    ] = "",
    epochs: Annotated[
        int,
        typer.Option(help="Passes over the training rows; 0 takes the settings' number.", min=0),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed; -1 takes the settings' one.")] = -1,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    workers: Annotated[
        int,
        typer.Option(
            help="Processes that share every batch: here, or workers of --scheduler; 0: this one.",
            min=0,
        ),
    ] = 0,
    scheduler: Scheduler = "",
    checkpoint_every: Annotated[
        float, typer.Option(help="Seconds between checkpoints; a killed run loses no more.", min=0)
    ] = 120.0,
) -> None:
    """Train a scatter VAE on a store; run again to resume.  Also: torchrun -m xpscale train ..."""
    from xpscale.model.checkpoint import CARD
    from xpscale.sampling.sample import load_sample
    from xpscale.storage import Storage

    chosen = _settings(settings, preset)
    chosen = replace(chosen, epochs=epochs or chosen.epochs, seed=chosen.seed if seed < 0 else seed)
    is_first = os.environ.get("RANK", "0") == "0"  # torchrun's others say nothing
    spectra = open_input(store, silently=not is_first)
    drawn = load_sample(sample) if sample else None
    where = _device(device)
    is_new = not Storage(model).exists(CARD)
    if is_new and is_first:
        _announce(spectra, chosen, drawn, where, workers)
    shown = TrainingPrinter(chosen.epochs)
    trained = _run(
        spectra, model, chosen, drawn, where, workers, scheduler, checkpoint_every, shown
    )
    if is_first:
        shown.end()
        if not is_new:
            say("nothing to do: the model was trained before")
        say(f"model {trained.model_id[:12]}: {model}")


def _settings(path: str, preset: str) -> TrainingSettings:
    """Those of a file, or a preset's."""
    from xpscale.errors import InvalidInputError
    from xpscale.training.settings import TrainingSettings

    if path and preset:
        raise InvalidInputError(
            "--settings and --preset exclude each other",
            f'Write preset = "{preset}" into {path}, beside what differs',
        )
    if path:
        return TrainingSettings.from_toml(path)
    return TrainingSettings.from_table({"preset": preset} if preset else {}, "--preset")


def _run(
    spectra: SpectraReader,
    model: str,
    settings: TrainingSettings,
    sample: Sample | None,
    device: str,
    workers: int,
    scheduler: str,
    checkpoint_every_s: float,
    shown: TrainingPrinter,
) -> TrainedModel:
    """In this process, or on the workers of a cluster."""
    options = {
        "sample": sample,
        "on_step": shown.on_step,
        "on_epoch": shown.on_epoch,
        "checkpoint_every_s": checkpoint_every_s,
        "device": device,
    }
    if not workers and not scheduler:
        from xpscale.training.run import train as run_training

        return run_training(spectra, model, settings, **options)  # type: ignore[arg-type]
    from xpscale.runtime.executors.dask import connect, local_cluster
    from xpscale.runtime.executors.worker_group import WorkerGroup
    from xpscale.training.on_workers import train_on_workers

    with connect(scheduler) if scheduler else local_cluster(workers) as client:
        together = WorkerGroup(client, workers or len(client.nthreads()))
        return train_on_workers(together, spectra, model, settings, **options)  # type: ignore[arg-type]


def _announce(
    spectra: SpectraReader,
    settings: TrainingSettings,
    sample: Sample | None,
    device: str,
    workers: int,
) -> None:
    """What will be done, and how long it will take."""
    from xpscale.training.loader import is_streamed
    from xpscale.training.run import estimate

    n_rows = (
        len(sample)
        if sample is not None
        else sum(partition.n_rows for partition in spectra.partitions)
    )
    seconds = estimate(n_rows, settings, spectra.bands, device)
    streamed = f", streamed, {settings.max_rows:,} rows in memory" * is_streamed(
        spectra, settings, sample
    )
    shared = f" in one process (of {workers} that share the work)" * (workers > 1)
    epochs = f"{settings.epochs} epoch{'s' * (settings.epochs != 1)}"
    say(
        f"train on {n_rows:,} spectra, {epochs} on {device}{streamed}: about"
        f" {format_duration(seconds)}{shared}"
    )


def _device(name: str) -> str:
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


class TrainingPrinter:
    """Shows a run: on a terminal one line that changes, elsewhere a line now and then; loss and
    time left.

    Parameters
    ----------
    n_epochs
        Epochs of the whole run.
    stream
        Where; standard error if not given.
    every_s
        Seconds after which a line is printed where there is no terminal, even in the middle of an
        epoch.
    """

    def __init__(self, n_epochs: int, stream: TextIO | None = None, every_s: float = 30.0) -> None:
        self.n_epochs = n_epochs
        self.stream = stream or sys.stderr
        self.every = max(1, n_epochs // 20)
        self.every_s = every_s
        self.began = self.printed = time.monotonic()
        self.first: float | None = None
        self.is_open = False

    def on_step(self, progress: Progress) -> None:
        """Show how far the epoch is."""
        done = progress.epoch - 1 + progress.batch / progress.n_batches
        left = self._left(done)
        is_due = time.monotonic() - self.printed >= self.every_s
        if self.stream.isatty() or is_due:
            self._show(
                f"epoch {progress.epoch:>4}/{self.n_epochs}  batch"
                f" {progress.batch:>5}/{progress.n_batches}  loss {progress.loss:8.2f}  {left}",
                keep=not self.stream.isatty(),
            )

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """Print a line for the first epochs, then about twenty more."""
        left = self._left(metrics.epoch)
        is_due = (
            metrics.epoch == 1 or metrics.epoch % self.every == 0 or metrics.epoch == self.n_epochs
        )
        if is_due or time.monotonic() - self.printed >= self.every_s:
            self._show(
                f"epoch {metrics.epoch:>4}/{self.n_epochs}  loss {metrics.loss:8.2f}  held out"
                f" {metrics.held_out.loss:8.2f}  kl {metrics.kl:6.2f} "
                f" {metrics.held_out.active_units} latents active  {metrics.spectra_per_s:,.0f}"
                f" spectra/s  {left}",
                keep=True,
            )

    def end(self) -> None:
        """Leave the line."""
        if self.is_open:
            print(file=self.stream, flush=True)
            self.is_open = False

    def _left(self, done: float) -> str:
        """From the epochs done since the first call, which may be in the middle of a resumed
        run.
        """
        if done >= self.n_epochs:
            return ""
        if self.first is None or done <= self.first:
            self.first, self.began = done, time.monotonic()
            return ""
        pace = (time.monotonic() - self.began) / (done - self.first)
        return f"{format_duration(pace * (self.n_epochs - done))} left"

    def _show(self, line: str, keep: bool) -> None:
        if self.stream.isatty():
            print(f"\r\033[K{line}", end="\n" if keep else "", file=self.stream, flush=True)
            self.is_open = not keep
        else:
            print(line.rstrip(), file=self.stream, flush=True)
        self.printed = time.monotonic()
