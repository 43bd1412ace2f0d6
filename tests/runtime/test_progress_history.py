"""The split of a run's time, its record, the terminal and the metrics: one made-up run with known
times, seen four ways.
"""

import io
import re
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from xpscale.errors import ConflictError
from xpscale.runtime.events import RunEnded, RunStarted, TaskEnded
from xpscale.runtime.history import History, RunRecord, read_records
from xpscale.runtime.progress import TerminalProgress
from xpscale.runtime.prometheus import MetricsServer
from xpscale.runtime.split import STAGES, TaskTime, TimeSplit
from xpscale.runtime.split_text import describe_bound, describe_split, split_table
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.types import Part, TaskReport, TaskStatus

T0 = 1_000_000.0


def report(i, worker, begin, wall_s, **seconds):
    part = Part(Pixel(5, i), f"part-{i}", 90, 500, "0" * 64)
    return TaskReport(
        f"t{i}",
        TaskStatus.WRITTEN,
        (part,),
        n_in=100,
        n_out=90,
        n_rejected={"no_g_flux": 10},
        started=T0 + begin,
        wall_s=wall_s,
        worker=worker,
        peak_memory=10**6 * (i + 1),
        details={"bytes_in": 1_000},
        **seconds,
    )


REPORTS = (
    report(0, "a", 0, 4, read_s=1, forward_s=2),  # 1 s of it is no stage's
    report(1, "b", 2, 4, read_s=1, forward_s=2, write_s=1),
    report(2, "a", 5, 5, read_s=1, forward_s=3, write_s=1),  # after 1 s without a task
    replace(report(3, "b", 6, 1), status=TaskStatus.FAILED, error="spoilt"),
    replace(report(4, "b", 0, 9), status=TaskStatus.ALREADY_WRITTEN),
)


def events(n_done=0):
    yield RunStarted("infer", 8, 800, n_done, 100 * n_done, 2, started=T0, client="host:7")
    for each in REPORTS:
        yield TaskEnded(each)
    yield RunEnded("infer", 1, 3, 10.0)


def record():
    history = History()
    for event in events(n_done=2):
        history(event)
    return history.record


def test_the_split_is_what_was_put_in():
    a, b = TimeSplit.of(map(TaskTime.of, REPORTS[:3])).workers
    assert (a.worker, a.n_tasks, a.n_in, a.bytes_in, a.bytes_out) == ("a", 2, 200, 2_000, 1_000)
    assert (a.wall_s, a.start_up_s, a.other_s, a.idle_s, a.peak_memory) == (10, 1, 0, 1, 3 * 10**6)
    assert (b.wall_s, b.other_s, b.idle_s) == (
        8,
        0,
        4,
    )  # from its own first task to the end of the run
    split = record().split
    assert split.total.seconds == {**dict.fromkeys(STAGES, 0), "read": 3, "forward": 7, "write": 2}
    assert (split.total.idle_s, split.total.wall_s) == (5, 18)
    assert split.sources_per_s == pytest.approx(200 / 10 + 100 / 8)
    assert describe_split(split).endswith(
        "idle 28% of worker time; bound by forward; 32 sources/s, 325 B/s in, 162 B/s out"
    )
    assert describe_split(TimeSplit(())) == ""


