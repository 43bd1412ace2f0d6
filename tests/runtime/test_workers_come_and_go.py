"""Real worker processes that join, are told to end, are killed or hold too much memory."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest
from distributed import Client, LocalCluster

from tests.support.dask_cluster import dask_processes
from xpscale.errors import PlanError
from xpscale.runtime.events import WorkerChanged
from xpscale.runtime.executors.dask import DaskExecutor
from xpscale.runtime.executors.fit_workers import Answer, Fit, fit_workers
from xpscale.runtime.executors.window import Window
from xpscale.runtime.history import History
from xpscale.runtime.run import run_stage
from xpscale.runtime.stall import FACTOR, Turnaround
from xpscale.types import TaskReport, TaskStatus

pytestmark = [pytest.mark.xdist_group("dask"), pytest.mark.timeout(120)]


@dataclass(frozen=True)
class Sleep:
    """A task, of some seconds."""

    key: str
    seconds: float


@dataclass(frozen=True)
class Work:
    """Leaves ``KEY.begun`` and ``KEY.done``, with the process's number in it."""

    folder: str

    def __call__(self, task):
        folder, pid = Path(self.folder), str(os.getpid())
        with (folder / f"{task.key}.begun").open("a") as file:
            file.write(f"{pid}\n")
        time.sleep(task.seconds)
        with (folder / f"{task.key}.done").open("a") as file:
            file.write(f"{pid}\n")
        return TaskReport(task.key, TaskStatus.WRITTEN, n_in=1, n_out=1, wall_s=task.seconds)

    def processes(self, mark):
        """Process of every start or end, sorted by task."""
        paths = sorted(Path(self.folder).glob(f"*.{mark}"))
        return [int(line) for path in paths for line in path.read_text().split()]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    settings = {"PYTHONPATH": here}  # tasks are of this module
    folder = tmp_path_factory.mktemp("dask")
    with dask_processes(0, folder, environment=settings, is_warm=True) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster.address, set_as_default=False) as client:
        yield client
        for pid in cluster.worker_pids:
            cluster.kill_worker(pid)
        while client.nthreads():
            time.sleep(0.05)


class Victim:
    """A callback that does something when a task has begun, once, and hears what is told."""

    def __init__(self, work, do):
        self.work, self.do, self.changes = work, do, []

    def __call__(self, event):
        if isinstance(event, WorkerChanged):
            self.changes.append(event)

    def run(self, client, tasks):
        """What is told; what is done is done when every worker has begun a task."""

        def wait():
            while len(self.work.processes("begun")) < len(client.nthreads()):
                time.sleep(0.01)
            self.do()

        thread = Thread(target=wait, daemon=True)
        thread.start()
        history = History()
        reports = run_stage(
            "sleep", self.work, tasks, DaskExecutor(client), callbacks=[history, self]
        )
        thread.join()
        assert history.record.changes == tuple(self.changes)
        assert all(report.status.is_done for report in reports.values())
        return [change.what for change in self.changes]


@pytest.mark.parametrize(("nanny", "to_all"), [(False, False), (True, False), (True, True)])
def test_a_worker_that_is_told_to_end_finishes_its_task(cluster, client, tmp_path, nanny, to_all):
    """As SLURM does, which tells every process of a job, or Kubernetes, which tells the first."""
    work, pid = Work(str(tmp_path)), cluster.start_worker(nanny)
    cluster.start_worker()
    client.wait_for_workers(2)
    send = os.killpg if to_all else os.kill
    victim = Victim(work, lambda: send(pid, signal.SIGTERM))
    told = victim.run(client, [Sleep(f"t{i}", 1.5) for i in range(4)])
    assert told.count("leaves") == 1
    assert "left" in told
    assert "lost" not in told
    assert work.processes("begun") == work.processes("done")  # no task was begun twice
    assert len(set(work.processes("done"))) == 2
    give_up = time.monotonic() + 20
    while (stat := Path(f"/proc/{pid}/stat")).exists() and ") Z " not in stat.read_text():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_killed_worker_is_lost_and_its_successor_joins(cluster, client, tmp_path):
    work = Work(str(tmp_path))
    cluster.start_worker(nanny=True)

    def kill():
        os.kill(work.processes("begun")[0], signal.SIGKILL)

    told = Victim(work, kill).run(client, [Sleep(f"t{i}", 0.5) for i in range(3)])
    assert told == ["lost", "joined"]


