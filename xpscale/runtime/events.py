"""What happens during a run, as values.

Progress bars, histories and metrics are callbacks: functions of one event.  The runtime knows none
of them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from xpscale.safe_text import without_secrets
from xpscale.types import TaskReport

__all__ = [
    "CHANGES",
    "Callback",
    "Event",
    "RunEnded",
    "RunStarted",
    "TaskEnded",
    "WorkerChanged",
    "run_name",
]

CHANGES = ("joined", "leaves", "left", "lost", "killed for memory", "paused", "resumed", "left out")
"""What can happen to a worker.  ``leaves``: it was told to end, and finishes its task; ``left``: it
ended as it was told; ``lost``: its process or machine ended without notice, or cannot be reached;
``paused``: it holds too much memory to begin another task; ``left out``: it is not fit, and gets no
tasks.
"""


def run_name(started: float, client: str) -> str:
    """``20261122T120831.250-HOST-PID``: names a run; unique, and sorted by time.

    Parameters
    ----------
    started
        Seconds since 1970 (UTC).
    client
        ``HOST:PID`` of the process that directs it.
    """
    start = datetime.fromtimestamp(started, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
    return f"{start}-{client.replace(':', '-')}"


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


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
    started
        Seconds since 1970 (UTC).
    client
        ``HOST:PID`` of the process that directs it.
    """

    stage: str
    n_tasks: int
    n_rows: int
    n_done: int = 0
    n_rows_done: int = 0
    n_workers: int = 1
    started: float = field(default_factory=time.time, compare=False)
    client: str = field(default_factory=_this_process, compare=False)

    @property
    def run(self) -> str:
        """The run's name, the same for all listeners."""
        return run_name(self.started, self.client)


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A task's report came in."""

    report: TaskReport


@dataclass(frozen=True, slots=True)
class WorkerChanged:
    """Something happened to a worker.

    Parameters
    ----------
    worker
        Its address.
    what
        One of `CHANGES`.
    why
        In words, if it is known.
    at
        Seconds since 1970 (UTC).
    """

    worker: str
    what: str
    why: str = ""
    at: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        object.__setattr__(self, "why", without_secrets(self.why))

    def __str__(self) -> str:
        return f"worker {self.worker} {self.what}" + f": {self.why}" * bool(self.why)


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A stage is over, or was interrupted: ``n_failed`` tasks failed, ``n_left`` never ran."""

    stage: str
    n_failed: int
    n_left: int
    wall_s: float


Event = RunStarted | TaskEnded | WorkerChanged | RunEnded
Callback = Callable[[Event], None]
