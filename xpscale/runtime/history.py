"""What a run did, kept as one small object: written while it goes on, read by `status` and `plot
run` from anywhere.

A thousand ledger entries are a thousand requests; the record of a run is one.  It is a copy of what
the ledger holds: nothing depends on it, and a run that was killed leaves a record that is some
seconds old.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields

from xpscale.errors import XpscaleError
from xpscale.json_files import from_fields, parse_json
from xpscale.runtime.events import (
    CHANGES,
    Event,
    RunEnded,
    RunStarted,
    TaskEnded,
    WorkerChanged,
    run_name,
)
from xpscale.runtime.split import TaskTime, TimeSplit
from xpscale.storage import Storage
from xpscale.types import TaskReport, TaskStatus

__all__ = ["History", "RunRecord", "read_records"]

RUNS = "runs"

SAVE_EVERY_S = 10.0

MOST_CHANGES = 1000

RECENT_S = 60.0
"""Rates are of the last minute, or of ten tasks a worker if that is longer."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a stage, up to ``updated``.

    Parameters
    ----------
    stage, client
        What ran, and the machine and process that directed it.
    started, updated
        Seconds since 1970 (UTC), on the client's clock.
    is_over
        Whether it ended or was interrupted; False for one that goes on or was killed.
    n_tasks, n_rows
        Of the whole plan.
    n_done_elsewhere, n_rows_done_elsewhere
        What other runs finished: before this one, or meanwhile.
    n_workers
        Worker processes at the start.
    n_failed
        Tasks that failed in this run.
    tasks
        Those it finished, in the order in which they ended.
    changes
        What happened to workers, the last `MOST_CHANGES`.
    """

    stage: str
    client: str
    started: float
    updated: float
    is_over: bool
    n_tasks: int
    n_rows: int
    n_done_elsewhere: int
    n_rows_done_elsewhere: int
    n_workers: int
    n_failed: int
    tasks: tuple[TaskTime, ...]
    changes: tuple[WorkerChanged, ...] = ()

    @property
    def name(self) -> str:
        """Of the run, see `xpscale.runtime.events.run_name`."""
        return run_name(self.started, self.client)

    @property
    def n_changes(self) -> dict[str, int]:
        """How often each of `xpscale.runtime.events.CHANGES` happened, without those that did
        not.
        """
        counts = Counter(change.what for change in self.changes)
        return {what: counts[what] for what in CHANGES if counts[what]}

    @property
    def wall_s(self) -> float:
        """Seconds from its start to ``updated``."""
        return self.updated - self.started

    @property
    def start_up_s(self) -> float:
        """Seconds until the first task began, on a worker's clock: listing the ledger, waiting for
        workers.
        """
        return max(
            0.0, min((task.started for task in self.tasks), default=self.updated) - self.started
        )

    @property
    def split(self) -> TimeSplit:
        """Where the time went."""
        return TimeSplit.of(self.tasks)

    @property
    def n_rows_left(self) -> int:
        """Sources of tasks that have not ended."""
        return max(
            0, self.n_rows - self.n_rows_done_elsewhere - sum(task.n_in for task in self.tasks)
        )

    @property
    def sources_per_s(self) -> float:
        """Recent rate of all workers together: of the last `RECENT_S`, or ten tasks of each worker,
        before the last task ended.

        The time until the very first task ended is left out where there are others: that task waits
        for imports.
        """
        if not self.tasks:
            return 0.0
        end = max(task.ended for task in self.tasks)
        tenth = sorted((task.started for task in self.tasks), reverse=True)[
            : 10 * max(1, self.n_workers)
        ][-1]
        begin = max(min(end - RECENT_S, tenth), min(task.ended for task in self.tasks))
        if begin >= end:
            begin = min(task.started for task in self.tasks)
        rows = sum(
            task.n_in * max(0.0, task.ended - max(task.started, begin)) / max(task.wall_s, 1e-9)
            for task in self.tasks
        )
        return rows / max(end - begin, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest will take at the present rate; ``None`` if there is no rate yet."""
        rate = self.sources_per_s
        return self.n_rows_left / rate if rate else None

    def to_json(self) -> str:
        """The record as JSON; tasks by column, which is a third of the size."""
        head = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("tasks", "changes")
        }
        head["changes"] = [asdict(change) for change in self.changes]
        names = [field.name for field in fields(TaskTime)]
        columns = {name: [getattr(task, name) for task in self.tasks] for name in names}
        return json.dumps({**head, "tasks": columns}) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> RunRecord:
        """The record that `to_json` wrote."""
        values = parse_json(text)
        columns = values["tasks"]
        rows = zip(*columns.values(), strict=True)
        tasks = [dict(zip(columns, row, strict=True)) for row in rows]
        return from_fields(RunRecord, {**values, "tasks": tasks})


