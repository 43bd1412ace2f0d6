"""One attempt at one task: find, do, record.  A report comes back in every case."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xpscale.errors import (
    IncompleteError,
    InvalidInputError,
    NotFoundError,
    PermanentError,
    TryAgainError,
    UnexpectedError,
    XpscaleError,
)
from xpscale.runtime.ledger import Ledger
from xpscale.runtime.preflight import software
from xpscale.safe_text import without_secrets
from xpscale.storage.failures import Refused
from xpscale.types import TaskReport, TaskStatus

__all__ = [
    "RETRY_DELAYS_S",
    "Attempt",
    "CatchErrors",
    "failure_report",
    "is_of_input",
    "peak_memory",
    "require_done",
    "run_error",
    "tasks_error",
]

RETRY_DELAYS_S = (0.5, 2.0, 8.0)
"""Pauses before a task is tried again after a passing fault; then it has failed."""

MAX_FAILURES = 10
"""Failures that an error message tells in full."""

PERMANENT = (InvalidInputError, NotFoundError, PermanentError)
"""Errors that the same input raises every time."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A task's function, made safe to run anywhere and any number of times.

    A task that the ledger knows as finished is not run.  Passing faults (`TryAgainError`) are
    retried with growing pauses; any other exception becomes a report, see `failure_report`.  The
    report of a finished task is recorded before it is returned, so a task counts as done only if
    its outputs are there.

    Parameters
    ----------
    function
        Idempotent function of a task.
    ledger
        Where finished tasks are recorded; ``None`` for a stage whose results are not kept.
    """

    function: Callable[[Any], TaskReport]
    ledger: Ledger | None = None

    def __call__(self, task: Any) -> TaskReport:
        """The report that stands for this task."""
        started, clock = time.time(), time.perf_counter()
        for delay_s in (*RETRY_DELAYS_S, None):
            try:
                return self._once(task, started, clock)
            except TryAgainError as error:
                failure = failure_report(task, error)
                if delay_s is not None:
                    time.sleep(delay_s)
            except Exception as error:  # the rest of the run must go on
                return failure_report(task, error)
        return failure

    def _once(self, task: Any, started: float, clock: float) -> TaskReport:
        if self.ledger and (found := self.ledger.find(task.key)):
            return found.as_already_written()
        report = replace(
            self.function(task),
            started=started,
            wall_s=time.perf_counter() - clock,
            peak_memory=peak_memory(),
            worker=f"{socket.gethostname()}:{os.getpid()}",
        )
        report = replace(report, software={**software(), **report.software})
        return self.ledger.record(report) if self.ledger else report


@dataclass(frozen=True, slots=True)
class CatchErrors:
    """A function of a task that never raises: an exception becomes a `failure_report`.

    Every executor wraps what it runs in this.

    Parameters
    ----------
    function
        Function of a task.
    """

    function: Callable[[Any], TaskReport]

    def __call__(self, task: Any) -> TaskReport:
        """The function's report, or the report of its failure."""
        try:
            return self.function(task)
        except Exception as error:
            return failure_report(task, error)


def is_of_input(error: BaseException) -> bool:
    """Whether an error says that its input can never be processed."""
    return isinstance(error, PERMANENT) and not isinstance(error, Refused)


def failure_report(task: Any, error: BaseException) -> TaskReport:
    """The report of a task whose function raised.

    Parameters
    ----------
    task
        The task.
    error
        What was raised.  Input that can never be processed makes the task QUARANTINED, anything
        else FAILED, also a refusal for want of credentials; an error that is not xpscale's own is
        named with the line it came from.
    """
    details: dict[str, Any] = {
        "exit_code": error.exit_code
        if isinstance(error, XpscaleError)
        else UnexpectedError.exit_code
    }
    status = TaskStatus.QUARANTINED if is_of_input(error) else TaskStatus.FAILED
    if isinstance(error, Refused):
        details["is_refused"] = True
    text = str(error)
    if not isinstance(error, XpscaleError):
        text = f"{type(error).__name__}: {text}"
        if frames := traceback.extract_tb(error.__traceback__):
            text += f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})"
        details["trace"] = without_secrets("".join(traceback.format_exception(error)))
    return TaskReport(task.key, status, error=without_secrets(text), details=details)


def run_error(error: XpscaleError, failed: Iterable[TaskReport]) -> XpscaleError:
    """The error of a run: an `UnexpectedError` if one of its tasks met an error nobody foresaw.

    Parameters
    ----------
    error
        What to raise otherwise.
    failed
        Reports of the tasks that failed.
    """
    traces = [str(report.details["trace"]) for report in failed if "trace" in report.details]
    return UnexpectedError(error.message, error.remedy, traces[0]) if traces else error


def tasks_error(
    failed: Sequence[TaskReport], n_tasks: int, more: str, *, if_damaged: str = ""
) -> XpscaleError:
    """Why a stage is not complete, and what may help.

    Parameters
    ----------
    failed
        Reports of the tasks that failed; at least one.
    n_tasks
        Tasks of the stage.
    more
        Where all failures can be read.
    if_damaged
        What else the user can do if all of them met input that can never be processed.
    """
    causes = [f"{each.task} {each.status}: {each.error}" for each in failed[:MAX_FAILURES]]
    if n_more := len(failed) - len(causes):
        causes.append(f"and {n_more:,} more{more}")
    text = "\n  ".join(
        [
            f"{len(failed)} of {n_tasks} tasks failed; nothing was published, the others are kept",
            *causes,
        ]
    )
    if all(failure.details.get("exit_code") == TryAgainError.exit_code for failure in failed):
        return TryAgainError(text, "The causes may pass: run the same command again")
    if all(failure.details.get("is_refused") for failure in failed):
        return Refused(text, "Put the credentials or permissions right, and run the same again")
    remedy = "Repair the cause and run the same command again"
    if all(failure.status is TaskStatus.QUARANTINED for failure in failed):
        remedy += if_damaged
    return run_error(IncompleteError(text, remedy), failed)


def require_done(stage: str, reports: Collection[TaskReport], command: str) -> None:
    """Refuse to go on with a table of a version while one of its files is missing.

    Parameters
    ----------
    stage
        What was done.
    reports
        Of all its tasks.
    command
        What goes on from there.

    Raises
    ------
    IncompleteError
        Tasks failed.
    UnexpectedError
        One of them met an error that nobody foresaw.
    """
    failed = [report for report in reports if not report.status.is_done]
    if failed:
        error = IncompleteError(
            f"{stage}: {len(failed)} of {len(reports)} tasks failed; the first,"
            f" {failed[0].task}: {failed[0].error}",
            f"Repair the cause and run {command}: what is done is kept",
        )
        raise run_error(error, failed)


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
