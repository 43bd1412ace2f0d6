"""A run of all partitions of DR3 with stand-in work, on a real Dask scheduler and real worker
processes; and its planning.

Everything is real but the encoding: plan, ledger, window, reports, record, progress; a task sleeps
for as long as its sources would take.  *Overhead* is wall time beyond the exact schedule of those
sleeps (handed out in order to whoever is free), as a share of it; *a task* is wall time of the run
in which tasks take no time, over their number.  Memory is the resident set of client and scheduler
(separate processes) after each quarter of the tasks.

``$XPSCALE_BENCH_WORKERS`` (16), ``$XPSCALE_BENCH_RATES``: sources a second of a worker, for a run
each (100,000: a CPU worker)."""

from __future__ import annotations

import heapq
import io
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from tests.support.dask_cluster import DaskProcesses, dask_processes
from xpscale.formatting import format_bytes
from xpscale.runtime.events import TaskEnded
from xpscale.runtime.executors.dask import DaskExecutor, connect
from xpscale.runtime.history import History
from xpscale.runtime.ledger import Ledger
from xpscale.runtime.progress import TerminalProgress
from xpscale.runtime.run import run_stage
from xpscale.storage import Storage
from xpscale.store.partitions import adaptive_partitions
from xpscale.testing.sky_density import source_counts
from xpscale.types import Partition, TaskReport, TaskStatus

N_SOURCES = 219_197_643
N_WORKERS = int(os.environ.get("XPSCALE_BENCH_WORKERS", 16))
RATES = os.environ.get("XPSCALE_BENCH_RATES", "100_000")


@dataclass(frozen=True)
class StandInTask:
    """A partition of DR3."""

    partition: Partition

    @property
    def key(self) -> str:
        """As of an inference task."""
        return self.partition.pixel.key


@dataclass(frozen=True)
class StandIn:
    """Sleeps instead of encoding."""

    sources_per_s: float

    def __call__(self, task: StandInTask) -> TaskReport:
        """The report of a task that wrote nothing."""
        seconds = task.partition.n_rows / self.sources_per_s
        time.sleep(seconds)
        n_rows = task.partition.n_rows
        return TaskReport(
            task.key,
            TaskStatus.EMPTY,
            n_in=n_rows,
            n_rejected={"stand_in": n_rows},
            forward_s=seconds,
        )


class Memory:
    """Notes the resident sets of client and scheduler after each quarter of the tasks."""

    def __init__(self, cluster: DaskProcesses, n_tasks: int) -> None:
        self.processes = {
            "client": psutil.Process(),
            "scheduler": psutil.Process(cluster.scheduler_pid),
        }
        self.at = {max(1, n_tasks * quarter // 4) for quarter in range(5)}
        self.n, self.seen = 0, dict[int, dict[str, int]]()

    def __call__(self, event: object) -> None:
        """Hear one event."""
        self.n += isinstance(event, TaskEnded)
        if isinstance(event, TaskEnded) and self.n in self.at:
            self.seen[self.n] = {
                name: process.memory_info().rss for name, process in self.processes.items()
            }


def dr3_partitions() -> tuple[Partition, ...]:
    """Partitions of as many sources as DR3 has spectra, on a sky with disc, bulge and clusters."""
    by_density = source_counts(N_SOURCES, 1)
    counts = np.repeat(by_density // 4, 4)
    counts[::4] += by_density % 4
    return adaptive_partitions(counts)


def schedule_s(seconds: list[float], n_workers: int) -> float:
    """Wall time of tasks that are handed out in order to whoever is free."""
    free = [0.0] * n_workers
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


def main() -> None:
    """Print the tables."""
    partitions = dr3_partitions()
    tasks = [StandInTask(partition) for partition in partitions]
    print(f"{len(tasks):,} tasks, {N_SOURCES:,} sources, {N_WORKERS} workers\n")
    with (
        tempfile.TemporaryDirectory(prefix="xpscale-bench-") as folder,
        dask_processes(N_WORKERS, folder) as cluster,
    ):
        _run(cluster, tasks[:100], np.inf, Path(folder) / "warm-up")
        print(
            f"{'sources/s of a worker':>22} {'schedule s':>11} {'wall s':>8} {'overhead':>9}"
            f" {'ms a task':>10}"
        )
        for i, rate in enumerate((np.inf, *map(float, RATES.split(",")))):
            wall_s, memory = _run(cluster, tasks, rate, Path(folder) / f"run-{i}")
            least_s = schedule_s([partition.n_rows / rate for partition in partitions], N_WORKERS)
            share = f"{wall_s / least_s - 1:9.1%}" if least_s else " " * 9
            print(
                f"{rate:22,.0f} {least_s:11.1f} {wall_s:8.1f} {share}"
                f" {(wall_s - least_s) / len(tasks) * 1e3:10.2f}"
            )
            for n, seen in memory.seen.items():
                print(
                    " " * 8
                    + f"after {n:5,} tasks: "
                    + ", ".join(f"{name} {format_bytes(rss)}" for name, rss in seen.items())
                )


def _run(
    cluster: DaskProcesses, tasks: list[StandInTask], rate: float, place: Path
) -> tuple[float, Memory]:
    storage, memory = Storage(str(place)), Memory(cluster, len(tasks))
    callbacks = [History(storage), TerminalProgress(io.StringIO()), memory]
    with connect(cluster.address) as client:
        clock = time.perf_counter()
        reports = run_stage(
            "stand-in",
            StandIn(rate),
            tasks,
            DaskExecutor(client),
            Ledger(storage),
            callbacks=callbacks,
            rows=lambda task: task.partition.n_rows,
        )
        wall_s = time.perf_counter() - clock
    assert all(report.status.is_done for report in reports.values())
    assert len(reports) == len(tasks)
    return wall_s, memory


if __name__ == "__main__":
    main()
