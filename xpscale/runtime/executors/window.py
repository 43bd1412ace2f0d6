"""A window of tasks in flight on a Dask cluster: it follows the number of workers, and issues again what does not come back.

A task's turnaround is the time from its submission to its report, queueing included.  One that has been out for more than
`FACTOR` times the median turnaround, and for longer than the patience, is issued once more, to a worker that does not hold it;
whichever copy reports first counts.  If it is out for as long again, the workers that hold it are restarted and it is given up.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xpscale.errors import TryAgainError
from xpscale.types import TaskReport

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["StalledError", "Turnaround", "Window"]

FACTOR = 5
"""A task that is out this many times as long as its peers has stalled."""

MIN_PEERS = 3  # that must have come back before their median says anything
FIRST_FACTOR = 15  # of the patience, for tasks that have no peers yet
MOST_ISSUES = 2
POLL_S = 1.0

log = logging.getLogger("xpscale")


class StalledError(Exception):
    """A task came back from none of the workers it was given to."""


@dataclass
class Turnaround:
    """How long tasks are out, and what is too long.

    Parameters
    ----------
    patience_s
        No task is overdue before this, in seconds.
    """

    patience_s: float
    _ended: deque[float] = field(default_factory=lambda: deque(maxlen=1000))

    def add(self, seconds: float) -> None:
        """A task came back."""
        self._ended.append(seconds)

    @property
    def limit_s(self) -> float:
        """Seconds after which a task is overdue."""
        if len(self._ended) < MIN_PEERS:
            return FIRST_FACTOR * self.patience_s
        return max(self.patience_s, FACTOR * statistics.median(self._ended))


@dataclass(eq=False)
class _InFlight:
    """One task and the copies of it that are out."""

    task: Any
    since: float
    futures: set[Any] = field(default_factory=set)
    n_issues: int = 0
    failure: TaskReport | BaseException | None = None


@dataclass
class Window:
    """Runs tasks on a cluster, a bounded number at a time.

    Parameters
    ----------
    client
        Connected client.
    submit
        Submits a task, to some workers if any are named.
    per_worker
        Tasks in flight for each worker; 0 for one at a time.
    patience_s
        See `Turnaround`.
    """

    client: Client
    submit: Callable[[Any, list[str] | None], Any]
    per_worker: int
    patience_s: float
    _out: dict[str, _InFlight] = field(default_factory=dict)
    _back: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    def run(self, tasks: Iterable[Any]) -> Iterator[tuple[Any, TaskReport | BaseException]]:
        """Each task with its report, or with what the cluster says about it, in the order in which they end.

        Raises
        ------
        TryAgainError
            The scheduler is gone.
        """
        waiting, turnaround = iter(tasks), Turnaround(self.patience_s)
        polled, size = time.monotonic(), self._size()
        try:
            while True:
                while len(self._in_flight()) < size and (task := next(waiting, None)) is not None:
                    self._issue(_InFlight(task, time.monotonic()))
                if not self._out:
                    return
                try:
                    ended = self._receive(self._back.get(timeout=POLL_S))
                except queue.Empty:
                    ended = None
                if ended:
                    turnaround.add(time.monotonic() - ended.since)
                    yield ended.task, ended.failure  # type: ignore[misc]
                self._require_scheduler()
                if time.monotonic() - polled >= POLL_S:
                    polled, size = time.monotonic(), self._size()
                    for lost in self._hurry(turnaround.limit_s):
                        yield lost.task, StalledError(f"it did not come back within {turnaround.limit_s:.0f} s, twice")
        finally:
            if self.client.status == "running":
                self.client.cancel([f for entry in self._in_flight() for f in entry.futures], force=True)

    def _in_flight(self) -> list[_InFlight]:
        return list({id(entry): entry for entry in self._out.values()}.values())

    def _size(self) -> int:
        workers = len(self.client.nthreads()) if self.client.status == "running" else 0
        return max(self.per_worker * max(workers, 1), 1)

    def _issue(self, entry: _InFlight, workers: list[str] | None = None) -> None:
        future = self.submit(entry.task, workers)
        entry.futures.add(future)
        entry.n_issues += 1
        self._out[future.key] = entry
        future.add_done_callback(self._back.put)

    def _receive(self, future: Any) -> _InFlight | None:
        """A copy came back: its task, if that is the end of it; its outcome is in ``failure`` for want of another place."""
        entry = self._out.pop(future.key, None)
        if entry is None:
            return None  # the other copy was faster
        entry.futures.discard(future)
        outcome = _outcome(future)
        is_done = isinstance(outcome, TaskReport) and outcome.status.is_done
        if entry.futures and not is_done:
            return None  # the other copy may do better
        self._forget(entry)
        entry.failure = outcome
        return entry

    def _forget(self, entry: _InFlight) -> None:
        for copy in entry.futures:
            self._out.pop(copy.key, None)
        if entry.futures and self.client.status == "running":
            self.client.cancel(list(entry.futures), force=True)
        entry.futures = set()

    def _hurry(self, limit_s: float) -> Iterator[_InFlight]:
        """Issue overdue tasks again; those that were issued often enough are given up."""
        overdue = [entry for entry in self._in_flight() if time.monotonic() - entry.since > limit_s * entry.n_issues]
        if not overdue:
            return
        processing = self.client.processing()
        for entry in overdue:
            keys = {future.key for future in entry.futures}
            holders = [worker for worker, held in processing.items() if keys & set(held)]
            others = [worker for worker in processing if worker not in holders]
            if not holders:
                continue  # it waits for a worker that can take it
            if entry.n_issues < MOST_ISSUES and others:
                log.warning("%s is out for more than %.0f s on %s: issued again", entry.task.key, limit_s, holders[0])
                self._issue(entry, others)
                continue
            log.warning("%s is out for more than %.0f s on %s: restarted", entry.task.key, limit_s, ", ".join(holders))
            if entry.n_issues < MOST_ISSUES:
                entry.n_issues += 1  # the scheduler gives it to the worker that comes back
            else:
                self._forget(entry)
                yield entry
            self._restart(holders)

    def _restart(self, workers: list[str]) -> None:
        """Kill workers through their nannies, which start others; without nannies the scheduler forgets them."""
        self.client.sync(
            self.client.scheduler.restart_workers,  # type: ignore[union-attr]
            workers=workers,
            timeout=30,
            wait_for_workers=False,
            on_error="return",
            stimulus_id=f"xpscale-stalled-{time.time()}",
        )

    def _require_scheduler(self) -> None:
        if self.client.status != "running":
            raise TryAgainError(
                "the connection to the Dask scheduler is lost; finished tasks are kept",
                "Start it again if it is gone, and run the same command to go on",
            )


def _outcome(future: Any) -> TaskReport | BaseException:
    try:
        # also of a finished task: the worker that holds its result can die before it is fetched
        report: TaskReport = future.result(timeout=60)
        return report
    except (Exception, asyncio.CancelledError) as error:
        return error
