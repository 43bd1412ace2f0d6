"""Where the time of a run went: by worker and stage, from the reports of its tasks.

Stages overlap: the next rows are read while these are encoded and the previous ones are written.
A stage's seconds are those in which it was *busy*, without those in which it waited for another
stage.  Its share of the worker's wall time says how near it is to being the bottleneck; the shares
of all stages may add up to more than 1.  The largest share bounds the worker: a stage that is busy
all the time sets the rate, and where stages take turns the largest is the one that is worth making
faster.

Start-up, other and idle are wall time in which no stage is known to have been busy; they count in
the same way.  All times come from the workers' clocks, so the client's clock does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from xpscale.types import TaskReport

__all__ = ["STAGES", "TaskTime", "TimeSplit", "WorkerSplit"]

STAGES = ("read", "decode", "to_device", "forward", "encode", "write")
"""In the order in which the rows pass through them; `TaskReport` has the seconds of each as
``<stage>_s``.
"""

DECIMALS = 4  # of a second, in what is kept


@dataclass(frozen=True, slots=True)
class TaskTime:
    """What a run's record keeps of one finished task.

    Parameters
    ----------
    task, worker
        Its key, and the process that did it.
    started, wall_s
        Seconds since 1970 (UTC) on the worker's clock, and how long it took.
    n_in, n_out
        Sources read and written.
    bytes_in, bytes_out
        Bytes read (0 if the task did not say) and written.
    peak_memory
        Of the worker until then, in bytes.
    read_s, decode_s, to_device_s, forward_s, encode_s, write_s
        Busy seconds of each stage.
    n_rejected
        Sources left out, by reason.
    """

    task: str
    worker: str
    started: float
    wall_s: float
    n_in: int
    n_out: int
    bytes_in: int
    bytes_out: int
    peak_memory: int
    read_s: float
    decode_s: float
    to_device_s: float
    forward_s: float
    encode_s: float
    write_s: float
    n_rejected: Mapping[str, int]

    @staticmethod
    def of(report: TaskReport) -> TaskTime:
        """The times in a report."""
        seconds: dict[str, Any] = {
            f"{stage}_s": round(getattr(report, f"{stage}_s"), DECIMALS) for stage in STAGES
        }
        return TaskTime(
            task=report.task,
            worker=report.worker,
            started=round(report.started, DECIMALS),
            wall_s=round(report.wall_s, DECIMALS),
            n_in=report.n_in,
            n_out=report.n_out,
            bytes_in=int(report.details.get("bytes_in", 0)),
            bytes_out=sum(part.n_bytes for part in report.parts),
            peak_memory=report.peak_memory,
            n_rejected=dict(report.n_rejected),
            **seconds,
        )

    @property
    def ended(self) -> float:
        """Seconds since 1970 (UTC) on the worker's clock."""
        return self.started + self.wall_s

    @property
    def seconds(self) -> dict[str, float]:
        """Busy seconds by stage."""
        return {stage: getattr(self, f"{stage}_s") for stage in STAGES}

    @property
    def other_s(self) -> float:
        """Wall time that no stage accounts for; a lower bound where stages overlapped."""
        return max(0.0, self.wall_s - sum(self.seconds.values()))


