"""How far a run is, how fast it goes and what bounds it, seen from any machine that reaches the
catalogue.

Which tasks are done is what the ledger says: one listing.  What they did is read from the records
of the runs, one object a run; only tasks that no record has yet (of the last seconds, or of a
client that was killed) are looked up one by one.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

from xpscale.catalog.identity import read_identity
from xpscale.catalog.layout import LEDGER
from xpscale.catalog.snapshots import snapshots
from xpscale.formatting import format_duration
from xpscale.runtime.events import CHANGES, WorkerChanged
from xpscale.runtime.history import RunRecord, read_records
from xpscale.runtime.ledger import Ledger
from xpscale.runtime.split import TaskTime, TimeSplit
from xpscale.runtime.split_text import describe_workers
from xpscale.storage import Storage

__all__ = ["RunStatus", "follow_status", "run_status"]

MOST_SHOWN = 5
"""Of what happened to workers, in text."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Where a run stands.

    Parameters
    ----------
    url
        The catalogue.
    n_tasks, n_done, n_failed
        Of the plan; finished; failed last and not finished since.
    n_in, n_out, n_rejected
        Sources of the finished tasks: read, written, left out by reason.
    snapshot
        Number of the published version, 0 if there is none.
    errors
        Why tasks failed, by key.
    run
        Name of the latest run; empty if no run has left a record.  What follows is of this run
        alone.
    is_over, news_s
        Whether it ended or was interrupted, and the age of what is known of it in seconds.
    n_workers
        Worker processes: those that finished tasks, or before any has, those that the run began
        with.
    sources_per_s, left_s
        Through all workers lately, and how long the rest takes at that rate (``None`` if nothing is
        known).
    split
        Where each worker's time went.
    changes
        What happened to workers, oldest first; see `xpscale.runtime.events.WorkerChanged`.
    """

    url: str
    n_tasks: int
    n_done: int
    n_failed: int
    n_in: int
    n_out: int
    n_rejected: Mapping[str, int]
    snapshot: int
    errors: Mapping[str, str]
    run: str = ""
    is_over: bool = True
    news_s: float = 0.0
    n_workers: int = 0
    sources_per_s: float = 0.0
    left_s: float | None = None
    split: TimeSplit = field(default_factory=lambda: TimeSplit(()))
    changes: tuple[WorkerChanged, ...] = ()

    @property
    def n_left(self) -> int:
        """Tasks still to do."""
        return self.n_tasks - self.n_done

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen by itself: the run ended, and what is complete is
        published.
        """
        return bool(self.run) and self.is_over and (self.n_left > 0 or self.snapshot > 0)

    def to_json(self, indent: int | None = 1) -> str:
        """All of it as one JSON object.

        Parameters
        ----------
        indent
            Spaces by level; ``None`` for one line.
        """
        workers = [{**asdict(worker), "shares": worker.shares} for worker in self.split.workers]
        split = {
            "bound_by": self.split.bound_by,
            "shares": self.split.total.shares,
            "workers": workers,
        }
        return json.dumps({**asdict(self), "n_left": self.n_left, "split": split}, indent=indent)

    def __str__(self) -> str:
        rejected = ", ".join(f"{n:,} {reason}" for reason, n in self.n_rejected.items()) or "none"
        published = (
            f"published as snapshot {self.snapshot}" if self.snapshot else "not published yet"
        )
        lines = [
            (
                f"{self.n_done:,} of {self.n_tasks:,} tasks done, {self.n_left:,} left,"
                f" {self.n_failed:,} failed; {published}"
            ),
            f"{self.n_in:,} sources read, {self.n_out:,} written, rejected: {rejected}",
        ]
        if self.run:
            state = "ended" if self.is_over else f"last news {format_duration(self.news_s)} ago"
            left = (
                f", {format_duration(self.left_s)} left"
                if self.n_left and not self.is_over and self.left_s
                else ""
            )
            workers = f"{self.n_workers} worker{'s' * (self.n_workers != 1)}"
            rate = (
                f"{self.sources_per_s:,.0f} sources/s"
                if self.sources_per_s
                else "no task has ended yet"
            )
            lines.append(f"run {self.run} ({state}): {rate} on {workers}{left}")
            lines += describe_workers(self.split)
            lines += _describe_changes(self.changes)
        return "\n".join(
            [*lines, *(f"failed {task}: {error}" for task, error in self.errors.items())]
        )