def test_a_worker_that_its_nanny_kills_for_memory_is_told(cluster, client, tmp_path):
    def fill(dask_worker):
        dask_worker.filled = bytearray(b"x") * 600_000_000

    work = Work(str(tmp_path))
    cluster.start_worker(nanny=True, flags=("--memory-limit", "700MB"))
    told = Victim(work, lambda: client.run(fill, on_error="ignore")).run(
        client, [Sleep(f"t{i}", 0.5) for i in range(6)]
    )
    assert told.count("killed for memory") == 1
    assert "joined" in told


def test_a_stopped_worker_does_not_hold_up_a_run(cluster, client, tmp_path):
    work, stopped = Work(str(tmp_path)), cluster.start_worker()
    os.kill(stopped, signal.SIGSTOP)
    cluster.start_worker()
    began = time.monotonic()
    executor = DaskExecutor(client)
    executor.require_fit(work)
    reports = list(executor.run(work, [Sleep("t", 0.1)]))
    assert time.monotonic() - began < 30
    assert [report.status for report in reports] == [TaskStatus.WRITTEN]
    assert set(work.processes("done")) == {cluster.worker_pids[1]}


def test_a_worker_that_stops_with_many_reports_is_waited_for_once(
    cluster, client, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("xpscale.runtime.executors.window.FETCH_S", 1.0)
    work, stopped = Work(str(tmp_path)), cluster.start_worker()
    cluster.start_worker()
    client.wait_for_workers(2)
    tasks = [Sleep(f"t{i}", 0.05) for i in range(8)]  # of which each worker gets four
    reports = DaskExecutor(client).run(work, tasks)
    got = [next(reports)]
    while len(work.processes("done")) < len(tasks):
        time.sleep(0.01)
    os.kill(stopped, signal.SIGSTOP)
    got += reports
    assert sorted(report.task for report in got) == [task.key for task in tasks]
    assert work.processes("done").count(stopped) > 2
    assert len([record for record in caplog.records if "lost" in record.message]) == 1


def test_what_waited_on_a_stopped_worker_does_not_make_the_next_wait_longer(
    cluster, client, tmp_path
):
    work, stopped = Work(str(tmp_path)), cluster.start_worker()
    client.wait_for_workers(1)
    turnaround = Turnaround(patience_s=0.2)

    def submit(task, workers):
        others = bool(workers)
        return client.submit(work, task, workers=workers, allow_other_workers=others, pure=False)

    def stop():
        while not work.processes("begun"):
            time.sleep(0.01)
        os.kill(stopped, signal.SIGSTOP)
        cluster.start_worker()

    thread = Thread(target=stop)
    thread.start()
    first_limit_s = turnaround.limit_s
    tasks = [Sleep(f"t{i}", 0.3) for i in range(4)]
    assert len(list(Window(client, submit, 4, turnaround).run(tasks))) == len(tasks)
    thread.join()
    assert turnaround.limit_s < FACTOR * first_limit_s


@dataclass(frozen=True)
class LetGo:
    """A check during which the scheduler lets this worker go."""

    scheduler: str

    def __call__(self, memory):
        async def let_go(dask_scheduler):
            (worker,) = dask_scheduler.workers
            await dask_scheduler.remove_worker(worker, stimulus_id="test", close=False)

        with Client(self.scheduler, set_as_default=False) as client:
            client.run_on_scheduler(let_go)


def test_a_worker_that_leaves_while_it_is_looked_at_is_no_fault(cluster, client, tmp_path_factory):
    def work(task):
        pass

    work.check = LetGo(cluster.address)
    cluster.start_worker()
    with fit_workers(client, work) as fit:
        assert not fit.misfits
    logs = tmp_path_factory.getbasetemp().glob("dask*/worker-*.log")
    assert "KeyError" not in max(logs, key=lambda path: path.stat().st_mtime).read_text()


def test_an_adaptive_cluster_grows_for_short_tasks(tmp_path):
    work, most = Work(str(tmp_path)), 0
    with (
        LocalCluster(
            n_workers=0, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        cluster.adapt(minimum=1, maximum=3, interval="200ms")
        for _ in DaskExecutor(client).run(work, [Sleep(f"t{i}", 0.6) for i in range(40)]):
            most = max(most, len(client.nthreads()))
            if most > 1:
                break
    assert most > 1


def test_the_workers_of_a_machine_share_its_memory():
    def answer(worker, place, held, problems=()):
        return worker, Answer(worker, problems, place, free=1000, held=held)

    fit = Fit("f", dict([answer("a", "m1", 100), answer("b", "m1", 300), answer("c", "m2", 0)]))
    fit.require_memory(700)
    with pytest.raises(PlanError, match=r"2 workers on m1 need up to 1.4 kB.* 1.4 kB are"):
        fit.require_memory(701)
    misfit = dict([answer("a", "m1", 100), answer("b", "m1", 300, ("old",))])
    Fit("f", misfit).require_memory(1000)
