"""A Dask cluster on the loopback interface, each part a process of its own, for tests.

    with dask_processes(2, tmp_path) as cluster:
        client = Client(cluster.address)

The processes use free ports, listen on 127.0.0.1 only, write their logs to the given folder, and
are killed at the end of the block. They can be killed and restarted in between.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import HOST, Process, free_ports, is_free

__all__ = ["DaskProcesses", "dask_processes"]


@dataclass(slots=True)
class DaskProcesses:
    """A Dask scheduler and workers, each a process of its own.

    Parameters
    ----------
    address
        Address of the scheduler, ``tcp://127.0.0.1:PORT``.
    """

    address: str
    _folder: Path = field(repr=False)
    _scheduler: Process = field(repr=False)
    _worker_flags: tuple[str, ...] = field(repr=False)
    _environment: Mapping[str, str] = field(repr=False)
    _is_warm: bool = False
    _workers: list[Process] = field(default_factory=list, repr=False)

    @property
    def scheduler_pid(self) -> int:
        """Process id of the scheduler."""
        return self._scheduler.pid

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers, without those killed by `kill_worker`."""
        return [worker.pid for worker in self._workers]

    def start_scheduler(self) -> None:
        """Start the scheduler; after a kill on the same port, with an empty memory."""
        self._scheduler.start()
        port = int(self.address.rsplit(":", 1)[1])
        self._scheduler.wait_until(lambda: not is_free(port))

    def kill_scheduler(self) -> None:
        """Stop the scheduler without warning; the workers wait for it for a minute, then end."""
        self._scheduler.stop()

    def start_worker(
        self,
        nanny: bool = False,
        *,
        environment: Mapping[str, str] | None = None,
        flags: tuple[str, ...] = (),
    ) -> int:
        """Add a worker, with a nanny process or without; return the process id of the nanny or of
        the worker when the scheduler knows it.

        Parameters
        ----------
        nanny
            Whether a nanny starts it again when it dies.
        environment, flags
            Variables and options of this worker, in addition to those of all.
        """
        number = len(list(self._folder.glob("worker-*.log")))
        log = self._folder / f"worker-{number}.log"
        own = f"--no-dashboard --nthreads 1 --host {HOST} --death-timeout 60".split()
        own += ["--nanny" if nanny else "--no-nanny", "--local-directory", str(self._folder)]
        module = [sys.executable, "-m", "distributed.cli.dask_worker"]
        command = [*module, self.address, *own, *self._worker_flags, *flags]
        variables = {**self._environment, **(environment or {})}
        worker = Process(command, log, variables, self._is_warm and not environment)
        worker.start()
        self._workers.append(worker)
        worker.wait_until(lambda: b"Registered to" in log.read_bytes())
        return worker.pid

    def kill_worker(self, pid: int) -> None:
        """Stop one worker without warning."""
        for worker in [worker for worker in self._workers if worker.pid == pid]:
            worker.stop()
            self._workers.remove(worker)

    def _stop(self) -> None:
        for process in (*self._workers, self._scheduler):
            process.stop()
        self._workers.clear()


@contextlib.contextmanager
def dask_processes(
    n_workers: int,
    directory: str | Path,
    *,
    memory_limit: str = "0",
    resources: str = "",
    environment: Mapping[str, str] | None = None,
    is_warm: bool = False,
) -> Iterator[DaskProcesses]:
    """Run a Dask scheduler and workers of one thread each, without nannies: a worker that is killed
    stays dead.

    Parameters
    ----------
    n_workers
        Number of worker processes.
    directory
        Where logs and spilled data go.
    memory_limit
        Memory of each worker, as for ``dask worker --memory-limit``; ``"0"`` is no limit.
    resources
        Resources of each worker, such as ``"GPU=1"``.
    environment
        Variables of scheduler and workers, in addition to this process's.
    is_warm
        Fork them from a server with all imports; see `Process`.

    Yields
    ------
    DaskProcesses
        The running cluster.

    Raises
    ------
    TryAgainError
        A process did not start.
    """
    folder = Path(directory).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    quiet = ("--no-dashboard", "--no-show", "--host", HOST)
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *quiet, "--port", str(port)]
    settings = environment or {}
    flags = ("--memory-limit", memory_limit, *(("--resources", resources) if resources else ()))
    scheduler = Process(command, folder / "scheduler.log", settings, is_warm)
    cluster = DaskProcesses(f"tcp://{HOST}:{port}", folder, scheduler, flags, settings, is_warm)
    try:
        cluster.start_scheduler()
        for _ in range(n_workers):
            cluster.start_worker()
        yield cluster
    finally:
        cluster._stop()
