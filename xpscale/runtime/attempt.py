"""One attempt at one task: whatever happens, a report comes back."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from xpscale.errors import InvalidInputError, PermanentError, TryAgainError, XpscaleError
from xpscale.types import TaskReport, TaskStatus

__all__ = ["RETRY_DELAYS_S", "attempt"]

RETRY_DELAYS_S = (0.5, 2.0, 8.0)
"""Pauses before a task is tried again after a passing fault; then it has failed."""


def attempt(function: Callable[[Any], TaskReport], task: Any) -> TaskReport:
    """Run ``function(task)`` and report on it.

    Passing faults (`TryAgainError`) are tried again with growing pauses.  Anything else that is raised ends in a report:
    QUARANTINED if the input cannot be processed at all, else FAILED; ``error`` has the cause.
    """
    started, clock = time.time(), time.perf_counter()
    for delay_s in (*RETRY_DELAYS_S, None):
        try:
            report = function(task)
            break
        except TryAgainError as error:
            if delay_s is None:
                report = _failure(task, TaskStatus.FAILED, error)
                break
            time.sleep(delay_s)
        except (InvalidInputError, PermanentError) as error:
            report = _failure(task, TaskStatus.QUARANTINED, error)
            break
        except Exception as error:  # the rest of the run must go on; the report carries what happened
            report = _failure(task, TaskStatus.FAILED, error)
            break
    return replace(
        report,
        started=started,
        wall_s=time.perf_counter() - clock,
        peak_memory=peak_memory(),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )


def _failure(task: Any, status: TaskStatus, error: Exception) -> TaskReport:
    if isinstance(error, XpscaleError):
        text = str(error)
    else:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({where.filename.rsplit('/', 1)[-1]}:{where.lineno})"
    details = {"exit_code": error.exit_code if isinstance(error, XpscaleError) else 1}
    return TaskReport(task.key, status, error=text, details=details)


def peak_memory() -> int:
    """Largest resident set of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
