"""A window of tasks in flight on a Dask cluster: it follows the number of workers, and issues again
what does not come back.

When a task counts as stalled is the rule of `xpscale.runtime.stall`.  Whichever copy of a task
reports first counts, and a worker that still holds a stalled copy is restarted: the tasks that are
queued behind it wait for the same.  So is a worker that does not hand over a report, for others may
lie there.  What the cluster loses (a result on a worker that is gone, all of it when the scheduler
was started again) is issued again, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import statistics
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from xpscale.runtime.executors.connection import LOST, connected
from xpscale.runtime.stall import Cluster, GiveUp, Reissue, TaskInFlight, Turnaround, decide
from xpscale.types import TaskReport

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["StalledError", "Window"]

MAX_LOSSES = 5  # of one task by the cluster: more is no accident
POLL_S = 1.0
ANSWER_S = 60.0  # a scheduler that says nothing for this long is gone
FETCH_S = 10.0  # for a report, which is small; a worker that cannot send it is stopped or gone
NO_WORKERS_S = 60.0  # between reminders that there are no workers
WORK_S = 10.0  # of work in flight for each thread of a worker
MOST_PER_THREAD = 64  # tasks in flight, however short they are

log = logging.getLogger("xpscale")


class StalledError(Exception):
    """A task came back from none of the workers it was given to; or it was queued there behind one
    that did not.
    """


@dataclass(eq=False)
class _Entry:
    """One task, and the copies of it that are out: when each was issued."""

    task: Any
    state: TaskInFlight
    futures: dict[Any, float] = field(default_factory=dict)
    n_losses: int = 0


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
    look
        Called now and then, in this thread.
    """

    client: Client
    submit: Callable[[Any, list[str] | None], Any]
    per_worker: int
    turnaround: Turnaround
    look: Callable[[], None] = lambda: None
    _task_s: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    _out: dict[str, _Entry] = field(default_factory=dict)
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
                    self._issue(_Entry(task, TaskInFlight(task.key)))
                if not self._out:
                    return
                if ended := self._receive():
                    entry, outcome = ended
                    yield entry.task, outcome
                self.look()
                if time.monotonic() - polled >= POLL_S:
                    polled, size = time.monotonic(), self._size()
                    for entry in self._reissue_overdue():
                        reason = "it did not come back from two workers, long after others had"
                        yield entry.task, StalledError(reason)
        finally:
            self._cancel([future for entry in self._in_flight() for future in entry.futures])

    def _in_flight(self) -> list[_Entry]:
        return list({id(entry): entry for entry in self._out.values()}.values())

    def _size(self) -> int:
        """Tasks to have in flight: some for each worker, or work for `WORK_S`.

        A cluster that adapts itself asks for more workers only if the tasks in flight would keep
        those that are there busy for longer than Dask's ``target-duration``, 5 s.
        """
        threads = self._ask(self.client.scheduler.ncores)  # type: ignore[union-attr]
        n_workers, now = len(threads), time.monotonic()
        if n_workers:
            self._idle_since = now
        elif now - self._idle_since > NO_WORKERS_S:
            self._idle_since = now
            log.warning("no workers are connected to the scheduler: tasks wait until some are")
        least = max(self.per_worker * max(n_workers, 1), 1)
        if not (self.per_worker and self._task_s):
            return least
        of_thread = min(WORK_S / max(statistics.median(self._task_s), 1e-3), MOST_PER_THREAD)
        return max(least, int(of_thread * sum(threads.values())))

    def _issue(self, entry: _Entry, workers: Collection[str] = ()) -> None:
        future = self.submit(entry.task, sorted(workers) or None)
        entry.futures[future] = time.monotonic()
        entry.state = entry.state.issued(entry.futures[future])
        self._out[future.key] = entry
        self._await(future)

    def _await(self, future: Any) -> None:
        """Note when it is back, which can be long before somebody here has time for it."""
        future.add_done_callback(lambda future: self._back.put((future, time.monotonic())))

    def _receive(self) -> tuple[_Entry, TaskReport | BaseException] | None:
        """Wait a little for a copy to come back: its task and the outcome, if that is the end of
        it.
        """
        try:
            future, at = self._back.get(timeout=POLL_S)
        except queue.Empty:
            return None
        self._require_scheduler()  # first: when it is lost, all tasks come back at once, cancelled
        entry = self._out.pop(future.key, None)
        if entry is None:
            return None  # the other copy was faster
        if not future.done():  # its worker has left with the report: the scheduler runs it again
            self._out[future.key] = entry
            self._await(future)
            return None
        outcome = _outcome(future)
        if isinstance(outcome, TimeoutError):
            self._restart(self._keepers(future))
        issued = entry.futures.pop(future)
        if isinstance(outcome, TaskReport) and outcome.wall_s:
            self._task_s.append(outcome.wall_s)
        is_done = isinstance(outcome, TaskReport) and outcome.status.is_done
        if entry.futures and not is_done:
            return None  # the other copy may do better
        if isinstance(outcome, LOST) and entry.n_losses < MAX_LOSSES:
            self._issue_lost(entry, outcome)
            return None
        if entry.futures:
            self._restart(_holders(entry, self._processing()) & entry.state.suspects)
        self._forget(entry)
        self.turnaround.add(at - issued)
        return entry, outcome

    def _issue_lost(self, entry: _Entry, outcome: BaseException) -> None:
        self._require_scheduler()
        log.warning(
            "the cluster lost %s (%s): issued again", entry.task.key, type(outcome).__name__
        )
        entry.n_losses += 1
        entry.state = replace(entry.state, n_issues=entry.state.n_issues - 1)
        self._issue(entry)

    def _forget(self, entry: _Entry) -> None:
        for copy in entry.futures:
            self._out.pop(copy.key, None)
        self._cancel(list(entry.futures))
        entry.futures = {}

    def _cancel(self, futures: list[Any]) -> None:
        if futures and self.client.status == "running":
            with contextlib.suppress(*LOST):  # with the scheduler they are gone as well
                self.client.cancel(futures, force=True)

    def _keepers(self, future: Any) -> list[str]:
        """Workers that have the result of a task."""
        found: dict[str, list[str]] = self._ask(self.client.scheduler.who_has, keys=[future.key])  # type: ignore[union-attr]
        return list(found[future.key])

    def _processing(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = self._ask(self.client.scheduler.processing, workers=None)  # type: ignore[union-attr]
        return found

    def _reissue_overdue(self) -> Iterator[_Entry]:
        """Do what the stall rule decides; the tasks that are given up."""
        processing, now = self._processing(), time.monotonic()
        entries = {entry.task.key: entry for entry in self._in_flight()}
        for entry in entries.values():
            entry.state = entry.state.seen_on(_holders(entry, processing), now)
        states = tuple(entry.state for entry in entries.values())
        limit_s, to_restart = self.turnaround.limit_s, set[str]()
        for action in decide(Cluster(states, frozenset(processing), limit_s), now):
            entry = entries[action.task]
            log.warning(
                "%s is out for more than %.0f s on %s: %s",
                action.task,
                limit_s,
                ", ".join(sorted(entry.state.holders)),
                "issued again" if isinstance(action, Reissue) else "restarted",
            )
            entry.state = entry.state.after(action)
            if isinstance(action, Reissue):
                self._issue(entry, action.workers)
                continue
            if isinstance(action, GiveUp):
                self._forget(entry)
                yield entry
            to_restart |= action.workers
        self._restart(to_restart)  # at once: each that does not answer takes its time

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


def _holders(entry: _Entry, processing: Mapping[str, Collection[str]]) -> frozenset[str]:
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
