"""The pass over a store that makes a `Sketch`: a stage like ingest and inference, with a range of
partitions as a task.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import IncompleteError, InvalidInputError, TryAgainError
from xpscale.model.scaling import trainable_rows
from xpscale.runtime.attempt import run_error
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.runtime.run import run_stage
from xpscale.sampling.sketch import SketchBuilder
from xpscale.types import Stopwatch, TaskReport, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from xpscale.runtime.events import Callback
    from xpscale.sampling.cells import Cells
    from xpscale.sampling.held_out import HeldOutSplit
    from xpscale.sampling.sketch import Sketch
    from xpscale.spectra import SpectraReader
    from xpscale.types import Executor, Partition

__all__ = ["OVERSAMPLING", "PartitionRange", "SketchPartitions", "sketch_store"]

OVERSAMPLING = 8.0
"""How many times as much of a cell as a uniform draw takes is kept for draws that take more."""

TASKS_PER_WORKER = 16

ALWAYS_READ = ("source_id", "ra", "dec")
"""What every sketch needs of a row: its key, and whether its position is held out."""


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
    """Count the objects that may be trained on, and keep enough of them to draw n, in one pass.

    Parameters
    ----------
    reader
        The store.
    cells
        What is counted.
    split
        The part of the sky that is left out.
    n, seed
        Number of objects to draw, and which of the possible draws.
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
    IncompleteError
        If a partition cannot be read; the message names the first and its cause.
    TryAgainError
        If passing faults, and nothing else, have kept partitions from being read.
    """
    if not oversampling >= 1:
        raise InvalidInputError(f"the oversampling is {oversampling}", "Use at least 1")
    share = min(1.0, oversampling * n / max(reader.n_rows, 1))
    function = SketchPartitions(reader, cells, split, n, share, seed)
    executor, total = executor or SerialExecutor(), function.builder()

    def add_to_total(report: TaskReport) -> TaskReport:
        if report.status.is_done:
            total.merge(report.details["sketch"])
            report = replace(report, details={})  # a sketch is large: one at a time is in memory
        return report

    reports = run_stage(
        "sample",
        function,
        _tasks(reader, TASKS_PER_WORKER * max(executor.n_workers, 1)),
        executor,
        callbacks=callbacks,
        rows=lambda task: task.n_rows,
        receive=add_to_total,
    )
    _require_all(reports)
    return total.sketch()


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """A task: neighbouring partitions of a store.

    Parameters
    ----------
    first, end
        Number of the first partition, and of the one after the last.
    n_rows
        Rows of all of them.
    """

    first: int
    end: int
    n_rows: int

    @property
    def key(self) -> str:
        """Stable name of the task: the first and the last partition."""
        return f"partitions-{self.first}-{self.end - 1}"


@dataclass(frozen=True)
class SketchPartitions:
    """The function of a task: a sketch of some partitions, in the report's ``details``.

    Parameters
    ----------
    reader, cells, split, n, seed
        As of `sketch_store`.
    share
        Share of the range of keys below which every object is kept.
    """

    reader: SpectraReader
    cells: Cells
    split: HeldOutSplit
    n: int
    share: float
    seed: int

    def builder(self) -> SketchBuilder:
        """An empty sketch."""
        return SketchBuilder(self.cells.n_cells, self.n, self.share, self.seed)

    def __call__(self, task: PartitionRange) -> TaskReport:
        """Sketch the partitions of a task, one after the other."""
        builder, watch, n_in, n_unusable = self.builder(), Stopwatch(), 0, 0
        for number in range(task.first, task.end):
            partition = self.reader.partitions[number]
            with watch("read_s"):
                columns, is_usable = self._read(partition)
            n_in, n_unusable = n_in + len(is_usable), n_unusable + int((~is_usable).sum())
            rows = np.flatnonzero(is_usable)
            is_held_out = self.split.is_held_out(columns["ra"][rows], columns["dec"][rows])
            rows = rows[~is_held_out]
            if len(rows):
                numbers = self.cells.numbers(partition, columns, self.reader.bands)
                builder.add(numbers[rows], columns["source_id"][rows], number, rows)
        sketch = builder.sketch()
        n_out = sketch.n_available
        rejected = {"unusable": n_unusable, "held_out": n_in - n_unusable - n_out}
        return TaskReport(
            task.key,
            TaskStatus.WRITTEN,
            n_in=n_in,
            n_out=n_out,
            n_rejected={reason: count for reason, count in rejected.items() if count},
            details={"sketch": sketch},
            read_s=watch.seconds["read_s"],
        )

    def _read(self, partition: Partition) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
        """What is needed of a partition's rows, and which of them are usable, with shape (N,)."""
        names = tuple(dict.fromkeys((*ALWAYS_READ, *self.cells.columns)))
        if self.reader.is_checked:
            columns = self.reader.read_columns(partition, names)
            finite = (np.isfinite(v).reshape(len(v), -1).all(1) for v in columns.values())
            return columns, np.logical_and.reduce([*finite])  # a band may be missing
        batch = self.reader.read(partition)
        return {name: getattr(batch, name) for name in names}, trainable_rows(batch)


def _tasks(reader: SpectraReader, n_tasks: int) -> list[PartitionRange]:
    """Ranges of partitions with about equally many rows."""
    ends = np.cumsum([0, *(partition.n_rows for partition in reader.partitions)])
    n_partitions = len(ends) - 1
    if not n_partitions:
        return []
    wanted = np.linspace(0, ends[-1], min(n_tasks, n_partitions) + 1)[1:-1]
    cuts = np.unique([0, *(np.searchsorted(ends[1:], wanted) + 1), n_partitions])
    return [PartitionRange(int(a), int(b), int(ends[b] - ends[a])) for a, b in pairwise(cuts)]


def _require_all(reports: dict[str, TaskReport]) -> None:
    """Refuse to draw from a part of a store."""
    failed = [report for report in reports.values() if not report.status.is_done]
    if not failed:
        return
    text = (
        f"{len(failed)} of {len(reports)} parts of the store could not be read, the first is"
        f" {failed[0].task}: {failed[0].error.rstrip('.')}"
    )
    if all(report.details.get("exit_code") == TryAgainError.exit_code for report in failed):
        raise TryAgainError(text, "The causes may pass: run the same command again")
    error = IncompleteError(text, "Repair the cause and run the same command again")
    raise run_error(error, failed)
