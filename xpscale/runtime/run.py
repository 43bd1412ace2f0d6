"""Run the tasks of one stage that are not done yet, and tell the listeners."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from xpscale.runtime.attempt import Attempt
from xpscale.runtime.events import Callback, Event, RunEnded, RunStarted, TaskEnded
from xpscale.runtime.ledger import Ledger
from xpscale.types import Executor, Task, TaskReport

__all__ = ["run_stage"]


def run_stage(
    stage: str,
    function: Callable[[Any], TaskReport],
    tasks: Sequence[Task],
    executor: Executor,
    ledger: Ledger | None = None,
    *,
    callbacks: Iterable[Callback] = (),
    rows: Callable[[Any], int] = lambda _: 0,
    receive: Callable[[TaskReport], TaskReport] = lambda report: report,
) -> dict[str, TaskReport]:
    """Bring every task of a stage to an end, the largest first: so the workers run out of tasks
    together.

    Parameters
    ----------
    stage
        What the stage does, for progress.
    function
        Idempotent function of a task; `Attempt` retries it and records its report.
    tasks
        All tasks of the plan, done or not.
    executor
        Where they run.
    ledger
        Reports of earlier attempts; its finished tasks are not run again, and failures are kept
        there.  ``None`` for a stage whose results are not kept: every task runs.
    callbacks
        Listeners, called with each event in this process.
    rows
        Rows of a task, for their order and for progress.
    receive
        Called with every report as it comes in, before the listeners; what it returns is kept.
        A stage whose reports carry results in ``details`` takes them out here.

    Returns
    -------
    dict
        A report for every task, by key; tasks that failed included.
    """
    clock, listeners = time.perf_counter(), list(callbacks)
    sizes = {task.key: rows(task) for task in tasks}
    finished = ledger.finished() if ledger else {}
    reports = {key: finished[key].as_already_written() for key in sizes if key in finished}
    left = [task for task in tasks if task.key not in reports]
    left.sort(key=lambda task: -sizes[task.key])

    n_rows, n_rows_done = sum(sizes.values()), sum(sizes[key] for key in reports)
    n_workers = executor.n_workers
    _tell(listeners, RunStarted(stage, len(tasks), n_rows, len(reports), n_rows_done, n_workers))
    try:
        for report in executor.run(Attempt(function, ledger), left, partial(_tell, listeners)):
            report = receive(report)
            if not report.status.is_done:
                report = replace(report, details={**report.details, "n_rows": sizes[report.task]})
                if ledger:
                    ledger.record(report)
            reports[report.task] = report
            _tell(listeners, TaskEnded(report))
        if ledger:
            ledger.forget_failures()
    finally:
        failed = sum(not report.status.is_done for report in reports.values())
        wall_s = time.perf_counter() - clock
        _tell(listeners, RunEnded(stage, failed, len(tasks) - len(reports), wall_s))
    return reports


def _tell(listeners: Iterable[Callback], event: Event) -> None:
    for listener in listeners:
        listener(event)