@dataclass(frozen=True, slots=True)
class WorkerSplit:
    """What one worker did between its first task and the end of the run.

    Parameters
    ----------
    worker
        The process.
    n_tasks, n_in, bytes_in, bytes_out
        What went through it.
    wall_s
        From the start of its first task to the end of the run's last.
    seconds
        Busy seconds by stage, summed over its tasks.
    start_up_s
        Wall time of its first task (of several begun together, the longest) that no stage accounts
        for: imports, loading the model.
    other_s
        The same of its later tasks: looking into the ledger, waiting to try again.
    idle_s
        Wall time without a task: waiting for the scheduler, or for others at the end.
    peak_memory
        Bytes.
    """

    worker: str
    n_tasks: int
    n_in: int
    bytes_in: int
    bytes_out: int
    wall_s: float
    seconds: Mapping[str, float]
    start_up_s: float
    other_s: float
    idle_s: float
    peak_memory: int

    @property
    def sources_per_s(self) -> float:
        """Sources through this worker in a second of its wall time."""
        return self.n_in / self.wall_s if self.wall_s else 0.0

    @property
    def bytes_in_per_s(self) -> float:
        """Bytes read in a second of its wall time."""
        return self.bytes_in / self.wall_s if self.wall_s else 0.0

    @property
    def bytes_out_per_s(self) -> float:
        """Bytes written in a second of its wall time."""
        return self.bytes_out / self.wall_s if self.wall_s else 0.0

    @property
    def spent(self) -> dict[str, float]:
        """Seconds of each stage, of ``start_up``, ``other`` and ``idle``."""
        return {
            **self.seconds,
            "start_up": self.start_up_s,
            "other": self.other_s,
            "idle": self.idle_s,
        }

    @property
    def shares(self) -> dict[str, float]:
        """`spent` as shares of the worker's wall time; more than 1 in all where stages overlap."""
        return {
            name: seconds / self.wall_s if self.wall_s else 0.0
            for name, seconds in self.spent.items()
        }

    @property
    def bound_by(self) -> str:
        """The largest of `shares` by name; empty if nothing has taken any time."""
        shares = self.shares
        return max(shares, key=lambda name: shares[name]) if any(shares.values()) else ""

    @property
    def busiest_stage(self) -> str:
        """The stage with the largest share: what bounds a run in which start-up is negligible."""
        return (
            max(STAGES, key=lambda stage: self.seconds[stage]) if any(self.seconds.values()) else ""
        )


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """The split of every worker, and of all of them together."""

    workers: tuple[WorkerSplit, ...]

    @staticmethod
    def of(tasks: Iterable[TaskTime]) -> TimeSplit:
        """The split of some tasks of one run; by worker, sorted by name."""
        by_worker: dict[str, list[TaskTime]] = {}
        for task in tasks:
            by_worker.setdefault(task.worker, []).append(task)
        end = max((task.ended for own in by_worker.values() for task in own), default=0.0)
        return TimeSplit(
            tuple(_worker_split(name, own, end) for name, own in sorted(by_worker.items()))
        )

    @property
    def total(self) -> WorkerSplit:
        """All workers as one: seconds and wall times are sums of theirs."""
        sums: dict[str, Any] = {
            field.name: sum(getattr(worker, field.name) for worker in self.workers)
            for field in fields(WorkerSplit)
            if field.name not in ("worker", "seconds", "peak_memory")
        }
        seconds = {stage: sum(worker.seconds[stage] for worker in self.workers) for stage in STAGES}
        peak = max((worker.peak_memory for worker in self.workers), default=0)
        return WorkerSplit(worker="all", seconds=seconds, peak_memory=peak, **sums)

    @property
    def sources_per_s(self) -> float:
        """Sources a second through all workers while they worked, first to last task."""
        return sum(worker.sources_per_s for worker in self.workers)

    @property
    def bytes_in_per_s(self) -> float:
        """Bytes read in a second by all workers together."""
        return sum(worker.bytes_in_per_s for worker in self.workers)

    @property
    def bytes_out_per_s(self) -> float:
        """Bytes written in a second by all workers together."""
        return sum(worker.bytes_out_per_s for worker in self.workers)

    @property
    def bound_by(self) -> str:
        """What bounds all of them, as `WorkerSplit.bound_by`; empty before the first task ended."""
        return self.total.bound_by


def _worker_split(name: str, tasks: list[TaskTime], end: float) -> WorkerSplit:
    tasks = sorted(tasks, key=lambda task: task.started)
    wall_s = end - tasks[0].started
    busy_s, until = 0.0, tasks[0].started
    for task in tasks:  # a worker with several threads has several tasks at a time
        busy_s += max(0.0, task.ended - max(task.started, until))
        until = max(until, task.ended)
    seconds = {stage: sum(task.seconds[stage] for task in tasks) for stage in STAGES}
    first_end = min(task.ended for task in tasks)
    return WorkerSplit(
        worker=name,
        n_tasks=len(tasks),
        n_in=sum(task.n_in for task in tasks),
        bytes_in=sum(task.bytes_in for task in tasks),
        bytes_out=sum(task.bytes_out for task in tasks),
        wall_s=wall_s,
        seconds=seconds,
        start_up_s=max(
            task.other_s for task in tasks if task.started < first_end or task is tasks[0]
        ),
        other_s=sum(
            task.other_s for task in tasks if task.started >= first_end and task is not tasks[0]
        ),
        idle_s=max(0.0, wall_s - busy_s),
        peak_memory=max(task.peak_memory for task in tasks),
    )
