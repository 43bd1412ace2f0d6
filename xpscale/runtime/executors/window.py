"""A window of tasks in flight on a Dask cluster: it follows the number of workers, and issues again
what does not come back.

A task's turnaround is the time from its submission to its report, queueing included.  One that has
been with the same workers for more than `FACTOR` times the median turnaround, and for longer than
the patience, is issued once more, to a worker that does not hold it; whichever copy reports first
counts, and a worker that still holds the slow one is restarted: whatever holds it up would hold up
what is queued behind it.  If the second copy is out for as long again, its workers are restarted
and the task is given up.  The time a task waited for a worker, or was with one that is gone, is not
held against it.

What the cluster loses (a result on a worker that is gone, all of it when the scheduler was started
again) is issued again, too.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import queue
import statistics
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xpscale.errors import TryAgainError
from xpscale.types import TaskReport

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["StalledError", "Turnaround", "Window", "connected"]

FACTOR = 5
"""A task that is out this many times as long as its peers has stalled."""

MIN_PEERS = 3  # that must have come back before their median says anything
FIRST_FACTOR = 15  # of the patience, for tasks that have no peers yet
MOST_ISSUES = 2
MOST_LOSSES = 5  # of one task by the cluster: more is no accident
POLL_S = 1.0
ANSWER_S = 60.0  # a scheduler that says nothing for so long is gone
FETCH_S = 10.0  # for a report, which is small; a worker that cannot send it is stopped or gone
NO_WORKERS_S = 60.0  # between reminders that nobody works

LOST = (asyncio.CancelledError, concurrent.futures.CancelledError, OSError, TimeoutError)
"""What a result raises that the cluster has lost.  What a task raises is in its report."""

log = logging.getLogger("xpscale")


class StalledError(Exception):
    """A task came back from none of the workers it was given to; or it was queued there behind one
    that did not.
    """


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
    n_losses: int = 0
    holders: frozenset[str] = frozenset()
    """Workers with which it was when they were last asked."""
    held_since: float = 0.0
    suspects: set[str] = field(default_factory=set)
    """Workers that held it when it was overdue."""


@dataclass
class Window:
    """Runs tasks on a cluster, a bounded number at a time.

    Parameters
    ----------
    client
        Connected client.
    submit
        Submits a task, preferably to some workers if any are named.
    per_worker
        Tasks in flight for each worker; 0 for one at a time.
    turnaround
        Of tasks that have come back already; more are added.
    """

    client: Client
    submit: Callable[[Any, list[str] | None], Any]
    per_worker: int
    turnaround: Turnaround
    _out: dict[str, _InFlight] = field(default_factory=dict)
    _back: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    _idle_since: float = field(default_factory=time.monotonic)

    def run(self, tasks: Iterable[Any]) -> Iterator[tuple[Any, TaskReport | BaseException]]:
        """Each task with its report, or with what the cluster says about it, in the order in which
        they end.

        Raises
        ------
        TryAgainError
            The scheduler is gone.
        """
        waiting = iter(tasks)
        polled, size = time.monotonic(), self._size()
        try:
            while True:
                while len(self._in_flight()) < size and (task := next(waiting, None)) is not None:
                    self._issue(_InFlight(task, time.monotonic()))
                if not self._out:
                    return
                if ended := self._receive():
                    entry, outcome = ended
                    self.turnaround.add(time.monotonic() - entry.since)
                    yield entry.task, outcome
                if time.monotonic() - polled >= POLL_S:
                    polled, size = time.monotonic(), self._size()
                    for lost in self._hurry(self.turnaround.limit_s):
                        yield (
                            lost.task,
                            StalledError(
                                "it did not come back from two workers, long after others had"
                            ),
                        )
        finally:
            self._cancel([future for entry in self._in_flight() for future in entry.futures])

    def _in_flight(self) -> list[_InFlight]:
        return list({id(entry): entry for entry in self._out.values()}.values())

    def _size(self) -> int:
        n_workers = len(self._ask(self.client.scheduler.ncores))  # type: ignore[union-attr]
        now = time.monotonic()
        if n_workers:
            self._idle_since = now
        elif now - self._idle_since > NO_WORKERS_S:
            self._idle_since = now
            log.warning("no workers are connected to the scheduler: tasks wait until some are")
        return max(self.per_worker * max(n_workers, 1), 1)

    def _issue(self, entry: _InFlight, workers: list[str] | None = None) -> None:
        future = self.submit(entry.task, workers)
        entry.futures.add(future)
        entry.n_issues += 1
        entry.held_since = time.monotonic()
        self._out[future.key] = entry
        future.add_done_callback(self._back.put)

    def _receive(self) -> tuple[_InFlight, TaskReport | BaseException] | None:
        """Wait a little for a copy to come back: its task and the outcome, if that is the end of
        it.
        """
        try:
            future = self._back.get(timeout=POLL_S)
        except queue.Empty:
            return None
        self._require_scheduler()  # first: when it is lost, all tasks come back at once, cancelled
        entry = self._out.pop(future.key, None)
        if entry is None:
            return None  # the other copy was faster
        entry.futures.discard(future)
        outcome = _outcome(future)
        is_done = isinstance(outcome, TaskReport) and outcome.status.is_done
        if entry.futures and not is_done:
            return None  # the other copy may do better
        if isinstance(outcome, LOST) and entry.n_losses < MOST_LOSSES:
            self._require_scheduler()
            log.warning(
                "the cluster lost %s (%s): issued again", entry.task.key, type(outcome).__name__
            )
            entry.n_losses += 1
            entry.n_issues -= 1
            self._issue(entry)
            return None
        if entry.futures:
            self._restart(_holders(entry, self._processing()) & entry.suspects)
        self._forget(entry)
        return entry, outcome

    def _forget(self, entry: _InFlight) -> None:
        for copy in entry.futures:
            self._out.pop(copy.key, None)
        self._cancel(list(entry.futures))
        entry.futures = set()

    def _cancel(self, futures: list[Any]) -> None:
        if futures and self.client.status == "running":
            with contextlib.suppress(*LOST):  # with the scheduler they are gone as well
                self.client.cancel(futures, force=True)

    def _processing(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = self._ask(self.client.scheduler.processing, workers=None)  # type: ignore[union-attr]
        return found

    def _hurry(self, limit_s: float) -> Iterator[_InFlight]:
        """Issue overdue tasks again; those that were issued often enough are given up."""
        processing, now = self._processing(), time.monotonic()
        restarted: set[str] = set()
        for entry in self._in_flight():
            holders = _holders(entry, processing)
            if holders != entry.holders:
                entry.holders, entry.held_since = holders, now
            if not holders or holders & restarted or now - entry.held_since <= limit_s:
                # those with a worker that was restarted just now were perhaps only queued there
                continue
            others = sorted(processing.keys() - holders - entry.suspects - restarted)
            entry.suspects |= holders
            where = ", ".join(sorted(holders))
            if entry.n_issues < MOST_ISSUES and others:
                log.warning(
                    "%s is out for more than %.0f s on %s: issued again",
                    entry.task.key,
                    limit_s,
                    where,
                )
                self._issue(entry, others)
                continue
            log.warning(
                "%s is out for more than %.0f s on %s: restarted", entry.task.key, limit_s, where
            )
            if entry.n_issues < MOST_ISSUES:
                entry.n_issues += 1  # the scheduler gives it to the worker that comes back
            else:
                self._forget(entry)
                yield entry
            self._restart(holders)
            restarted |= holders

    def _restart(self, workers: Collection[str]) -> None:
        """Kill workers through their nannies, which start others; without nannies the scheduler
        forgets them.
        """
        if workers:
            self._ask(
                self.client.scheduler.restart_workers,  # type: ignore[union-attr]
                workers=sorted(workers),
                timeout=30,
                wait_for_workers=False,
                on_error="return",
                stimulus_id=f"xpscale-stalled-{time.time()}",
            )

    def _ask(self, question: Callable[..., Any], **arguments: Any) -> Any:
        """Ask the scheduler something.

        Raises
        ------
        TryAgainError
            It does not answer.
        """
        with connected(self.client):
            return self.client.sync(question, callback_timeout=ANSWER_S, **arguments)

    def _require_scheduler(self) -> None:
        with connected(self.client):
            pass


@contextlib.contextmanager
def connected(client: Client) -> Iterator[None]:
    """Talk to a scheduler that may go away meanwhile.

    Raises
    ------
    TryAgainError
        It is gone, or goes.
    """
    gone = TryAgainError(
        "the connection to the Dask scheduler is lost; finished tasks are kept",
        "Start it again if it is gone, and run the same command to go on",
    )
    if client.status != "running":
        raise gone
    try:
        yield
    except LOST as error:
        raise gone from error


def _holders(entry: _InFlight, processing: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Workers on which copies of a task run or wait."""
    keys = {future.key for future in entry.futures}
    return frozenset(worker for worker, held in processing.items() if not keys.isdisjoint(held))


def _outcome(future: Any) -> TaskReport | BaseException:
    try:
        # also of a finished task: the worker that holds its result can die before it is fetched
        report: TaskReport = future.result(timeout=FETCH_S)
        return report
    except (Exception, asyncio.CancelledError) as error:
        return error
