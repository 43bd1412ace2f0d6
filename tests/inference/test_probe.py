"""The probe: what it measures of a known schedule, and that nothing of it stays."""

import json
import os
import time

import pytest

from tests.commands import done
from xpscale.catalog.clean import MINIMUM_AGE_S
from xpscale.catalog.layout import MODEL
from xpscale.errors import IncompleteError, InvalidInputError
from xpscale.forecast.probe import calibrate
from xpscale.inference.plan import plan_inference
from xpscale.runtime.executors.threads import ThreadsExecutor
from xpscale.storage import Storage
from xpscale.types import TaskReport, TaskStatus


def schedule(offsets, n_later, rows=500, seconds=0.5, first_s=1.5):
    """Reports, and when they came, of workers with two places that begin at their offsets and never
    wait.
    """
    reports, arrived = [], []
    for number, offset in enumerate(offsets):
        for place in range(2):
            ends = offset + first_s
            for later in range(1 + n_later):
                wall_s = seconds if later else first_s
                reports.append(
                    TaskReport(
                        f"{number}-{place}-{later}",
                        TaskStatus.WRITTEN,
                        n_in=rows,
                        n_out=rows,
                        started=1e6 + ends - wall_s,
                        wall_s=wall_s,
                        worker=f"worker-{number}",
                        peak_memory=1000 + number,
                        details={"bytes_in": 440 * rows},
                    )
                )
                arrived.append(ends)
                ends += seconds
    return reports, arrived


def test_rate_and_start_up_are_those_of_the_schedule():
    found = calibrate(*schedule(offsets=(2.0, 3.0), n_later=6))
    assert found.worker_sources_per_s == pytest.approx(2 * 500 / 0.5)
    assert found.measured_s == pytest.approx(2)  # from when both are warm until a place is free
    assert found.start_up_s == pytest.approx(
        (2 + 3) / 2 + 1.5 - 0.5
    )  # what a first task takes longer, and the wait for it
    assert (found.n_workers, found.n_tasks, found.n_sources) == (2, 28, 14_000)
    assert (found.bytes_in, found.peak_memory) == (440, 1001)


def test_a_probe_measures_and_leaves_nothing_behind(store, model, tmp_path):
    plan = plan_inference(store, model, str(tmp_path / "catalog"))
    found = plan.probe(ThreadsExecutor(2), device="cpu", seconds=0)
    assert 8 <= found.n_tasks <= len(plan.tasks)
    assert 0 < found.n_sources <= plan.n_rows
    assert found.worker_sources_per_s > 0
    assert found.bytes_in > 440  # values and errors, compressed
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_fails_stops_the_probe(store, model, tmp_path, monkeypatch):
    def broken(*_):
        raise InvalidInputError("this row is broken")

    monkeypatch.setattr("xpscale.inference.task._encoder", broken)
    with pytest.raises(IncompleteError, match=r"the probe's task .* this row is broken"):
        plan_inference(store, model, str(tmp_path / "catalog")).probe(
            ThreadsExecutor(1), device="cpu"
        )
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_probe_left_is_removed_by_the_next(store, model, tmp_path):
    """But neither what another probe, which may be running, wrote less than an hour ago, nor what
    no probe wrote.
    """
    plan = plan_inference(store, model, str(tmp_path / "catalog"))
    old_s = MINIMUM_AGE_S + 60
    for name, age_s in (("0123abcd", old_s), ("89ef0123", MINIMUM_AGE_S - 600), ("theirs", old_s)):
        scratch = tmp_path / "catalog.probe" / name
        model.save(Storage(str(scratch)) / MODEL)
        for path in scratch.rglob("*"):
            os.utime(path, (time.time() - age_s,) * 2)
    plan.probe(ThreadsExecutor(1), device="cpu", seconds=0)
    left = {path.name for path in (tmp_path / "catalog.probe").iterdir()}
    assert left == {"89ef0123", "theirs"}


def test_plan_prints_what_the_probe_measured(store, model, tmp_path):
    model.save(str(tmp_path / "model"))
    catalog = tmp_path / "catalog"
    printed = done(
        "plan", store.storage.url, tmp_path / "model", catalog, "--workers", 0, "--probe", "--json"
    )
    numbers = json.loads(printed.out)
    rate = numbers["probe"]["worker_sources_per_s"] * numbers["probe"]["n_workers"]
    assert numbers["projected_s"] > numbers["n_rows"] / rate
    assert not catalog.exists()
