"""A training run for the listeners of `xpscale.runtime.events`: an epoch is a task."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xpscale.runtime.events import Callback, RunEnded, RunStarted, TaskEnded
from xpscale.types import TaskReport, TaskStatus

if TYPE_CHECKING:
    from types import TracebackType

    from xpscale.training.loop import Progress
    from xpscale.training.metrics import EpochMetrics

__all__ = ["TrainingEvents"]


class TrainingEvents:
    """Tells listeners what a training run does, inside its ``with`` block.

    Parameters
    ----------
    listeners
        Whom to tell.
    n_epochs
        Epochs of the whole run.
    n_processes
        That share every batch.
    """

    def __init__(self, listeners: Sequence[Callback], n_epochs: int, n_processes: int) -> None:
        self._listeners, self._n_epochs, self._n_processes = listeners, n_epochs, n_processes
        self._n_done = -1  # epochs; not begun
        self._began = time.time()

    def __enter__(self) -> TrainingEvents:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._n_done >= 0:
            n_left = self._n_epochs - self._n_done
            self._tell(RunEnded("train", 0, n_left, time.time() - self._began))

    def on_step(self, progress: Progress) -> None:
        """The first step of a run, which may go on in the middle, says where it begins."""
        self._begin(progress.epoch - 1)

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """An epoch has ended."""
        self._begin(metrics.epoch - 1)
        self._n_done = metrics.epoch
        n_rows = round(metrics.spectra_per_s * metrics.seconds)
        report = TaskReport(
            f"epoch={metrics.epoch}",
            TaskStatus.WRITTEN,
            n_in=n_rows,
            n_out=n_rows,
            forward_s=metrics.seconds,
            started=time.time() - metrics.seconds,
            wall_s=metrics.seconds,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            details={"loss": {"training": metrics.loss, "held_out": metrics.held_out.loss}},
        )
        self._tell(TaskEnded(report))

    def _begin(self, n_done: int) -> None:
        if self._n_done < 0:
            self._n_done = n_done
            n_workers = max(self._n_processes, 1)
            self._tell(RunStarted("train", self._n_epochs, 0, n_done, 0, n_workers))

    def _tell(self, event: RunStarted | TaskEnded | RunEnded) -> None:
        for listener in self._listeners:
            listener(event)
