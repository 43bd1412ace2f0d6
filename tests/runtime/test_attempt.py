"""One attempt, the ledger, a stage, and the progress that listens."""

import io
from dataclasses import dataclass, field, replace

import pytest

from xpscale.errors import ConflictError, InvalidInputError, PermanentError, TryAgainError
from xpscale.runtime import attempt as module
from xpscale.runtime.attempt import Attempt, peak_memory
from xpscale.runtime.events import RunEnded, RunStarted, TaskEnded
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.runtime.ledger import Ledger
from xpscale.runtime.progress import TerminalProgress
from xpscale.runtime.run import run_stage
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.types import Part, TaskReport, TaskStatus


@dataclass(frozen=True)
class Named:
    key: str


@dataclass
class Work:
    """Raises what is listed, one a call, then succeeds."""

    errors: list = field(default_factory=list)
    calls: int = 0

    def __call__(self, task):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        part = Part(Pixel(0, 0), f"{task.key}.parquet", 3, 10, "ab")
        return TaskReport(
            task.key,
            TaskStatus.WRITTEN,
            (part,),
            n_in=5,
            n_out=3,
            n_rejected={"bad": 2},
            read_s=1.5,
        )


@pytest.fixture
def ledger(tmp_path):
    return Ledger(Storage(str(tmp_path / "place")), "stage")


@pytest.fixture
def pauses(monkeypatch):
    slept = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    return slept


def test_a_task_is_done_once_and_recorded_before_it_counts(ledger):
    work, task = Work(), Named("Norder=1/Npix=2")
    report = Attempt(work, ledger)(task)
    assert ledger.find(task.key) == report
    assert (report.status, report.n_out, report.peak_memory > 10**7) == (
        TaskStatus.WRITTEN,
        3,
        True,
    )
    assert report.wall_s > 0
    again = Attempt(work, ledger)(task)
    assert (again.status, again.parts, work.calls) == (TaskStatus.ALREADY_WRITTEN, report.parts, 1)
    assert TaskReport.from_json(report.to_json()) == report


def test_of_two_attempts_at_once_the_first_report_stands(ledger):
    task = Named("t")
    first = Attempt(Work(), ledger)

    def slower(task):
        won.append(first(task))
        return replace(Work()(task), read_s=99.0)

    won = []
    second = Attempt(slower, ledger)(task)
    assert second.read_s == won[0].read_s == 1.5
    assert ledger.finished() == {"t": won[0]}


@pytest.mark.parametrize(
    ("errors", "status", "calls", "n_pauses"),
    [
        ([TryAgainError("slow down")] * 3, TaskStatus.WRITTEN, 4, 3),
        ([TryAgainError("slow down")] * 9, TaskStatus.FAILED, 4, 3),
        ([InvalidInputError("no good", "mend it")], TaskStatus.QUARANTINED, 1, 0),
        ([PermanentError("never")], TaskStatus.QUARANTINED, 1, 0),
        ([ConflictError("taken")], TaskStatus.FAILED, 1, 0),
        ([ZeroDivisionError("one by zero")], TaskStatus.FAILED, 1, 0),
        ([TryAgainError("x"), MemoryError("too big")], TaskStatus.FAILED, 2, 1),
    ],
)
def test_errors_become_reports(errors, status, calls, n_pauses, ledger, pauses):
    last, work = errors[-1], Work(list(errors))
    report = Attempt(work, ledger)(Named("t"))
    assert (report.status, work.calls, len(pauses)) == (status, calls, n_pauses)
    assert pauses == sorted(pauses)
    if status is not TaskStatus.WRITTEN:
        assert str(last) in report.error
        assert ledger.find("t") is None


def test_a_bug_is_reported_with_its_place(ledger):
    report = Attempt(lambda task: 1 // 0, ledger)(Named("t"))
    assert "ZeroDivisionError" in report.error
    assert "test_attempt.py" in report.error


def test_a_stage_runs_what_is_left_and_tells_everything(ledger):
    tasks = [Named(f"t{i}") for i in range(5)]
    Attempt(Work(), ledger)(tasks[0])

    def work(task):
        if task.key == "t3":
            raise InvalidInputError("t3 is bad")
        return Work()(task)

    events = []
    reports = run_stage(
        "sort", work, tasks, SerialExecutor(), ledger, callbacks=[events.append], rows=lambda t: 10
    )
    assert events[0] == RunStarted("sort", 5, 50, 1, 10, 1)
    assert [event.report.task for event in events[1:-1]] == ["t1", "t2", "t3", "t4"]
    assert all(isinstance(event, TaskEnded) for event in events[1:-1])
    assert (events[-1].n_failed, events[-1].n_left) == (1, 0)
    assert [reports[t.key].status for t in tasks] == [
        "already_written",
        "written",
        "written",
        "quarantined",
        "written",
    ]
    assert list(ledger.failed()) == ["t3"]
    reports = run_stage("sort", Work(), tasks, SerialExecutor(), ledger)
    assert all(report.status.is_done for report in reports.values())
    assert ledger.failed() == {}
    assert len(ledger.finished()) == 5


def test_a_stage_without_a_ledger_runs_every_task_and_retries_and_hands_over_its_results(pauses):
    work, taken = Work([TryAgainError("slow down")]), []

    def with_result(task):
        return replace(work(task), details={"result": task.key.upper()})

    def take(report):
        taken.append(report.details["result"])
        return replace(report, details={})

    reports = run_stage(
        "sum", with_result, [Named("a"), Named("b")], SerialExecutor(), receive=take
    )
    assert (taken, len(pauses)) == (["A", "B"], 1)
    assert {key: (r.status, r.details) for key, r in reports.items()} == {
        "a": (TaskStatus.WRITTEN, {}),
        "b": (TaskStatus.WRITTEN, {}),
    }
    assert reports["a"].worker


def test_an_interrupted_stage_says_what_is_left(ledger):
    tasks, events = [Named(f"t{i}") for i in range(4)], []

    def work(task):
        if task.key == "t2":
            raise KeyboardInterrupt
        return Work()(task)

    with pytest.raises(KeyboardInterrupt):
        run_stage("sort", work, tasks, SerialExecutor(), ledger, callbacks=[events.append])
    assert isinstance(events[-1], RunEnded)
    assert events[-1].n_left == 2
    assert set(ledger.finished()) == {"t0", "t1"}


def test_stages_in_one_place_do_not_mix(tmp_path):
    place = Storage(str(tmp_path))
    Attempt(Work(), Ledger(place, "a"))(Named("t"))
    assert Ledger(place, "b").finished() == {}
    assert list(Ledger(place, "a").finished()) == ["t"]


def test_progress_is_lines_where_there_is_no_terminal(ledger):
    stream = io.StringIO()
    work = Work([InvalidInputError("spoilt", "mend it")])
    progress = TerminalProgress(stream, every_s=0)
    run_stage(
        "sort", work, [Named("a"), Named("b")], SerialExecutor(), ledger, callbacks=[progress]
    )
    lines = stream.getvalue().splitlines()
    assert "sort: a quarantined: spoilt. mend it" in lines
    assert lines[-1].startswith("sort: 2 of 2 tasks in")
    assert lines[-1].endswith("1 failed")


def test_peak_memory_is_of_this_process_alone():
    import subprocess
    import sys

    ballast = bytearray(300_000_000)
    code = "from xpscale.runtime.attempt import peak_memory; print(peak_memory())"
    child = int(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    )
    assert peak_memory() > len(ballast)
    assert 10**7 < child < 200_000_000
