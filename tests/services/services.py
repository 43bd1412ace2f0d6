"""The services that a run with faults uses, each a process that can be killed: an S3 server behind
a faulty proxy, a Dask cluster, and clients.
"""

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.services.scenario import Scenario
from tests.support.dask_cluster import DaskProcesses, dask_processes
from tests.support.faults import FaultyProxy, faulty
from tests.support.kill_points import KillPoints
from tests.support.processes import Process
from tests.support.services import S3Service, seaweedfs
from xpscale.storage import Storage

N_WORKERS = 2
PATIENCE_S = 1.0  # until a task is reissued; longer than the pause between its attempts


@dataclass
class Services:
    """The running services, and how to start one run.

    With ``only_at_writes`` faults are injected at writes of the run only, so that none comes after
    its end. ``n_injected`` counts the faults so far.
    """

    folder: Path
    scenario: Scenario
    s3: S3Service
    proxy: FaultyProxy
    cluster: DaskProcesses
    points: KillPoints
    only_at_writes: bool = False
    n_injected: int = 0

    @property
    def client_log(self) -> Path:
        """Output of all clients."""
        return self.folder / "client.log"

    def client(self, catalog: Storage) -> Process:
        """Start ``xpscale infer``."""
        arguments = [
            "infer",
            self.scenario.store,
            self.scenario.model,
            catalog.url,
            "--scheduler",
            self.cluster.address,
        ]
        command = [
            sys.executable,
            "-m",
            "tests.support.kill_points",
            *arguments,
            "--patience",
            str(PATIENCE_S),
        ]
        process = Process(command, self.client_log, client_variables(self.points), is_warm=True)
        process.start()
        return process

    def finish(self, client: Process, timeout_s: float = 150.0) -> int:
        """Wait for a client and return its exit code; start new workers when all have ended, as a
        cluster manager would.
        """
        give_up = time.monotonic() + timeout_s
        while client.is_running and time.monotonic() < give_up:
            time.sleep(0.05)
            if not any(map(is_alive, self.cluster.worker_pids)):
                self.replace_ended_workers()
        return client.wait(1.0)

    def wait_for_kill_point(self, client: Process) -> None:
        """Wait until the kill point is reached, and fail with the log if the client ends before."""
        wait_for(lambda: self.points.reached or not client.is_running, 120.0)
        writes = "\n".join(self.points.operations)
        assert self.points.reached, (
            f"the client ended before this write; before it:\n{writes}\n"
            f"{client.log.read_text()[-2000:]}"
        )

    def restore(self) -> None:
        """End all faults, and replace what was killed."""
        self.proxy.arm()
        self.points.arm(-1, "die")
        self.replace_ended_workers()

    def replace_ended_workers(self) -> None:
        """Start new workers for those that have ended."""
        alive = [pid for pid in self.cluster.worker_pids if is_alive(pid)]
        for pid in set(self.cluster.worker_pids) - set(alive):
            self.cluster.kill_worker(pid)
        for _ in range(N_WORKERS - len(alive)):
            self.cluster.start_worker()

    def replace_all_workers(self) -> None:
        """Replace all of them."""
        for pid in self.cluster.worker_pids:
            self.cluster.kill_worker(pid)
        self.restore()

    def start_anew(self) -> None:
        """Start everything again, whatever state it is in."""
        self.s3.restart()
        self.cluster.kill_scheduler()
        self.cluster.start_scheduler()
        self.replace_all_workers()


def client_variables(points: KillPoints) -> dict[str, str]:
    """Variables of clients and workers: count their writes, and wait two seconds for answers."""
    return {**points.environment, "AWS_TIMEOUT": "2s"}


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, timeout_s: float = 60.0) -> None:
    """Wait until a condition holds."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, f"not true within {timeout_s} s"
        time.sleep(0.02)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it still exists: a victim may have ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextlib.contextmanager
def start_services(folder: Path):
    """Start all services in a folder, and stop them at the end of the block."""
    scenario, points = Scenario.make(folder / "scenario"), KillPoints(folder / "points")
    points.arm(-1, "die")
    with contextlib.ExitStack() as stack:
        s3 = stack.enter_context(seaweedfs(folder / "weed"))
        proxy = stack.enter_context(faulty(s3))
        stack.enter_context(proxy.apply())
        settings = client_variables(points)
        cluster = dask_processes(N_WORKERS, folder / "dask", environment=settings, is_warm=True)
        found = Services(folder, scenario, s3, proxy, stack.enter_context(cluster), points)
        scenario.reference  # noqa: B018
        yield found