def test_stages_side_by_side_count_as_busy_and_the_busiest_bounds_it():
    """A worker of ten seconds: start-up, then three tasks whose write is busy all the time beside a
    read and a forward.
    """
    tasks = [report(0, "a", 0, 4, read_s=1, forward_s=0.5, write_s=1)]
    tasks += [report(i, "a", 2 * i + 2, 2, read_s=1.5, forward_s=1, write_s=1.9) for i in (1, 2, 3)]
    split = TimeSplit.of(map(TaskTime.of, tasks))
    (a,) = split.workers
    assert a.shares == pytest.approx(
        {"read": 0.55, "decode": 0, "to_device": 0, "forward": 0.35, "encode": 0, "write": 0.67}
        | {"start_up": 0.15, "other": 0, "idle": 0}
    )
    assert split.bound_by == "write"
    assert (
        "write 67%, start up 15% of worker time (stages side by side); bound by write;"
        in describe_split(split)
    )
    slow_start = TimeSplit.of(
        map(TaskTime.of, [report(0, "a", 0, 9, read_s=1), report(1, "a", 9, 1, write_s=1.2)])
    )
    assert describe_bound(slow_start) == "bound by start up, then by write"
    head, row = (re.split(r"\s{2,}", line.strip()) for line in split_table(split))
    assert dict(zip(head, row, strict=True)) == {
        "worker": "a", "tasks": "4", "sources/s": "40", "in": "400 B/s", "out": "200 B/s",
        "read": "55%", "forward": "35%", "write": "67%", "start up": "15%", "memory": "4 MB",
    }  # fmt: skip
    many = TimeSplit.of(TaskTime.of(report(i, f"w{i:02}", 0, 1 + i, read_s=1)) for i in range(20))
    assert [line.split()[0] for line in split_table(many)] == [
        "worker",
        *(f"w{i:02}" for i in range(16)),
        "all",
        "4",
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.integers(1, 20), st.floats(0, 1)),
        min_size=1,
        max_size=20,
    )
)
def test_busy_and_idle_make_up_the_worker_s_time(rows):
    tasks = [
        TaskTime.of(report(i, worker, begin, wall, forward_s=wall * share))
        for i, (worker, begin, wall, share) in enumerate(rows)
    ]
    end = max(task.ended for task in tasks)
    for worker in TimeSplit.of(tasks).workers:
        own = [task for task in tasks if task.worker == worker.worker]
        seconds = {
            s for task in own for s in range(round(task.started - T0), round(task.ended - T0))
        }
        assert worker.wall_s == end - min(task.started for task in own)
        assert worker.idle_s == worker.wall_s - len(seconds)
        first_end = min(task.ended for task in own)
        waited = [
            task.other_s for task in own if task.started < first_end
        ]  # for one start-up, all at once
        spent = sum(task.wall_s for task in own) - sum(waited) + max(waited)
        assert sum(worker.seconds.values()) + worker.start_up_s + worker.other_s == pytest.approx(
            spent, abs=1e-2
        )


def test_a_record_says_what_is_left_and_survives_its_json(tmp_path):
    found = record()
    assert (len(found.tasks), found.n_failed, found.n_done_elsewhere, found.is_over) == (
        3,
        1,
        3,
        True,
    )
    assert found.n_rows_left == 800 - 300 - 300
    assert found.sources_per_s == pytest.approx(
        150 / 6
    )  # after the first task's end: half of b's task, one of a's
    assert found.left_s == pytest.approx(200 / 25)
    assert replace(found, tasks=found.tasks[:1]).sources_per_s == pytest.approx(100 / 4)
    assert RunRecord.from_json(found.to_json()) == found
    # a rate of lately: the last minute of an hour in which the second half went twice as fast
    slow = [replace(found.tasks[0], started=10.0 * i, wall_s=10.0) for i in range(180)]
    fast = [replace(found.tasks[0], started=1_800 + 5.0 * i, wall_s=5.0) for i in range(360)]
    assert replace(found, n_workers=1, tasks=(*slow, *fast)).sources_per_s == pytest.approx(100 / 5)

    storage = Storage(str(tmp_path))
    history = History(storage, every_s=0)
    for event in (*events(),)[:3]:
        history(event)
    (saved,) = read_records(storage)
    assert (len(saved.tasks), saved.is_over) == (2, False)
    history(RunEnded("infer", 0, 6, 1.0))
    assert [len(each.tasks) for each in read_records(storage)] == [2]
    early = History(storage)
    early(RunStarted("infer", 8, 800, 2, 200, 2))
    assert [len(each.tasks) for each in read_records(storage)] == [
        2,
        0,
    ]  # it can be seen before a task has ended
    idle = History(storage)
    for event in (RunStarted("infer", 8, 800, 8, 800, 2), RunEnded("infer", 0, 0, 0.1)):
        idle(event)
    assert len(read_records(storage)) == 2  # a run that found everything done leaves no record
    records = read_records(storage)
    storage.replace(f"runs/{saved.name} copy.json", saved.to_json().encode())
    for name in ("other.json", "._other.json", ".DS_Store", "Thumbs.db"):
        storage.replace(f"runs/{name}", b"{}")
    assert read_records(storage) == records


def test_a_record_that_cannot_be_kept_does_not_stop_the_run(tmp_path):
    (tmp_path / "runs").write_text("in the way")
    history = History(Storage(str(tmp_path)), every_s=0)
    for event in events():
        history(event)
    assert len(history.record.tasks) == 3


