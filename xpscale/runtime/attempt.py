"""One attempt at one task: find, do, record.  Whatever happens, a report comes back."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xpscale.errors import (
    InvalidInputError,
    NotFoundError,
    PermanentError,
    TryAgainError,
    XpscaleError,
)
from xpscale.runtime.ledger import Ledger
from xpscale.types import TaskReport, TaskStatus

__all__ = ["RETRY_DELAYS_S", "Attempt", "peak_memory"]

RETRY_DELAYS_S = (0.5, 2.0, 8.0)
"""Pauses before a task is tried again after a passing fault; then it has failed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A task's function, made safe to run anywhere and any number of times.

    A task that the ledger knows as finished is not run.  Passing faults (`TryAgainError`) are tried
    again with growing pauses.  Anything else that is raised ends in a report: QUARANTINED if the
    input cannot be processed at all, else FAILED; ``error`` has the cause.  The report of a
    finished task is recorded before it is returned, so a task counts as done only if its outputs
    are there.

    Parameters
    ----------
    function
        Idempotent function of a task.
    ledger
        Where finished tasks are recorded.
    """

    function: Callable[[Any], TaskReport]
    ledger: Ledger

    def __call__(self, task: Any) -> TaskReport:
        """The report that stands for this task."""
        started, clock = time.time(), time.perf_counter()
        for delay_s in (*RETRY_DELAYS_S, None):
            try:
                if found := self.ledger.find(task.key):
                    return found.again()
                report = replace(
                    self.function(task),
                    started=started,
                    wall_s=time.perf_counter() - clock,
                    peak_memory=peak_memory(),
                    worker=f"{socket.gethostname()}:{os.getpid()}",
                )
                return self.ledger.record(report)
            except TryAgainError as error:
                failure = _failure(task, TaskStatus.FAILED, error)
                if delay_s is not None:
                    time.sleep(delay_s)
            except (InvalidInputError, NotFoundError, PermanentError) as error:
                return _failure(task, TaskStatus.QUARANTINED, error)
            except (
                Exception
            ) as error:  # the rest of the run must go on; the report carries what happened
                return _failure(task, TaskStatus.FAILED, error)
        return failure


def _failure(task: Any, status: TaskStatus, error: Exception) -> TaskReport:
    if isinstance(error, XpscaleError):
        text = str(error)
    else:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = (
            f"{type(error).__name__}: {error} ({where.filename.rsplit('/', 1)[-1]}:{where.lineno})"
        )
    details = {"exit_code": error.exit_code if isinstance(error, XpscaleError) else 1}
    return TaskReport(task.key, status, error=text, details=details)


def peak_memory() -> int:
    """Largest resident set of this process so far, in bytes."""
    try:
        # getrusage would answer with the peak of the process that started this one, if that was
        # larger
        status = Path("/proc/self/status").read_text()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
