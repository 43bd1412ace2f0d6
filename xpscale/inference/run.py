"""Run a plan: do what is not done yet, on any executor; run it again to resume it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from xpscale.catalog.commit import build_manifest
from xpscale.catalog.identity import claim
from xpscale.catalog.layout import LEDGER, RUN
from xpscale.catalog.manifest import Manifest
from xpscale.inference.plan import InferencePlan
from xpscale.runtime.events import Callback
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.runtime.history import History, RunRecord
from xpscale.runtime.ledger import Ledger
from xpscale.runtime.run import run_stage
from xpscale.types import Executor, TaskReport, TaskStatus

__all__ = ["RunReport", "run_inference"]


@dataclass(frozen=True)
class RunReport:
    """What became of a run: a report for every task of its plan.

    Parameters
    ----------
    plan
        What was to be done.
    reports
        By task key.
    record
        What this run did of it, and where its time went; kept in the catalogue, see
        `xpscale.runtime.history`.
    """

    plan: InferencePlan
    reports: dict[str, TaskReport]
    record: RunRecord

    @property
    def failed(self) -> tuple[TaskReport, ...]:
        """Reports of tasks that did not finish."""
        return tuple(report for report in self.reports.values() if not report.status.is_done)

    @property
    def is_complete(self) -> bool:
        """Whether every task is done."""
        return len(self.reports) == len(self.plan.tasks) and not self.failed

    @property
    def n_new(self) -> int:
        """Tasks that this run did, and not one before it."""
        return sum(report.status is TaskStatus.WRITTEN for report in self.reports.values())

    @property
    def seconds(self) -> dict[str, float]:
        """Where the time went, summed over all tasks, in seconds."""
        names = ("read_s", "decode_s", "to_device_s", "forward_s", "encode_s", "write_s")
        total: Counter[str] = Counter()
        for report in self.reports.values():
            total.update({name: getattr(report, name) for name in names})
        return dict(total)

    @property
    def peak_memory(self) -> int:
        """Largest resident set of any worker, in bytes."""
        return max((report.peak_memory for report in self.reports.values()), default=0)

    @cached_property
    def manifest(self) -> Manifest:
        """Every part, for `xpscale.commit`.

        Raises
        ------
        IncompleteError
            Tasks are missing or failed; the message says which and why.
        """
        return build_manifest(self.plan.catalog, self.reports.values())


def run_inference(
    plan: InferencePlan,
    *,
    executor: Executor | None = None,
    callbacks: Iterable[Callback] = (),
    device: str = "auto",
) -> RunReport:
    """Encode every partition of a plan that is not in the catalogue yet.  Publishes nothing.

    Parameters
    ----------
    plan
        From `xpscale.plan_inference`.
    executor
        Where tasks run; serially in this process if not given.
    callbacks
        Listeners for progress.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    RunReport
        Failures included: they do not stop the rest.

    Raises
    ------
    PlanError
        No worker can do the work (`xpscale.inference.worker_check`).
    ConflictError
        The catalogue's place holds another run, or something else; the message names the
        differences.
    """
    executor = executor or SerialExecutor()
    if plan.catalog.exists(RUN):
        claim(plan.catalog, plan.identity)  # refuses another run: its model is another, too
    executor.require_fit(plan.function(plan.catalog, device))  # before anything is written
    claim(plan.catalog, plan.identity)
    history = History(plan.catalog / LEDGER)
    reports = run_stage(
        "infer",
        plan.prepare(plan.catalog, device),
        plan.tasks,
        executor,
        Ledger(plan.catalog / LEDGER),
        callbacks=[history, *callbacks],
        rows=lambda task: task.partition.n_rows,
    )
    return RunReport(plan, reports, history.record)
