"""What every executor must do, as a test class: inherit it, give it a fixture, run it with pytest.

class TestSerialExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self):
        return SerialExecutor()
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from xpscale.errors import InvalidInputError, PlanError
from xpscale.types import Executor, TaskReport, TaskStatus

__all__ = ["ExecutorContract", "NamedTask", "work"]

N_TASKS = 40


@dataclass(frozen=True)
class NamedTask:
    """A task that does what it says: ``"work"``, ``"bug"`` or ``"bad input"``."""

    key: str
    does: str = "work"


def work(task: NamedTask) -> TaskReport:
    """A function of a task that takes a moment, and raises where the task says so."""
    time.sleep(0.005)
    if task.does == "bug":
        raise ZeroDivisionError(f"{task.key} has a bug")
    if task.does == "bad input":
        raise InvalidInputError(f"{task.key} cannot be read")
    return TaskReport(task.key, TaskStatus.WRITTEN, n_in=2, n_out=2)


@dataclass(frozen=True)
class Impossible:
    """A function of a task that needs what no worker has."""

    def check(self, memory: int | None) -> None:
        """Refuse every process."""
        raise InvalidInputError("it needs a telescope")

    def __call__(self, task: NamedTask) -> TaskReport:
        """Never called."""
        raise AssertionError(task)


class ExecutorContract:
    """Every task makes one report, whatever happens; tasks are taken as workers become free.  Needs
    a fixture ``executor``.
    """

    most_in_flight = 1
    """Tasks that the executor may have taken and not reported yet."""

    @pytest.fixture
    def executor(self) -> Executor:
        """The executor."""
        raise NotImplementedError("override this fixture")

    def test_every_task_makes_one_report(self, executor: Executor) -> None:
        """In any order; no task is lost or reported twice."""
        tasks = [NamedTask(f"t{i}") for i in range(N_TASKS)]
        reports = list(executor.run(work, tasks))
        assert sorted(report.task for report in reports) == sorted(task.key for task in tasks)
        assert {(report.status, report.n_out) for report in reports} == {(TaskStatus.WRITTEN, 2)}

    def test_work_that_no_worker_can_do_is_refused(self, executor: Executor) -> None:
        """Before it begins, with the reason."""
        executor.require_fit(work)
        with pytest.raises(PlanError, match="needs a telescope"):
            executor.require_fit(Impossible())

    def test_no_tasks_no_reports(self, executor: Executor) -> None:
        """An empty stage ends at once."""
        assert list(executor.run(work, [])) == []

    def test_a_function_that_raises_makes_a_report(self, executor: Executor) -> None:
        """The other tasks go on; the report says what was raised, and where if it is a bug."""
        does = {"t3": "bug", "t7": "bad input"}
        tasks = [NamedTask(f"t{i}", does.get(f"t{i}", "work")) for i in range(12)]
        reports = {report.task: report for report in executor.run(work, tasks)}
        assert len(reports) == len(tasks)
        failed = {key for key, report in reports.items() if not report.status.is_done}
        assert failed == does.keys()
        assert reports["t3"].status is TaskStatus.FAILED
        assert "ZeroDivisionError: t3 has a bug" in reports["t3"].error
        assert "executor_contract.py" in reports["t3"].error
        assert reports["t7"].status is TaskStatus.QUARANTINED
        assert reports["t7"].error == "t7 cannot be read"

    def test_tasks_are_taken_as_workers_become_free(self, executor: Executor) -> None:
        """A generator of tasks is never far ahead of the reports, so a stage of millions of tasks
        needs little memory.
        """
        n_taken = n_reported = most = 0

        def tasks() -> Iterator[NamedTask]:
            nonlocal n_taken
            for i in range(N_TASKS):
                n_taken += 1
                yield NamedTask(f"t{i}")

        for _ in executor.run(work, tasks()):
            most = max(most, n_taken - n_reported)
            n_reported += 1
        assert n_reported == N_TASKS
        assert most <= self.most_in_flight

    def test_a_consumer_may_stop_early(self, executor: Executor) -> None:
        """Tasks that were not taken yet never start, and the executor can be used again."""
        n_taken = 0

        def tasks() -> Iterator[NamedTask]:
            nonlocal n_taken
            for i in range(N_TASKS):
                n_taken += 1
                yield NamedTask(f"t{i}")

        reports = executor.run(work, tasks())
        next(reports)
        reports.close()  # type: ignore[attr-defined]
        assert n_taken <= self.most_in_flight + 1
        assert [report.task for report in executor.run(work, [NamedTask("next")])] == ["next"]

    def test_it_says_how_many_workers_it_has(self, executor: Executor) -> None:
        """For plans and progress."""
        assert executor.n_workers >= 1
