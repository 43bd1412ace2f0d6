"""A training run in a model folder: start, resume, finish.

::

    MODEL/
        checkpoint.pt         the run's state after some step; removed when it is finished
        history.csv           a line an epoch
        model.safetensors     the finished model
        card.json
"""

from __future__ import annotations

import contextlib
import io
import pickle
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xpscale.errors import ConflictError, InvalidInputError
from xpscale.model.card import ModelCard, software
from xpscale.model.checkpoint import CARD, TrainedModel, load_model
from xpscale.storage import Storage
from xpscale.training.batches import Batch, Rows
from xpscale.training.loader import TrainingData, load_training_data
from xpscale.training.loop import Progress, Trainer
from xpscale.training.metrics import EpochMetrics, history_csv
from xpscale.training.parallel import Processes, joined, own_device
from xpscale.training.settings import TrainingSettings

if TYPE_CHECKING:
    from xpscale.bands import Bands
    from xpscale.sampling.sample import Sample
    from xpscale.types import SpectraReader

__all__ = ["CHECKPOINT", "HISTORY", "estimate", "train"]

CHECKPOINT = "checkpoint.pt"
HISTORY = "history.csv"
SHOWN_EVERY_S = 0.25


def train(
    reader: SpectraReader,
    destination: str | Storage,
    settings: TrainingSettings | None = None,
    *,
    sample: Sample | None = None,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    checkpoint_every_s: float = 120.0,
    device: str = "cpu",
    processes: Processes | None = None,
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
    on_step, on_epoch
        Called some times a second, and with the metrics of every epoch as it ends; in the first
        process only.
    checkpoint_every_s
        Seconds between checkpoints; one is also written when the run is interrupted.
    device
        A torch device.
    processes
        Those that train together; by default the ones that ``torchrun`` started, or this one alone.

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
    settings = settings or TrainingSettings()
    folder = destination if isinstance(destination, Storage) else Storage(destination)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_one_thread())
        processes = processes or stack.enter_context(joined())
        identity = _identity(reader, settings, sample, processes.n)
        if processes.from_first(lambda: folder.exists(CARD)):
            model = load_model(folder)
            _require_same(identity, _identity_of(model.card), f"the model at {folder}")
            return model
        trainer = Trainer(settings, reader.bands, own_device(device), processes)
        run = _Run(folder, identity, sample, trainer, on_step, on_epoch, checkpoint_every_s)
        run.resume()
        data = load_training_data(reader, settings, sample)
        run.train(data)
        model = run.model(data)
        processes.from_first(lambda: model.save(folder))
        if processes.is_first:
            folder.delete(CHECKPOINT)
    return model


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
    with _one_thread():
        for number in range(warm_up + n_steps):
            if number == warm_up:
                began = time.perf_counter()
            trainer.step(batch, 1e-6)[1].item()
    step_s = (time.perf_counter() - began) / n_steps
    held_out = min(settings.max_held_out_rows, n_rows * settings.held_out_fraction)
    # the held-out loss takes a forward pass without gradients: a third of a step
    n_equivalent = n_rows * (1 - settings.held_out_fraction) + held_out / 3
    return settings.epochs * n_equivalent / settings.batch_size * step_s


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread on the CPU: the layers are too small for more.

    Measured on 2 cores, two threads gain a quarter when nothing else runs and take 8 to 20 times as
    long when something does; and sums over several threads would tie the weights' last bits to the
    number of cores.  `xpscale.training.threads` takes shares of a batch to all cores instead.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


