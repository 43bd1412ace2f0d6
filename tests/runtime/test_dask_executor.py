"""The Dask executor on real worker processes, some of which die."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from xpscale.errors import NotFoundError, TryAgainError
from xpscale.runtime.attempt import Attempt
from xpscale.runtime.executors import dask as dask_module
from xpscale.runtime.executors.dask import (
    DaskExecutor,
    connect,
    local_cluster,
    worker_environment,
)
from xpscale.runtime.ledger import Ledger
from xpscale.storage import Storage
from xpscale.types import TaskReport, TaskStatus

DEATHS = {"work": 0, "die once": 1, "die twice": 2, "die": 999}


@dataclass(frozen=True)
class Named:
    key: str
    does: str = "work"


@dataclass(frozen=True)
class Work:
    """Does what the task says; leaves a mark in a folder for every start."""

    folder: str

    def __call__(self, task):
        marks = Path(self.folder)
        (marks / f"{task.key}.{os.getpid()}.{time.time_ns()}").touch()
        if task.does == "hang":
            time.sleep(1000)
        if len(list(marks.glob(f"{task.key}.*"))) <= DEATHS[task.does]:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        return TaskReport(task.key, TaskStatus.WRITTEN, n_in=1, n_out=1)


def by_value():
    """Worker processes cannot import this module."""
    import sys

    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


by_value()


def run(client, tmp_path, tasks, patience_s=60.0):
    work = Attempt(Work(str(tmp_path)), Ledger(Storage(str(tmp_path / "ledger"))))
    reports = list(DaskExecutor(client, patience_s=patience_s).run(work, tasks))
    assert sorted(r.task for r in reports) == sorted(t.key for t in tasks)
    return {report.task: report for report in reports}


def test_workers_have_the_environment_that_makes_them_fast(client):
    for found in client.run(lambda: dict(os.environ)).values():
        assert {name: found.get(name) for name in worker_environment} == worker_environment


def test_what_nannies_of_an_earlier_cluster_left_does_not_slow_them(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    with local_cluster(1) as client:
        (found,) = client.run(os.getenv, "MALLOC_TRIM_THRESHOLD_").values()
    assert found == worker_environment["MALLOC_TRIM_THRESHOLD_"]


def test_workers_take_the_gpus_in_turn(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with local_cluster(3) as client:
        found = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
    assert sorted(found.values()) == ["4", "4", "7"]


def die_if_first(dask_worker):
    if dask_worker.name == 0:
        os._exit(1)
    return dict.fromkeys(worker_environment, "")


def test_a_worker_that_dies_when_it_is_asked_is_not_remarked_on_and_a_lost_scheduler_may_come_back(
    monkeypatch,
):
    monkeypatch.setattr(dask_module, "_environment", die_if_first)
    with local_cluster(2) as client:
        cluster = DaskExecutor(client)
        (remark,) = cluster.remarks()
        assert remark.startswith("1 of 1 workers run without OMP_NUM_THREADS=1")
        client.close()
        for ask in (cluster.remarks, lambda: cluster.n_workers):
            with pytest.raises(TryAgainError, match="connection to the Dask scheduler is lost"):
                ask()


def test_stopping_half_way_leaves_nothing_running(client, tmp_path):
    reports = DaskExecutor(client).run(Work(str(tmp_path)), [Named(f"t{i}") for i in range(50)])
    next(reports)
    reports.close()
    time.sleep(0.5)
    started = len(list(tmp_path.iterdir()))
    time.sleep(0.3)
    assert len(list(tmp_path.iterdir())) == started < 20
    assert not any(client.processing().values())


@pytest.mark.parametrize(
    "does", ["die once", "die twice"]
)  # the scheduler gives a task up after the second death
def test_workers_that_die_now_and_then_cost_nothing(does, client, tmp_path):
    client.wait_for_workers(2, timeout=60)
    reports = run(client, tmp_path, [Named(f"t{i}", does if i == 3 else "work") for i in range(12)])
    assert all(report.status.is_done for report in reports.values())
    assert len(list(tmp_path.glob("t3.*"))) == DEATHS[does] + 1


def test_tasks_that_always_kill_their_worker_fail_alone(client, tmp_path):
    client.wait_for_workers(2, timeout=60)
    killers = {"t1", "t4", "t6"}
    reports = run(
        client,
        tmp_path,
        [Named(f"t{i}", "die" if f"t{i}" in killers else "work") for i in range(24)],
    )
    assert {task for task, report in reports.items() if not report.status.is_done} == killers
    for task in killers:
        assert "worker process died" in reports[task].error


def test_tasks_that_hang_are_given_up_alone(client, tmp_path):
    """One that was queued behind it, on one worker after another, is done all the same."""
    client.wait_for_workers(2, timeout=60)
    reports = run(
        client,
        tmp_path,
        [Named(f"t{i}", "hang" if i == 3 else "work") for i in range(12)],
        patience_s=0.5,
    )
    assert {task for task, report in reports.items() if not report.status.is_done} == {"t3"}
    assert reports["t3"].status is TaskStatus.QUARANTINED
    assert "did not come back" in reports["t3"].error


def test_resources_choose_the_workers(client, tmp_path):
    client.wait_for_workers(2, timeout=60)
    first = sorted(client.scheduler_info(n_workers=-1)["workers"])[0]

    async def give(dask_worker):
        await dask_worker.set_resources(GPU=1)

    client.run(give, workers=[first])
    pid = client.run(os.getpid, workers=[first])[first]
    work = Attempt(Work(str(tmp_path)), Ledger(Storage(str(tmp_path / "ledger"))))
    reports = list(DaskExecutor(client, {"GPU": 1}).run(work, [Named(f"t{i}") for i in range(6)]))
    assert {report.worker.rsplit(":")[-1] for report in reports} == {str(pid)}


def test_a_scheduler_elsewhere_is_reached_by_its_address_and_a_wrong_one_is_named(client, tmp_path):
    with connect(client.scheduler.address) as other:
        assert run(other, tmp_path, [Named("t")])["t"].status is TaskStatus.WRITTEN
    with (
        pytest.raises(NotFoundError, match="no Dask scheduler answers"),
        connect("tcp://127.0.0.1:9"),
    ):
        pass


def leave_something_slow_to_take_apart():
    import sys
    import types

    class Slow(types.ModuleType):
        def __del__(self):
            import time

            time.sleep(8)

    sys.modules["slow"] = Slow("slow")


def test_a_cluster_ends_quickly_and_quietly(capfd):
    with local_cluster(2) as client:
        client.run(leave_something_slow_to_take_apart)
        clock = time.perf_counter()
    assert time.perf_counter() - clock < 4  # the nanny's patience: longer means that it killed
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_an_interrupted_start_ends_quietly():
    script = """
from xpscale.runtime.executors.dask import local_cluster
try:
    with local_cluster(2):
        print("started")
except KeyboardInterrupt:
    print("interrupted")
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while len(psutil.Process(process.pid).children()) < 2:  # the first worker process begins
        time.sleep(0.01)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does it
    assert process.communicate(timeout=60)[0] == "interrupted\n"


ODD = (
    *("tls://127.0.0.1:9", "ucx://127.0.0.1:9", "gateway://127.0.0.1:9", "http://127.0.0.1:9"),
    *("tcp://127.0.0.1", "tcp://127.0.0.1:x", "inproc://", "127.0.0.1", ""),
)


def test_odd_addresses_are_refused_in_one_line_and_leave_no_client_behind():
    """Case F13: addresses that Dask refuses by a TypeError."""
    script = f"""
from xpscale.errors import NotFoundError
from xpscale.runtime.executors.dask import connect
for address in {ODD!r}:
    try:
        connect(address).__enter__()
    except NotFoundError as error:
        assert address in error.message, error
        assert "\\n" not in error.message, error
    else:
        raise AssertionError(address)
"""
    # a client that is left open waits 30 s when Python ends, and then complains
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (ended.returncode, ended.stderr) == (0, "")
