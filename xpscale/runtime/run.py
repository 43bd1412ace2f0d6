"""Run the tasks of one stage that are not done yet, and tell the listeners."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from xpscale.runtime.attempt import Attempt
from xpscale.runtime.events import Callback, RunEnded, RunStarted, TaskEnded
from xpscale.runtime.ledger import Ledger
from xpscale.types import Executor, Task, TaskReport

__all__ = ["run_stage"]


def run_stage(
    stage: str,
    function: Callable[[Any], TaskReport],
    tasks: Sequence[Task],
    executor: Executor,
    ledger: Ledger,
    *,
    callbacks: Iterable[Callback] = (),
    rows: Callable[[Any], int] = lambda _: 0,
) -> dict[str, TaskReport]:
    """Bring every task of a stage to an end, the largest first: so the workers run out of tasks
    together.

    Parameters
    ----------
    stage
        What the stage does, for progress.
    function
        Idempotent function of a task; its report is recorded in the ledger by `Attempt`.
    tasks
        All tasks of the plan, done or not.
    executor
        Where they run.
    ledger
        Reports of earlier attempts; its finished tasks are not run again.  Failures are kept there.
    callbacks
        Listeners, called with each event in this process.
    rows
        Rows of a task, for their order and for progress.

    Returns
    -------
    dict
        A report for every task, by key; tasks that failed included.
    """
    clock, listeners = time.perf_counter(), list(callbacks)
    sizes = {task.key: rows(task) for task in tasks}
    reports = {key: report.again() for key, report in ledger.finished().items() if key in sizes}
    left = [task for task in tasks if task.key not in reports]
    left.sort(key=lambda task: -sizes[task.key])

    def tell(event: Any) -> None:
        for listener in listeners:
            listener(event)

    n_rows = sum(sizes.values())
    n_rows_left = sum(sizes[task.key] for task in left)
    tell(
        RunStarted(
            stage,
            len(tasks),
            n_rows,
            len(reports),
            n_rows - n_rows_left,
            getattr(executor, "n_workers", 1),
        )
    )
    try:
        for report in executor.run(Attempt(function, ledger), left):
            if not report.status.is_done:
                report = replace(report, details={**report.details, "n_rows": sizes[report.task]})
                ledger.record(report)
            reports[report.task] = report
            tell(TaskEnded(report))
        ledger.forget_failures()
    finally:
        failed = sum(not report.status.is_done for report in reports.values())
        tell(RunEnded(stage, failed, len(tasks) - len(reports), time.perf_counter() - clock))
    return reports