class _Run:
    """A run's state in memory and in its folder; the first process reads and writes there,
    for all.
    """

    def __init__(
        self,
        folder: Storage,
        identity: dict[str, Any],
        sample: Sample | None,
        trainer: Trainer,
        on_step: Callable[[Progress], None] | None,
        on_epoch: Callable[[EpochMetrics], None] | None,
        checkpoint_every_s: float,
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.sample = sample
        self.trainer = trainer
        self.history: list[dict[str, float]] = []
        self.on_step, self.on_epoch, self.checkpoint_every_s = on_step, on_epoch, checkpoint_every_s
        self.written = self.shown = time.monotonic()

    def resume(self) -> None:
        """Take over the checkpoint in the folder, if there is one."""
        where = f"{self.folder}/{CHECKPOINT}"
        stored = self.trainer.processes.from_first(self._stored)
        if not stored:
            return
        try:
            content = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
            identity, history, state = content["identity"], content["history"], content["state"]
        except (
            pickle.UnpicklingError,
            RuntimeError,
            EOFError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            raise InvalidInputError(f"{where} is damaged", "Remove it to start again") from error
        _require_same(self.identity, identity, where)
        self.trainer.restore(state)
        self.history = history

    def _stored(self) -> bytes:
        if self.folder.exists(CHECKPOINT):
            return self.folder.read(CHECKPOINT)
        if not self.folder.is_empty() and not self.folder.exists(HISTORY):
            raise ConflictError(
                f"{self.folder} holds something that is not a model", "Choose another place"
            )
        return b""

    def train(self, data: TrainingData) -> None:
        """The epochs that are left."""
        trainer = self.trainer
        training, held_out = data.training.to(trainer.device), data.held_out.to(trainer.device)
        self._keep()
        try:
            while not trainer.is_finished:
                metrics = trainer.train_epoch(training, held_out, self._after_step)
                self.history.append(metrics.row())
                self._keep()
                if self.on_epoch and trainer.processes.is_first:
                    self.on_epoch(metrics)
        # however it ends: what is kept is the state after the last whole epoch, or a later
        # checkpoint
        finally:
            self._write()

    def _after_step(self) -> None:
        now = time.monotonic()
        if now - self.written >= self.checkpoint_every_s:
            self._keep()
            self._write()
        if self.on_step and self.trainer.processes.is_first and now - self.shown >= SHOWN_EVERY_S:
            self.shown = now
            self.on_step(self.trainer.progress)

    def _keep(self) -> None:
        if self.trainer.processes.is_first:
            buffer = io.BytesIO()
            torch.save(
                {"identity": self.identity, "history": self.history, "state": self.trainer.state()},
                buffer,
            )
            self.kept = buffer.getvalue(), history_csv(self.history)

    def _write(self) -> None:
        if self.trainer.processes.is_first:
            checkpoint, history = self.kept
            self.folder.replace(CHECKPOINT, checkpoint)
            self.folder.replace(HISTORY, history.encode())
        self.written = time.monotonic()

    def model(self, data: TrainingData) -> TrainedModel:
        """The model, with the weights of the epoch that is kept."""
        trainer, identity = self.trainer, self.identity
        epoch = trainer.keep_chosen()
        card = ModelCard(
            architecture=trainer.network.architecture,
            release=identity["release"],
            training=identity["settings"],
            data={
                "store_digest": identity["store_digest"],
                "sample_digest": identity["sample_digest"],
                "n_processes": identity["n_processes"],
                "n_training": len(data.training),
                "n_held_out": len(data.held_out),
                "n_rejected": data.n_rejected,
                **({"shuffle": data.shuffle} if data.shuffle else {}),
                **({"sample_plan": self.sample.plan.to_dict()} if self.sample else {}),
            },
            metrics={**self.history[epoch - 1], "epochs_trained": trainer.epoch},
            software=software(),
        )
        return TrainedModel.create(trainer.network, data.scaling, data.density, card)


def _identity(
    reader: SpectraReader, settings: TrainingSettings, sample: Sample | None, n_processes: int
) -> dict[str, Any]:
    """What determines the weights: two runs that agree in it are the same run."""
    return {
        "settings": settings.to_dict(),
        "release": reader.release.name,
        "bands": str(reader.bands),
        "store_digest": reader.digest,
        "sample_digest": "" if sample is None else sample.digest,
        "n_processes": n_processes,
    }


def _identity_of(card: ModelCard) -> dict[str, Any]:
    return {
        "settings": card.training,
        "release": card.release,
        "bands": str(card.architecture.bands),
        "store_digest": card.data.get("store_digest", ""),
        "sample_digest": card.data.get("sample_digest", ""),
        "n_processes": card.data.get("n_processes", 1),
    }


def _require_same(wanted: dict[str, Any], found: dict[str, Any], where: str) -> None:
    """Refuse to go on with a run that differs, naming every difference."""
    wanted, found = ({**run.pop("settings"), **run} for run in (dict(wanted), dict(found)))
    names = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    if names:
        differences = "; ".join(
            f"{name} {found.get(name)} there, {wanted.get(name)} here" for name in names
        )
        raise ConflictError(
            f"{where} is of another run: {differences}",
            "Choose another folder, or the same settings",
        )
