"""A short measurement: some of a plan's own tasks on the very workers, storage and device that the
run will use.

All workers are busy at the same time, so what they take from each other (cores, memory bandwidth,
network) is in the rate.  A worker's first tasks are left out of it: imports, loading the model and
filling caches are the start-up, counted separately.  What the tasks write goes to a scratch place,
which is removed.  A killed probe leaves its scratch behind for the next one, which removes what is
older than an hour.
"""

from __future__ import annotations

import random
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from xpscale.catalog.clean import MINIMUM_AGE_S
from xpscale.errors import IncompleteError, InvalidInputError
from xpscale.formatting import format_bytes
from xpscale.runtime.attempt import Attempt
from xpscale.runtime.ledger import Ledger
from xpscale.runtime.split import TaskTime, TimeSplit
from xpscale.runtime.split_text import describe_split
from xpscale.storage import Storage

if TYPE_CHECKING:
    from xpscale.types import Executor, Task, TaskReport

__all__ = ["Calibration", "calibrate", "probe"]

PROBE_S = 10.0
MIN_TASKS = 8  # of a worker, which may do two at a time: one each to warm up, three to measure


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
        How much longer the workers' first tasks took to come back than later ones, on average; with
        ``since``, starting the workers included.
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
            f"{self.worker_sources_per_s * self.n_workers:,.0f} sources/s on {self.n_workers}"
            f" worker{'s' * (self.n_workers != 1)} ({self.n_sources:,} sources in"
            f" {self.n_tasks} tasks), start-up {self.start_up_s:.1f} s,"
            f" {format_bytes(self.peak_memory)} of memory; {self.split}"
        )


def probe(
    tasks: Sequence[Task],
    prepare: Callable[[Storage], Callable[[Any], TaskReport]],
    executor: Executor,
    scratches: Storage,
    *,
    seconds: float = PROBE_S,
    since: float | None = None,
) -> Calibration:
    """Measure the rate at which an executor does some tasks.

    Parameters
    ----------
    tasks
        All tasks of a plan; some of them, from all over the list, are done.
    prepare
        Called with the scratch place of this probe; returns the function of a task, which writes
        there and nowhere else.
    executor
        Where the run will be.
    scratches
        Where probes of this plan have their scratch places.
    seconds
        How long, at least, from the first task's end, unless the plan has no more tasks; every
        worker gets eight tasks in any case.
    since
        When starting the workers began, on the clock of `time.perf_counter`; now, if not given.

    Raises
    ------
    InvalidInputError
        There are no tasks.
    IncompleteError
        A task failed; the message says why.
    """
    if not tasks:
        raise InvalidInputError("there is nothing to probe: the plan has no tasks")
    _remove_left_behind(scratches)
    scratch = scratches / uuid.uuid4().hex[:8]
    clock = time.perf_counter() if since is None else since
    reports: list[TaskReport] = []
    arrived: list[float] = []

    def chosen() -> Iterator[Task]:
        n_least = executor.n_workers * MIN_TASKS
        for n, task in enumerate(random.Random(0).sample(tasks, len(tasks))):
            if n >= n_least and arrived and time.perf_counter() - clock > arrived[0] + seconds:
                return
            yield task

    try:
        attempt = Attempt(prepare(scratch), Ledger(scratch))  # with the requests of the real run
        for report in executor.run(attempt, chosen()):
            reports.append(report)
            arrived.append(time.perf_counter() - clock)
    finally:
        scratch.remove()
    if failed := [report for report in reports if not report.status.is_done]:
        raise IncompleteError(
            f"the probe's task {failed[0].task} {failed[0].status}: {failed[0].error}"
        )
    return calibrate(reports, arrived)


def calibrate(reports: list[TaskReport], arrived: list[float]) -> Calibration:
    """A calibration from the reports of some tasks.

    Parameters
    ----------
    reports
        In the order in which they came.
    arrived
        Seconds from the probe's start until each of them came.
    """
    times = [TaskTime.of(report) for report in reports]
    own: dict[str, list[TaskTime]] = {}
    for task in sorted(times, key=lambda task: task.started):
        own.setdefault(task.worker, []).append(task)
    rate, measured_s = _rate(list(own.values()))
    came = dict(zip((task.task for task in times), arrived, strict=True))
    waits = [
        max(came[t.task] for t in first) - sum(t.n_in for t in first) / rate
        for first in map(_first, own.values())
    ]
    n_in, n_out = sum(task.n_in for task in times), sum(task.n_out for task in times)
    warm = [task for tasks in own.values() for task in tasks if task not in _first(tasks)]
    return Calibration(
        n_workers=len(own),
        n_tasks=len(times),
        n_sources=n_in,
        worker_sources_per_s=rate,
        measured_s=measured_s,
        start_up_s=max(0.0, sum(waits) / len(waits)),
        bytes_in=sum(task.bytes_in for task in times) / max(n_in, 1),
        bytes_out=sum(task.bytes_out for task in times) / max(n_out, 1),
        peak_memory=max(task.peak_memory for task in times),
        split=describe_split(TimeSplit.of(warm or times)),
    )


def _first(tasks: list[TaskTime]) -> list[TaskTime]:
    """Of one worker's tasks, by start: those begun before any had ended, which waited for its
    start-up.
    """
    first_end = min(task.ended for task in tasks)
    return [task for task in tasks if task.started < first_end] or tasks[:1]


def _rate(own: list[list[TaskTime]]) -> tuple[float, float]:
    """Sources a second of one worker, and in how many seconds all were past their first tasks and
    had no place free yet.
    """
    begin = max(task.ended for tasks in own for task in _first(tasks))
    end = min(task.ended for tasks in own for task in tasks if task.ended > tasks[-1].started)
    tasks = [task for each in own for task in each]
    if end > begin:
        rows = sum(
            task.n_in
            * max(0.0, min(task.ended, end) - max(task.started, begin))
            / max(task.wall_s, 1e-9)
            for task in tasks
        )
        return rows / (end - begin) / len(own), end - begin
    # too few tasks for that: of what there are, only the stages, which have no set-up in them
    spent = sum(min(task.wall_s, sum(task.seconds.values())) for task in tasks)
    return sum(task.n_in for task in tasks) / max(spent, 1e-9), spent / len(own)


def _remove_left_behind(scratches: Storage) -> None:
    """Remove the scratch places in which nothing was written for `MINIMUM_AGE_S`."""
    latest: dict[str, float] = {}
    for key, (_, written) in scratches.objects().items():
        name = key.partition("/")[0]
        latest[name] = max(written, latest.get(name, 0.0))
    for name, written in latest.items():
        if re.fullmatch("[0-9a-f]{8}", name) and time.time() - written > MINIMUM_AGE_S:
            (scratches / name).remove()
