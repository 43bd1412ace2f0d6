"""The reports of finished tasks, one object each, so that resume costs one listing and not a look
at every output.

A task's report is created after its parts are there; whoever finds it may skip the task.  Two
workers that ran the same task agree: the first report stands, and the second worker takes it over.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from xpscale.errors import ConflictError, NotFoundError
from xpscale.storage import Storage
from xpscale.types import TaskReport

__all__ = ["Ledger"]


@dataclass(frozen=True, slots=True)
class Ledger:
    """Reports below a prefix: ``ledger/KEY.json`` of finished tasks, ``failed/KEY.json`` of the
    last failures.

    Parameters
    ----------
    storage
        Where: usually the ``_xpscale`` folder of what the run writes.
    stage
        Name of the run's stage, if several share the place; part of the keys.
    """

    storage: Storage
    stage: str = ""

    def _key(self, folder: str, task: str) -> str:
        return "/".join(filter(None, (folder, self.stage, f"{task}.json")))

    def find(self, task: str) -> TaskReport | None:
        """The report of an attempt that finished this task, or ``None``."""
        return self._read(self._key("ledger", task), task)

    def record(self, report: TaskReport) -> TaskReport:
        """Keep the report of a finished (or failed) task.

        Returns
        -------
        TaskReport
            The report that stands: an earlier one if another attempt finished first.
        """
        data = report.to_json().encode()
        if not report.status.is_done:
            key = self._key("failed", report.task)
            self.storage.replace(
                key, data, lambda there: TaskReport.of(report.task, there) is not None
            )
            return report
        key = self._key("ledger", report.task)
        if self.storage.create(key, data):
            return report
        first = self.find(report.task)
        if first is None:
            raise ConflictError(
                f"{self.storage}/{key} is there, and is no report of {report.task}", "Remove it"
            )
        return first.as_already_written()

    def finished(self) -> dict[str, TaskReport]:
        """All finished tasks' reports by task key: one listing, then reads in parallel."""
        return self._reports("ledger")

    def finished_tasks(self) -> frozenset[str]:
        """Keys of all finished tasks: one listing, no reads."""
        return frozenset(self._keys("ledger"))

    def failed(self) -> dict[str, TaskReport]:
        """The last failure of every task that has failed and not finished since."""
        finished = set(self._keys("ledger"))
        return {
            task: report for task, report in self._reports("failed").items() if task not in finished
        }

    def forget_failures(self) -> None:
        """Remove the failures of tasks that have finished since."""
        finished = self._keys("ledger")
        self.storage.delete(
            *(key for task, key in self._keys("failed").items() if task in finished)
        )

    def _keys(self, folder: str) -> dict[str, str]:
        prefix = "/".join(filter(None, (folder, self.stage)))
        keys = (key for key in self.storage.list(prefix) if key.endswith(".json"))
        return {key.removeprefix(f"{prefix}/").removesuffix(".json"): key for key in keys}

    def _reports(self, folder: str) -> dict[str, TaskReport]:
        keys = self._keys(folder)
        with ThreadPoolExecutor(16) as threads:
            reports = threads.map(self._read, keys.values(), keys)
            return {task: report for task, report in zip(keys, reports, strict=True) if report}

    def _read(self, key: str, task: str) -> TaskReport | None:
        try:
            return TaskReport.of(task, self.storage.read(key))
        except NotFoundError:  # or another client has just removed the failure of a finished task
            return None
