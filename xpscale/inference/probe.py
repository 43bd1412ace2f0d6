"""A short calibration: some of the plan's own tasks on the very workers, storage and device that the run will use.

Every worker is kept busy at once, so what they take from each other (cores, memory bandwidth, network) is in the rate.  Each
worker's first task is left out of it: imports, loading the model and filling caches are the start-up, counted separately.
The parts go to a scratch place beside the catalogue, ``CATALOG.probe-XXXXXXXX``, which is removed.
"""

from __future__ import annotations

import random
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from xpscale.catalog.layout import LEDGER, MODEL
from xpscale.errors import IncompleteError, InvalidInputError
from xpscale.runtime.attempt import Attempt
from xpscale.runtime.ledger import Ledger
from xpscale.runtime.split import TaskTime, TimeSplit
from xpscale.runtime.split_text import in_words
from xpscale.storage import Storage
from xpscale.text import size

if TYPE_CHECKING:
    from xpscale.inference.plan import InferencePlan, InferenceTask
    from xpscale.types import Executor, TaskReport

__all__ = ["Calibration", "calibrate", "probe"]

PROBE_S = 10.0
MIN_TASKS = 4  # a worker: one to warm up, three to measure


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a probe measured.

    Parameters
    ----------
    n_workers
        Workers that were busy.
    n_tasks, n_sources
        How much was done, first tasks included.
    worker_sources_per_s
        Of one worker, while all were busy and after its first task.
    measured_s
        Length of the time in which that holds.
    start_up_s
        How much longer the workers' first tasks took to come back than later ones, on average.
    bytes_in, bytes_out
        Bytes read and written a source.
    peak_memory
        Largest resident set of a worker, in bytes.
    split
        Where the workers' time went, in words.
    """

    n_workers: int
    n_tasks: int
    n_sources: int
    worker_sources_per_s: float
    measured_s: float
    start_up_s: float
    bytes_in: float
    bytes_out: float
    peak_memory: int
    split: str

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for programs."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.worker_sources_per_s * self.n_workers:,.0f} sources/s on {self.n_workers} "
            f"worker{'s' * (self.n_workers != 1)} busy at once ({self.n_sources:,} sources in {self.n_tasks} tasks), "
            f"start-up {self.start_up_s:.1f} s, {size(self.peak_memory)} of memory; {self.split}"
        )


def probe(plan: InferencePlan, executor: Executor, *, device: str = "auto", seconds: float = PROBE_S) -> Calibration:
    """Measure a plan's rate on an executor.

    Parameters
    ----------
    plan
        From `xpscale.plan_inference`.  Nothing is written to its catalogue.
    executor
        Where the run will be.
    device
        Where to compute.
    seconds
        How long, at least, unless the plan has no more tasks; every worker gets four tasks in any case.

    Raises
    ------
    InvalidInputError
        The plan has no tasks.
    IncompleteError
        A task failed; the message says why.
    """
    from xpscale.inference.run import task_function

    if not plan.tasks:
        raise InvalidInputError("there is nothing to probe: the plan has no tasks")
    scratch = Storage(f"{plan.catalog.url}.probe-{uuid.uuid4().hex[:8]}")
    clock, reports, arrived = time.perf_counter(), [], []
    try:
        plan.model.save(scratch / MODEL)
        function = Attempt(task_function(plan, scratch, device), Ledger(scratch / LEDGER))
        n_workers = int(getattr(executor, "n_workers", 1))
        for report in executor.run(function, _feed(plan.tasks, n_workers * MIN_TASKS, clock + seconds)):
            reports.append(report)
            arrived.append(time.perf_counter() - clock)
    finally:
        _remove(scratch)
    if failed := [report for report in reports if not report.status.is_done]:
        raise IncompleteError(f"the probe's task {failed[0].task} {failed[0].status}: {failed[0].error}")
    return calibrate(reports, arrived)


def calibrate(reports: list[TaskReport], arrived: list[float]) -> Calibration:
    """A calibration from reports and the seconds after the probe's start at which they came, in that order."""
    tasks = [TaskTime.of(report) for report in reports]
    own: dict[str, list[int]] = {}
    for i in sorted(range(len(tasks)), key=lambda i: tasks[i].started):
        own.setdefault(tasks[i].worker, []).append(i)
    rate, measured_s = _rate(tasks, list(own.values()))
    waits = [arrived[i] - tasks[i].n_in / rate for i, *_ in own.values()]
    n_in, n_out = sum(task.n_in for task in tasks), sum(task.n_out for task in tasks)
    return Calibration(
        n_workers=len(own),
        n_tasks=len(tasks),
        n_sources=n_in,
        worker_sources_per_s=rate,
        measured_s=measured_s,
        start_up_s=max(0.0, sum(waits) / len(waits)),
        bytes_in=sum(task.bytes_in for task in tasks) / max(n_in, 1),
        bytes_out=sum(task.bytes_out for task in tasks) / max(n_out, 1),
        peak_memory=max(task.peak_memory for task in tasks),
        split=in_words(TimeSplit.of([tasks[i] for _, *later in own.values() for i in later] or tasks)),
    )


def _rate(tasks: list[TaskTime], own: list[list[int]]) -> tuple[float, float]:
    """Sources a second of one worker, and in how many seconds all of them were past their first task and not yet done."""
    begin = max(tasks[first].ended for first, *_ in own)
    end = min(tasks[indices[-1]].ended for indices in own)
    if end > begin:
        rows = sum(
            task.n_in * max(0.0, min(task.ended, end) - max(task.started, begin)) / max(task.wall_s, 1e-9)
            for task in tasks
        )
        return rows / (end - begin) / len(own), end - begin
    # too few tasks for that: of what there are, only the stages, which have no set-up in them
    spent = sum(min(task.wall_s, sum(task.seconds.values())) for task in tasks)
    return sum(task.n_in for task in tasks) / max(spent, 1e-9), spent / len(own)


def _feed(tasks: tuple[InferenceTask, ...], n_least: int, until: float) -> Iterator[InferenceTask]:
    """Tasks from all over the sky, until there are enough of them and the time is up."""
    order = random.Random(0).sample(range(len(tasks)), len(tasks))
    for n, i in enumerate(order):
        if n >= n_least and time.perf_counter() > until:
            return
        yield tasks[i]


def _remove(scratch: Storage) -> None:
    scratch.delete(*scratch.list())
    if scratch.is_local:
        shutil.rmtree(scratch.url, ignore_errors=True)