def _describe_changes(changes: tuple[WorkerChanged, ...]) -> list[str]:
    """How often what happened to workers, and the last of it with its time."""
    counts = Counter(change.what for change in changes)
    told = ", ".join(f"{counts[what]:,} {what}" for what in CHANGES if counts[what])
    return [
        *([f"workers: {told}"] if told else []),
        *(
            f"  {datetime.fromtimestamp(change.at, UTC):%Y-%m-%dT%H:%M:%SZ} {change}"
            for change in changes[-MOST_SHOWN:]
        ),
    ]


def run_status(catalog: str | Storage) -> RunStatus:
    """Read how far a run is.

    Raises
    ------
    NotFoundError
        There is no catalogue, finished or begun.
    """
    storage = catalog if isinstance(catalog, Storage) else Storage(catalog)
    identity = read_identity(storage)
    ledger, records = Ledger(storage / LEDGER), read_records(storage / LEDGER)
    done, news = _finished(ledger, records)
    failed, published = ledger.failed(), snapshots(storage)
    rejected: Counter[str] = Counter()
    for task in done:
        rejected.update(task.n_rejected)
    return RunStatus(
        url=storage.url,
        n_tasks=identity.n_tasks,
        n_done=len(done),
        n_failed=len(failed),
        n_in=sum(task.n_in for task in done),
        n_out=sum(task.n_out for task in done),
        n_rejected=dict(rejected),
        snapshot=published[-1].number if published else 0,
        errors={task: report.error for task, report in failed.items()},
        **(_latest(records[-1], news) if records else {}),  # type: ignore[arg-type]
    )


def follow_status(catalog: str | Storage, every_s: float) -> Iterator[RunStatus]:
    """How far a run is, whenever that has changed, until it has ended.

    Parameters
    ----------
    catalog
        The catalogue, finished or begun.
    every_s
        Seconds between two looks.

    Raises
    ------
    NotFoundError
        There is no catalogue.
    """
    last: RunStatus | None = None
    while True:
        found = run_status(catalog)
        if last is None or replace(found, news_s=last.news_s) != last:
            yield found
            last = found
        if found.is_finished:
            return
        time.sleep(every_s)


def _finished(
    ledger: Ledger, records: tuple[RunRecord, ...]
) -> tuple[list[TaskTime], list[TaskTime]]:
    """Every finished task, from the last record that has it or else from the ledger; and those that
    no record has.
    """
    keys = ledger.finished_tasks()
    known = {task.task: task for record in records for task in record.tasks}
    with ThreadPoolExecutor(16) as threads:
        reports = threads.map(ledger.find, keys - known.keys())
        news = [TaskTime.of(report) for report in reports if report is not None]
    return [known[key] for key in keys & known.keys()] + news, news


def _latest(record: RunRecord, news: list[TaskTime]) -> dict[str, object]:
    own = tuple(
        task for task in news if task.started > record.started
    )  # since the record was saved
    updated = max([record.updated, *(task.ended for task in own)])
    record = replace(record, updated=updated, tasks=(*record.tasks, *own))
    split = record.split
    return {
        "run": record.name,
        "is_over": record.is_over,
        "news_s": round(max(0.0, time.time() - record.updated), 1),
        "n_workers": len(split.workers) or record.n_workers,
        "sources_per_s": record.sources_per_s,
        "left_s": record.left_s,
        "split": split,
        "changes": record.changes,
    }
