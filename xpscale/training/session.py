"""One process's part of a training run in a model folder: start, resume, finish.

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

import torch

from xpscale.errors import ConflictError, InvalidInputError
from xpscale.model.axes import N_SPECTRA, turn_axes
from xpscale.model.card import ModelCard, software
from xpscale.model.checkpoint import TrainedModel
from xpscale.storage import Storage
from xpscale.training.batches import some_rows
from xpscale.training.job import TrainingJob, finished_model, require_same
from xpscale.training.loader import TrainingData, load_training_data
from xpscale.training.loop import Progress, Trainer
from xpscale.training.metrics import EpochMetrics, held_out_loss, history_csv, is_history
from xpscale.training.parallel import Processes, joined, own_device
from xpscale.training.typical import typicality_of

if TYPE_CHECKING:
    pass

__all__ = [
    "CHECKPOINT",
    "HISTORY",
    "TrainingJob",
    "finished_model",
    "one_torch_thread",
    "train_here",
]

CHECKPOINT = "checkpoint.pt"
HISTORY = "history.csv"
SHOWN_EVERY_S = 0.25


def train_here(
    job: TrainingJob,
    *,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    processes: Processes | None = None,
) -> TrainedModel:
    """Train in this process, alone or as one of several that share every batch.

    Parameters
    ----------
    job
        What to train.
    on_step, on_epoch
        Called some times a second, and with the metrics of every epoch as it ends; in the first
        process only.
    processes
        Those that train together; by default the ones that ``torchrun`` started, or this one alone.

    Raises
    ------
    ConflictError, InvalidInputError, PermanentError, TryAgainError
        As `xpscale.training.run.train`.
    """
    folder = Storage(job.destination)
    with contextlib.ExitStack() as stack:
        stack.enter_context(one_torch_thread())
        processes = processes or stack.enter_context(joined())
        identity = job.identity(processes.n)
        if processes.from_first(lambda: job.is_done):
            return finished_model(job, processes.n)
        trainer = Trainer(job.settings, job.reader.bands, own_device(job.device), processes)
        run = _Run(folder, identity, job, trainer, on_step, on_epoch)
        run.resume()
        data = load_training_data(job.reader, job.settings, job.sample)
        run.train(data)
        model = run.model(data)
        processes.from_first(lambda: model.save(folder))
        if processes.is_first:
            folder.delete(CHECKPOINT)
    return model


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """One torch thread on the CPU: the layers are too small for more, and sums over several would
    tie the weights' last bits to their number.  `xpscale.training.gradient` uses all cores.
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
        job: TrainingJob,
        trainer: Trainer,
        on_step: Callable[[Progress], None] | None,
        on_epoch: Callable[[EpochMetrics], None] | None,
    ) -> None:
        self.folder, self.identity = folder, identity
        self.job, self.trainer = job, trainer
        self.history: list[dict[str, float]] = []
        self.on_step, self.on_epoch, self.checkpoint = on_step, on_epoch, b""
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
        require_same(self.identity, identity, where)
        self.trainer.restore(state)
        self.history = history

    def _stored(self) -> bytes:
        if self.folder.exists(CHECKPOINT):
            self.checkpoint = self.folder.read(CHECKPOINT)
        elif (found := self.folder.first_key(begun=CHECKPOINT)) and not (
            self.folder.exists(HISTORY) and is_history(self.folder.read(HISTORY))
        ):
            what = f"{self.folder} holds something that is not a model: {found}"
            raise ConflictError(what, "Choose another place")
        return self.checkpoint

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
        # however it ends: the state after the last whole epoch, or a later checkpoint
        finally:
            self._write()

    def _after_step(self) -> None:
        now = time.monotonic()
        if now - self.written >= self.job.checkpoint_every_s:
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
            self.folder.replace(CHECKPOINT, checkpoint, self.checkpoint.__eq__)
            self.checkpoint = checkpoint
            self.folder.replace(HISTORY, history.encode(), is_history)
        self.written = time.monotonic()

    def model(self, data: TrainingData) -> TrainedModel:
        """The model, with the weights of the epoch that is kept, on its common axes."""
        trainer, identity, seed = self.trainer, self.identity, self.job.settings.seed
        epoch, network = trainer.keep_chosen(), trainer.network.cpu().eval()
        metrics = {**self.history[epoch - 1], "epochs_trained": trainer.epoch}
        if turn_axes(network, *some_rows(data.training, N_SPECTRA, seed)):
            metrics |= held_out_loss(network, data.held_out, seed).by_latent
        card = ModelCard(
            architecture=network.architecture,
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
                **({"sample_plan": self.job.sample.plan.to_dict()} if self.job.sample else {}),
            },
            metrics=metrics,
            software=software(),
        )
        typicality = typicality_of(network, data.training, data.density, seed)
        return TrainedModel.create(network, data.scaling, data.density, card, typicality)
