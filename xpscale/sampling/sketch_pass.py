"""The pass over a store that makes a `Sketch`: here, or on the workers of a cluster, a run of
partitions a task.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from xpscale.errors import InvalidInputError, PermanentError
from xpscale.model.scaling import trainable_rows
from xpscale.runtime.attempt import peak_memory
from xpscale.runtime.events import RunEnded, RunStarted, TaskEnded
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.sampling.sketch import Sketch, SketchBuilder
from xpscale.types import TaskReport, TaskStatus

if TYPE_CHECKING:
    from xpscale.runtime.events import Callback
    from xpscale.sampling.cells import Cells
    from xpscale.sampling.split import HeldOutSplit
    from xpscale.types import Executor, SpectraReader

__all__ = ["OVERSAMPLING", "sketch_store"]

OVERSAMPLING = 8.0
"""How many times as much of a cell as a uniform draw takes is kept for draws that take more."""

TASKS_PER_WORKER = 16


def sketch_store(
    reader: SpectraReader,
    cells: Cells,
    split: HeldOutSplit,
    n: int,
    seed: int,
    *,
    oversampling: float = OVERSAMPLING,
    executor: Executor | None = None,
    callbacks: Iterable[Callback] = (),
) -> Sketch:
    """Count the objects that may be trained on and keep enough of them to draw n, in one pass over
    a store.

    Parameters
    ----------
    reader
        The store.
    cells
        What is counted.
    split
        The part of the sky that is left out.
    n, seed
        Objects to be drawn, and which of the possible draws.
    oversampling
        How many times as much of a cell as a uniform draw takes is kept.
    executor
        Where partitions are read; in this process if not given.
    callbacks
        Listeners for progress.

    Raises
    ------
    InvalidInputError
        If the oversampling is below 1.
    PermanentError
        If a partition cannot be read; the message says which and why.
    """
    if not oversampling >= 1:
        raise InvalidInputError(f"the oversampling is {oversampling}", "Use at least 1")
    n_rows, clock = sum(partition.n_rows for partition in reader.partitions), time.perf_counter()
    survey = _Survey(reader, cells, split, n, min(1.0, oversampling * n / max(n_rows, 1)), seed)
    where = executor or SerialExecutor()
    n_workers = getattr(where, "n_workers", 1)
    tasks = _tasks(reader, TASKS_PER_WORKER * max(n_workers, 1))
    builder, listeners, n_done = survey.builder(), list(callbacks), 0
    _tell(listeners, RunStarted("sample", len(tasks), n_rows, n_workers=n_workers))
    try:
        for report in where.run(survey, tasks):
            if not report.status.is_done:
                raise PermanentError(
                    f"partitions {report.task} could not be read: {report.error}", "Run it again"
                )
            builder.merge(report.details["sketch"])
            n_done += 1
            _tell(listeners, TaskEnded(replace(report, details={})))
    finally:
        _tell(listeners, RunEnded("sample", 0, len(tasks) - n_done, time.perf_counter() - clock))
    return builder.sketch()


@dataclass(frozen=True, slots=True)
class _Run:
    """A task: the partitions from number ``first`` up to ``last``."""

    first: int
    last: int

    @property
    def key(self) -> str:
        return f"{self.first}-{self.last - 1}"


@dataclass(frozen=True)
class _Survey:
    """The function of a task: a sketch of some partitions, in the report's details."""

    reader: SpectraReader
    cells: Cells
    split: HeldOutSplit
    n: int
    share: float
    seed: int

    def builder(self) -> SketchBuilder:
        return SketchBuilder(self.cells.n_cells, self.n, self.share, self.seed)

    def __call__(self, task: _Run) -> TaskReport:
        started, clock = time.time(), time.perf_counter()
        builder, n_in, read_s = self.builder(), 0, 0.0
        for number in range(task.first, task.last):
            partition, lap = self.reader.partitions[number], time.perf_counter()
            batch = self.reader.read(partition)
            read_s += time.perf_counter() - lap
            n_in += len(batch)
            rows = np.flatnonzero(trainable_rows(batch) & ~self.split.held_out(batch))
            builder.add(self.cells.of(partition, batch)[rows], batch.source_id[rows], number, rows)
        sketch = builder.sketch()
        return TaskReport(
            task.key,
            TaskStatus.WRITTEN,
            n_in=n_in,
            n_out=sketch.n_available,
            n_rejected={"held_out_or_unusable": n_in - sketch.n_available},
            read_s=read_s,
            started=started,
            wall_s=time.perf_counter() - clock,
            peak_memory=peak_memory(),
            worker=f"{socket.gethostname()}:{os.getpid()}",
            details={"sketch": sketch},
        )


def _tasks(reader: SpectraReader, n_tasks: int) -> list[_Run]:
    """Runs of partitions with about equally many rows."""
    ends = np.cumsum([partition.n_rows for partition in reader.partitions])
    if not len(ends):
        return []
    cuts = np.searchsorted(ends, np.linspace(0, ends[-1], min(n_tasks, len(ends)) + 1)[1:-1]) + 1
    return [_Run(int(a), int(b)) for a, b in pairwise(np.unique([0, *cuts, len(ends)]))]


def _tell(listeners: list[Callback], event: RunStarted | TaskEnded | RunEnded) -> None:
    for listener in listeners:
        listener(event)
