"""When a task in flight has stalled, and what to do about it.

A task's turnaround is the time from the submission of the copy that came back to its report,
queueing included: what a task lost on a worker that stands still says nothing of others.  A task is
overdue when it has been with the same workers for longer than the patience and for longer than
`FACTOR` times the median turnaround.  An overdue task is issued once more, to a worker that does
not hold it; if that copy is overdue as well, its workers are restarted and the task is given up.
The time in which a task waited for a worker, or was with one that is gone, does not count.

`decide` is a pure function from what is known (`Cluster`) to what is to be done (`Action`);
`xpscale.runtime.executors.window` does it.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field, replace

__all__ = [
    "Action",
    "Cluster",
    "GiveUp",
    "Reissue",
    "Restart",
    "TaskInFlight",
    "Turnaround",
    "decide",
]

FACTOR = 5
"""A task that is out this many times as long as its peers has stalled."""

MIN_PEERS = 3  # that must have come back before their median says anything
FIRST_FACTOR = 15  # of the patience, for tasks that have no peers yet
MAX_ISSUES = 2


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


@dataclass(frozen=True, slots=True)
class TaskInFlight:
    """What is known of a task that is out.

    Parameters
    ----------
    key
        The task's.
    n_issues
        How often it was issued, or its workers restarted for it.
    holders
        Workers on which its copies run or wait.
    held_since
        Since when it has been with exactly these, in seconds of any clock.
    suspects
        Workers that held it when it was overdue.
    """

    key: str
    n_issues: int = 0
    holders: frozenset[str] = frozenset()
    held_since: float = 0.0
    suspects: frozenset[str] = frozenset()

    def seen_on(self, holders: frozenset[str], now: float) -> TaskInFlight:
        """The same task after its workers were looked up.

        Parameters
        ----------
        holders
            Workers on which its copies run or wait.
        now
            The time.
        """
        if holders == self.holders:
            return self
        return replace(self, holders=holders, held_since=now)

    def issued(self, now: float) -> TaskInFlight:
        """The same task with one more copy out."""
        return replace(self, n_issues=self.n_issues + 1, held_since=now)

    def after(self, action: Action) -> TaskInFlight:
        """The same task after it was found overdue; a copy is counted by `issued`."""
        n_issues = self.n_issues + isinstance(action, Restart)
        return replace(self, n_issues=n_issues, suspects=self.suspects | self.holders)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is known of all tasks that are out.

    Parameters
    ----------
    tasks
        In the order in which they were issued.
    workers
        All workers that are connected.
    limit_s
        Seconds after which a task is overdue: `Turnaround.limit_s`.
    """

    tasks: tuple[TaskInFlight, ...]
    workers: frozenset[str]
    limit_s: float


@dataclass(frozen=True, slots=True)
class Reissue:
    """Submit another copy of a task to one of ``workers``, which do not hold it."""

    task: str
    workers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Restart:
    """Restart ``workers``: the scheduler issues the task again to those that come back."""

    task: str
    workers: frozenset[str]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Cancel a task that was issued often enough, and restart ``workers``, which it holds up."""

    task: str
    workers: frozenset[str]


Action = Reissue | Restart | GiveUp


def decide(state: Cluster, now: float) -> list[Action]:
    """What to do about overdue tasks, at most one thing each.

    Parameters
    ----------
    state
        What is known.
    now
        The time, on the clock of ``held_since``.
    """
    actions: list[Action] = []
    restarted: frozenset[str] = frozenset()
    for task in state.tasks:
        if not task.holders or now - task.held_since <= state.limit_s:
            continue
        if task.holders & restarted:
            continue  # it may only have waited there behind the one that held up the worker
        others = state.workers - task.holders - task.suspects - restarted
        if task.n_issues < MAX_ISSUES and others:
            actions.append(Reissue(task.key, others))
            continue
        stop = Restart if task.n_issues < MAX_ISSUES else GiveUp
        actions.append(stop(task.key, task.holders))
        restarted |= task.holders
    return actions
