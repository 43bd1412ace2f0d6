"""Workers that would compute something else, or cannot work at all, get no tasks."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import xpscale
from tests.support.dask_cluster import dask_processes
from xpscale.errors import PlanError
from xpscale.inference.infer import infer
from xpscale.inference.plan import plan_inference
from xpscale.inference.run import run_inference
from xpscale.inference.worker_check import WorkerCheck
from xpscale.runtime.executors.dask import DaskExecutor, connect
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.runtime.executors.threads import ThreadsExecutor
from xpscale.runtime.preflight import misfits, software
from xpscale.storage import Storage


@pytest.fixture(scope="module")
def other_version(tmp_path_factory):
    """Variables for a worker whose xpscale shifts latents, and is of the same version number."""
    place = tmp_path_factory.mktemp("other")
    shutil.copytree(Path(xpscale.__file__).parent, place / "xpscale")
    task = place / "xpscale/inference/task.py"
    text = task.read_text()
    assert "table = encoder(usable, watch)" in text
    shift = "table = encoder(usable.take(slice(None, None, -1)), watch)"
    task.write_text(text.replace("table = encoder(usable, watch)", shift))
    return {"PYTHONPATH": os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])}


def test_a_worker_of_another_state_of_the_code_is_left_out(
    store, model, reference, other_version, tmp_path
):
    with dask_processes(1, tmp_path / "dask") as cluster, connect(cluster.address) as client:
        pid = cluster.start_worker(environment=other_version)
        result = infer(store, model, str(tmp_path / "cat"), executor=DaskExecutor(client))
    assert result.manifest.parts == reference.manifest.parts
    workers = {report.worker.rsplit(":", 1)[1] for report in result.report.reports.values()}
    assert str(pid) not in workers
    (change,) = [each for each in result.report.record.changes if each.what == "left out"]
    assert "code " in change.why
    assert "instead of" in change.why


def test_a_run_without_any_fit_worker_claims_nothing(store, model, other_version, tmp_path):
    with dask_processes(0, tmp_path / "dask") as cluster, connect(cluster.address) as client:
        cluster.start_worker(environment=other_version)
        with pytest.raises(PlanError, match=r"no worker can do the work(?s:.*)code"):
            infer(store, model, str(tmp_path / "cat"), executor=DaskExecutor(client))
    assert not (tmp_path / "cat").exists()


def test_a_misfit_that_joins_later_gets_no_task(store, model, reference, other_version, tmp_path):
    joined = []
    with dask_processes(1, tmp_path / "dask") as cluster, connect(cluster.address) as client:

        def join(event):
            if not joined and type(event).__name__ == "TaskEnded":
                joined.append(cluster.start_worker(environment=other_version))
                client.wait_for_workers(2)

        plan = plan_inference(store, model, str(tmp_path / "cat"))
        report = run_inference(plan, executor=DaskExecutor(client), callbacks=[join])
    assert joined
    assert report.manifest.parts == reference.manifest.parts
    assert str(joined[0]) not in {r.worker.rsplit(":", 1)[1] for r in report.reports.values()}
    assert [change.what for change in report.record.changes] == ["left out"]


def test_a_worker_with_too_little_memory_is_named_and_left_out(store, model, tmp_path):
    with dask_processes(0, tmp_path / "dask") as cluster, connect(cluster.address) as client:
        cluster.start_worker(flags=("--memory-limit", "300MB"))
        with pytest.raises(PlanError, match=r"tcp://127.* may use 300 MB .*--memory-limit"):
            infer(store, model, str(tmp_path / "cat"), executor=DaskExecutor(client))
    assert not (tmp_path / "cat").exists()


@pytest.mark.parametrize("executor", [SerialExecutor(), ThreadsExecutor(2)])
def test_a_device_that_is_not_there_begins_nothing(store, model, tmp_path, executor):
    with pytest.raises(PlanError, match="no device 'tpu'"):
        infer(store, model, str(tmp_path / "cat"), executor=executor, device="tpu")
    assert not (tmp_path / "cat").exists()


def test_the_check_fails_where_the_work_would(store, model, make_model, spectra, tmp_path):
    place = Storage(str(tmp_path / "cat"))
    check = WorkerCheck.of(store, place, model, "cpu", 10**9)
    assert misfits(check, software(), None) == ()
    assert misfits(check, software(), 2 * 10**9) == ()
    assert "up to 1 GB" in misfits(check, software(), 10**8)[0]
    other = replace(check, answer=check.answer + 0.03)
    assert "posterior widths" in misfits(other, software(), None)[0]
    barely = replace(check, answer=check.answer + 1e-5)
    assert misfits(barely, software(), None) == ()
    gone = replace(check, has_run=True)
    assert "all workers reach" in misfits(gone, software(), None)[0]
    damaged = replace(check, model_files={**check.model_files, "model.safetensors": b"x" * 99})
    assert "damaged" in misfits(damaged, software(), None)[0]
    old = {**software(), "torch": "1.0", "code": "0" * 12}
    assert [p.split()[0] for p in misfits(check, old, None)] == ["torch", "code"]


def test_a_store_that_a_worker_cannot_read_is_named(spectra, model, tmp_path):
    from xpscale.ingest.build import build_store

    attributes = {"release": "synthetic", "origin": "universe"}
    store = build_store([("all", spectra)], str(tmp_path / "store"), attributes=attributes)
    check = WorkerCheck.of(store, Storage(str(tmp_path / "cat")), model, "cpu", 0)
    shutil.move(tmp_path / "store", tmp_path / "elsewhere")
    assert str(tmp_path / "store") in misfits(check, software(), None)[0]