def test_the_terminal_shows_each_worker_and_what_bounds_it(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    stream = io.StringIO()
    assert Console(file=stream).is_terminal
    progress = TerminalProgress(stream)
    for event in events():
        progress(event)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    frame = text[text.rindex("worker  tasks") :]
    rows = {
        line.split()[0]: re.split(r"\s{2,}", line.strip())
        for line in frame.splitlines()
        if line.strip()
    }
    stages = ["read", "forward", "write", "start up", "idle"]
    assert rows["worker"] == ["worker", "tasks", "sources/s", "in", "out", *stages, "memory"]
    assert rows["a"] == [
        "a",
        "2",
        "20",
        "200 B/s",
        "100 B/s",
        "20%",
        "50%",
        "10%",
        "10%",
        "10%",
        "3 MB",
    ]
    assert rows["b"][1:3] == ["1", "12"]
    assert rows["all"][1:3] == ["3", "32"]
    assert "bound by forward" in text
    assert "infer: t3 failed: spoilt" in text
    assert "1 failed, 3 left" in text


def test_lines_have_the_rate_the_split_and_the_time_left():
    stream = io.StringIO()
    progress = TerminalProgress(stream, every_s=0)
    for event in events():
        progress(event)
    line = stream.getvalue().splitlines()[2]
    assert re.match(
        r"infer: 3 of 8 tasks, [\d,]+ sources/s, 20 s left; read 17%, forward 39%, .*bound by"
        r" forward",
        line,
    )
    assert [text.split()[0] for text in stream.getvalue().splitlines()[-6:-1]] == [
        "worker",
        "a",
        "b",
        "all",
        "bound",
    ]


@pytest.mark.parametrize("n_rows", [0, 100])
def test_every_line_ends_also_after_tasks_without_rows(n_rows):
    """The next stage of a run begins a line of its own."""
    stream = io.StringIO()
    progress = TerminalProgress(stream)
    for event in (
        RunStarted("margin", 1, n_rows, 0, 0, 2, started=T0, client="host:7"),
        TaskEnded(replace(REPORTS[0], n_in=n_rows, n_out=n_rows, n_rejected={})),
        RunEnded("margin", 0, 0, 10.0),
    ):
        progress(event)
    assert "bound by" in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def scrape(port, path="/metrics"):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def samples(text):
    """Samples of metrics in Prometheus' text format of one run, by name and other labels."""
    found, runs = {}, set()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            runs.add((labels.pop("command"), labels.pop("run")))
            found[sample.name, *sorted(labels.items())] = sample.value
    (run,) = runs
    return {**found, "run": run}


def test_metrics_are_scraped_while_it_runs():
    with MetricsServer(0) as metrics:
        assert samples(scrape(metrics.port)[1])["xpscale_tasks",] == 0
        for event in (*events(),)[:4]:
            metrics(event)
        kind, text = scrape(metrics.port)
        assert kind.startswith("text/plain; version=0.0.4")
        found = samples(text)
        assert found["run"] == ("infer", "19700112T134640.000-host-7")
        assert found["xpscale_tasks",] == 8
        assert found["xpscale_worker_changes_total", ("change", "lost")] == 0
        assert found["xpscale_tasks_ended_total", ("status", "finished")] == 3
        assert (
            found[
                "xpscale_stage_seconds_total",
                ("stage", "forward"),
                ("worker", "a"),
            ]
            == 5
        )
        assert found["xpscale_idle_seconds", ("worker", "b")] == 4
        assert found["xpscale_sources_rejected_total", ("reason", "no_g_flux")] == 30
        assert found["xpscale_written_bytes_total", ("worker", "a")] == 1_000
        with pytest.raises(urllib.error.HTTPError, match="404"):
            scrape(metrics.port, "/")
        with pytest.raises(ConflictError, match=f"port {metrics.port}"):
            MetricsServer(metrics.port)
        with pytest.raises(ConflictError, match=r"192\.0\.2\.1"):
            MetricsServer(0, "192.0.2.1")
    kinds = dict(re.findall(r"# TYPE (\w+) (\w+)", text))
    assert kinds["xpscale_read_bytes_total"] == "counter"
    assert kinds["xpscale_left_seconds"] == "gauge"


def test_a_worker_of_any_name_is_a_label():
    with MetricsServer(0) as metrics:
        metrics(RunStarted("infer", 8, 800))
        metrics(TaskEnded(replace(REPORTS[0], worker='a"b\\c')))
        found = samples(scrape(metrics.port)[1])
    assert found["xpscale_read_bytes_total", ("worker", 'a"b\\c')] == 1_000
