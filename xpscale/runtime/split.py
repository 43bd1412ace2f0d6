"""Where the time of a run went: by worker and stage, from the reports of its tasks.

A task's stages may run side by side (the next rows are read while these are encoded), so a worker's stage seconds can add
up to more than its wall time; `WorkerSplit.idle_s` and `other_s` are wall time.  Every number comes from the clocks of
the workers themselves: a client whose clock is wrong changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from xpscale.types import TaskReport

__all__ = ["STAGES", "TaskTime", "TimeSplit", "WorkerSplit"]

STAGES = ("read", "decode", "to_device", "forward", "encode", "write")
"""In the order in which the rows pass through them; `TaskReport` has the seconds of each as ``<stage>_s``."""

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
        Seconds of each stage.
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
        seconds: dict[str, Any] = {f"{stage}_s": round(getattr(report, f"{stage}_s"), DECIMALS) for stage in STAGES}
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
        """Seconds by stage."""
        return {stage: getattr(self, f"{stage}_s") for stage in STAGES}

    @property
    def other_s(self) -> float:
        """Wall time that no stage accounts for."""
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
        By stage, summed over its tasks.
    start_up_s
        Wall time of its first task that no stage accounts for: imports, loading the model.
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
    def spent(self) -> dict[str, float]:
        """Seconds of each stage, of ``start_up``, ``other`` and ``idle``."""
        return {**self.seconds, "start_up": self.start_up_s, "other": self.other_s, "idle": self.idle_s}

    @property
    def shares(self) -> dict[str, float]:
        """`spent` as shares of the worker's wall time; stages side by side exceed 1."""
        return {name: seconds / self.wall_s if self.wall_s else 0.0 for name, seconds in self.spent.items()}


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
        return TimeSplit(tuple(_worker_split(name, own, end) for name, own in sorted(by_worker.items())))

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
    def bound_by(self) -> str:
        """What took most of the workers' time, by its name in `WorkerSplit.spent`; empty before the first task ended."""
        shares = self.total.shares
        return max(shares, key=lambda name: shares[name]) if any(shares.values()) else ""

    def describe(self) -> str:
        """``read 12 %, forward 61 %, ..., idle 3 % of worker time; bound by forward``."""
        spent = ", ".join(
            f"{name.replace('_', ' ')} {share:.0%}" for name, share in self.total.shares.items() if share >= 0.005
        )
        return f"{spent} of worker time; bound by {self.bound_by.replace('_', ' ')}" if spent else ""


def _worker_split(name: str, tasks: list[TaskTime], end: float) -> WorkerSplit:
    tasks = sorted(tasks, key=lambda task: task.started)
    wall_s = end - tasks[0].started
    busy_s, until = 0.0, tasks[0].started
    for task in tasks:  # a worker with several threads has several tasks at once
        busy_s += max(0.0, task.ended - max(task.started, until))
        until = max(until, task.ended)
    seconds = {stage: sum(task.seconds[stage] for task in tasks) for stage in STAGES}
    return WorkerSplit(
        worker=name,
        n_tasks=len(tasks),
        n_in=sum(task.n_in for task in tasks),
        bytes_in=sum(task.bytes_in for task in tasks),
        bytes_out=sum(task.bytes_out for task in tasks),
        wall_s=wall_s,
        seconds=seconds,
        start_up_s=tasks[0].other_s,
        other_s=sum(task.other_s for task in tasks[1:]),
        idle_s=max(0.0, wall_s - busy_s),
        peak_memory=max(task.peak_memory for task in tasks),
    )
