"""What happens during a run, as values.

Progress bars, histories and metrics are callbacks: functions of one event.  The runtime knows none
of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xpscale.types import TaskReport

__all__ = ["Callback", "Event", "RunEnded", "RunStarted", "TaskEnded"]


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A stage begins.

    Parameters
    ----------
    stage
        What it does, for a person: ``"infer"``.
    n_tasks, n_rows
        Tasks of the whole plan and rows in them (0 if not known yet).
    n_done, n_rows_done
        How many of those an earlier run has finished.
    n_workers
        Processes that will work.
    """

    stage: str
    n_tasks: int
    n_rows: int
    n_done: int = 0
    n_rows_done: int = 0
    n_workers: int = 1


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A task's report came in."""

    report: TaskReport


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A stage is over, or was interrupted: ``n_failed`` tasks failed, ``n_left`` never ran."""

    stage: str
    n_failed: int
    n_left: int
    wall_s: float


Event = RunStarted | TaskEnded | RunEnded
Callback = Callable[[Event], None]
