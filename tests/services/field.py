"""Where runs are disturbed: an S3 server behind a faulty proxy, a Dask cluster, clients: processes
that can be killed.
"""

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.services.world import World
from xpscale.storage import Storage
from xpscale.testing.faults import FaultyProxy, faulty
from xpscale.testing.kill_points import KillPoints
from xpscale.testing.processes import Process
from xpscale.testing.services import DaskProcesses, S3Service, dask_processes, seaweedfs

N_WORKERS = 2
PATIENCE_S = 1.0  # 15 s before there are peers: longer than a task pauses between its attempts


@dataclass
class Field:
    """The services that runs use, and how to start one run.

    ``is_at_steps``: strike at writes of the run only, so that none comes too late.  ``n_injected``:
    strikes so far."""

    folder: Path
    world: World
    s3: S3Service
    proxy: FaultyProxy
    cluster: DaskProcesses
    points: KillPoints
    is_at_steps: bool = False
    n_injected: int = 0

    @property
    def client_log(self) -> Path:
        """What clients say."""
        return self.folder / "client.log"

    def client(self, catalog: Storage) -> Process:
        """``xpscale infer``, started."""
        arguments = [
            "infer",
            self.world.store,
            self.world.model,
            catalog.url,
            "--scheduler",
            self.cluster.address,
        ]
        command = [
            sys.executable,
            "-m",
            "xpscale.testing.kill_points",
            *arguments,
            "--patience",
            str(PATIENCE_S),
        ]
        process = Process(command, self.client_log, environment(self.points), is_warm=True)
        process.start()
        return process

    def finish(self, client: Process, timeout_s: float = 150.0) -> int:
        """Wait for the end of a client, starting workers when all have ended, as a cluster manager
        would: its exit code.
        """
        give_up = time.monotonic() + timeout_s
        while client.is_running and time.monotonic() < give_up:
            time.sleep(0.05)
            if not any(map(is_alive, self.cluster.worker_pids)):
                self.replace_workers()
        return client.wait(1.0)

    def wait_for_strike(self, client: Process) -> None:
        """Until the kill point is reached; a client that ended before it says in its log why."""
        wait_for(lambda: self.points.reached or not client.is_running, 120.0)
        steps = "\n".join(self.points.operations)
        assert self.points.reached, (
            f"the client ended before the step; steps:\n{steps}\n{client.log.read_text()[-2000:]}"
        )

    def mend(self) -> None:
        """End all disturbances, and replace what was killed."""
        self.proxy.arm()
        self.points.arm(-1, "die")
        self.replace_workers()

    def replace_workers(self) -> None:
        """Start workers in the place of those that have ended."""
        alive = [pid for pid in self.cluster.worker_pids if is_alive(pid)]
        for pid in set(self.cluster.worker_pids) - set(alive):
            self.cluster.kill_worker(pid)
        for _ in range(N_WORKERS - len(alive)):
            self.cluster.start_worker()

    def renew_workers(self) -> None:
        """Replace all of them."""
        for pid in self.cluster.worker_pids:
            self.cluster.kill_worker(pid)
        self.mend()


def environment(points: KillPoints) -> dict[str, str]:
    """Of clients and workers: they count their writes, and wait for answers for two seconds
    only.
    """
    return {**points.environment, "AWS_TIMEOUT": "2s"}


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, timeout_s: float = 60.0) -> None:
    """Until it holds."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, "it did not come to pass"
        time.sleep(0.02)


def wake(pid: int) -> None:
    """SIGCONT, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def field(folder: Path):
    """Start everything."""
    world, points = World.make(folder / "world"), KillPoints(folder / "points")
    points.arm(-1, "die")
    with contextlib.ExitStack() as stack:
        s3 = stack.enter_context(seaweedfs(folder / "weed"))
        proxy = stack.enter_context(faulty(s3))
        stack.enter_context(proxy.apply())
        settings = environment(points)
        cluster = dask_processes(N_WORKERS, folder / "dask", environment=settings, is_warm=True)
        found = Field(folder, world, s3, proxy, stack.enter_context(cluster), points)
        world.reference  # noqa: B018
        yield found