class History:
    """A callback that keeps the record of a run, and saves it every few seconds.

    Parameters
    ----------
    storage
        Where to save it: ``runs/NAME.json`` below; it is in memory only if not given.
    every_s
        Seconds between saves.
    """

    def __init__(self, storage: Storage | None = None, every_s: float = SAVE_EVERY_S) -> None:
        self._storage, self._every_s = storage, every_s
        self._begin(RunStarted("", 0, 0))

    def _begin(self, event: RunStarted) -> None:
        self._start, self._saved = event, time.time()
        self._ended: float | None = None
        self._tasks: list[TaskTime] = []
        self._changes: deque[WorkerChanged] = deque(maxlen=MOST_CHANGES)
        self._n_failed, self._n_elsewhere, self._n_rows_elsewhere = (
            0,
            event.n_done,
            event.n_rows_done,
        )

    def __call__(self, event: Event) -> None:
        """Take note of what happened."""
        if isinstance(event, RunStarted):
            self._begin(event)
            self._save()
        elif isinstance(event, RunEnded):
            self._ended = time.time()
            self._save()
        else:
            if isinstance(event, TaskEnded):
                self._take(event.report)
            else:
                self._changes.append(event)
            if time.time() - self._saved > self._every_s:
                self._save()

    def _take(self, report: TaskReport) -> None:
        if report.status in (TaskStatus.WRITTEN, TaskStatus.EMPTY):
            self._tasks.append(TaskTime.of(report))
        elif report.status.is_done:
            self._n_elsewhere += 1
            self._n_rows_elsewhere += report.n_in
        else:
            self._n_failed += 1

    def _save(self) -> None:
        self._saved = time.time()
        if self._storage is not None and self._start.n_done < self._start.n_tasks:
            record = self.record
            with contextlib.suppress(XpscaleError):  # a run goes on without its record
                key = f"{RUNS}/{record.name}.json"
                self._storage.replace(
                    key, record.to_json().encode(), lambda there: _record(key, there) is not None
                )

    @property
    def record(self) -> RunRecord:
        """The run so far."""
        return RunRecord(
            stage=self._start.stage,
            client=self._start.client,
            started=self._start.started,
            updated=self._ended or time.time(),
            is_over=self._ended is not None,
            n_tasks=self._start.n_tasks,
            n_rows=self._start.n_rows,
            n_done_elsewhere=self._n_elsewhere,
            n_rows_done_elsewhere=self._n_rows_elsewhere,
            n_workers=self._start.n_workers,
            n_failed=self._n_failed,
            tasks=tuple(self._tasks),
            changes=tuple(self._changes),
        )


def read_records(storage: Storage) -> tuple[RunRecord, ...]:
    """The records of all runs below a place, oldest first: one listing, then a read each.

    Other files among them are passed over: nothing depends on a record.
    """
    keys = [key for key in storage.list(RUNS) if key.endswith(".json")]
    with ThreadPoolExecutor(16) as threads:
        found = zip(keys, threads.map(storage.read, keys), strict=True)
        records = [record for key, data in found if (record := _record(key, data))]
    return tuple(records)


def _record(key: str, data: bytes) -> RunRecord | None:
    """The record of a key, or ``None`` if it holds something else."""
    try:
        record = RunRecord.from_json(data)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return record if key == f"{RUNS}/{record.name}.json" else None
