"""Tasks on a Dask cluster, a bounded window at a time.

Two settings are worth a factor each on CPU workers and are made here, before worker processes
start: one torch thread a process (two processes of two threads on two cores run at a third of the
rate), and the allocator's thresholds: the nanny sets ``MALLOC_TRIM_THRESHOLD_`` to 64 KiB, which
makes glibc map and unmap every tensor of more than 128 KiB, at two thirds of the rate.
`worker_environment` undoes it; workers started by hand set the same variables (see
deploy/README.md).
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from xpscale.errors import NotFoundError
from xpscale.formatting import first_line
from xpscale.runtime.attempt import CatchErrors, failure_report
from xpscale.runtime.executors import own_gpu
from xpscale.runtime.executors.connection import connected
from xpscale.runtime.executors.fit_workers import fit_workers
from xpscale.runtime.executors.uninterrupted import uninterrupted
from xpscale.runtime.executors.window import StalledError, Window
from xpscale.runtime.executors.worker_watch import WorkerWatch
from xpscale.runtime.preflight import check_of
from xpscale.runtime.stall import Turnaround
from xpscale.runtime.tls import REMEDY, certificates_folder, security
from xpscale.types import Executor, TaskReport, TaskStatus

if TYPE_CHECKING:
    from distributed import Client, WorkerPlugin

__all__ = ["DaskExecutor", "connect", "local_cluster", "worker_environment"]

HERE = "127.0.0.1:0"  # pages about a cluster let whoever sees them stop it

WINDOW_PER_WORKER = 4
"""Tasks in flight for each worker: enough to hide the scheduler's latency, few enough to bound its
memory.
"""

ANSWER_S = 10.0
"""How long workers may take to say what variables they have."""

worker_environment = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
}
"""Environment that worker processes must start with."""


@dataclass(frozen=True)
class DaskExecutor(Executor):
    """Runs tasks on the workers of a ``distributed.Client``.

    Parameters
    ----------
    client
        A connected client.
    resources
        What a task needs of a worker, for clusters whose workers declare it; ``{"GPU": 1}`` for one
        task a GPU.
    patience_s
        Seconds before a task can have stalled; see `xpscale.runtime.executors.window`.
    """

    client: Client
    resources: dict[str, float] = field(default_factory=dict)
    patience_s: float = 60.0

    @property
    def n_workers(self) -> int:
        """Worker processes connected now."""
        with connected(self.client):
            return len(self.client.scheduler_info(n_workers=-1)["workers"])

    def remarks(self) -> list[str]:
        """Sentences about what will make this cluster slow; empty if nothing will."""
        if not self.n_workers:
            return ["the scheduler has no workers yet: tasks wait until some connect"]
        with connected(self.client):  # a worker may die meanwhile, or hang
            try:
                environments = self.client.sync(
                    self.client._run, _environment, on_error="ignore", callback_timeout=ANSWER_S
                )
            except TimeoutError:
                return ["some workers do not answer, and will get no tasks until they do"]
        lacking = [values for values in environments.values() if values != worker_environment]
        if not lacking:
            return []
        names = [
            name
            for name, value in worker_environment.items()
            if any(values[name] != value for values in lacking)
        ]
        wanted = ", ".join(f"{name}={worker_environment[name]}" for name in names)
        return [
            f"{len(lacking)} of {len(environments)} workers run without {wanted}; CPU workers lose"
            " up to half of their rate (see deploy/README.md)"
        ]

    def require_fit(self, function: Callable[[Any], TaskReport]) -> None:
        """Look at every worker; see `xpscale.runtime.executors.fit_workers`."""
        with fit_workers(self.client, function) as fit:
            fit.require_memory(getattr(check_of(function), "memory", 0))

    def run(
        self,
        function: Callable[[Any], TaskReport],
        tasks: Iterable[Any],
        tell: Callable[[Any], None] = lambda _: None,
    ) -> Iterator[TaskReport]:
        """Reports in the order in which tasks end; only workers that are fit get tasks.

        When a process dies or hangs, all tasks that were queued on it are given up, with the one
        that caused it.  They are run again at the end, one at a time: only a task that kills or
        holds up its worker alone has failed.
        """
        from distributed.scheduler import KilledWorker

        suspects, turnaround = [], Turnaround(self.patience_s)
        with fit_workers(self.client, function) as fit, WorkerWatch(self.client, fit) as watch:

            def look() -> None:
                for change in watch.news():
                    tell(change)

            submit = self._submit(function, {**self.resources, **fit.resources})
            window = Window(self.client, submit, WINDOW_PER_WORKER, turnaround, look)
            for task, outcome in window.run(tasks):
                if isinstance(outcome, (KilledWorker, StalledError)):
                    suspects.append(task)
                else:
                    yield _report(task, outcome)
            for task, outcome in Window(self.client, submit, 0, turnaround, look).run(suspects):
                yield _report(task, outcome)
            look()

    def _submit(
        self, function: Callable[[Any], TaskReport], resources: dict[str, float]
    ) -> Callable[[Any, list[str] | None], Any]:
        safe = CatchErrors(function)

        def submit(task: Any, workers: list[str] | None) -> Any:
            # a fresh key: the cluster must not answer from a result of an earlier run
            # a wish, not a demand: workers that were asked for may have left meanwhile
            return self.client.submit(
                safe,
                task,
                resources=resources,
                workers=workers,
                allow_other_workers=bool(workers),
                pure=False,
            )

        return submit


def _environment() -> dict[str, str]:
    return {name: os.environ.get(name, "") for name in worker_environment}


def _report(task: Any, outcome: TaskReport | BaseException) -> TaskReport:
    if isinstance(outcome, TaskReport):
        return outcome
    from distributed.scheduler import KilledWorker

    if isinstance(outcome, KilledWorker):
        error = "its worker process died again and again (out of memory, or compiled code crashed)"
        return TaskReport(task.key, TaskStatus.QUARANTINED, error=error)
    if isinstance(outcome, StalledError):
        return TaskReport(task.key, TaskStatus.QUARANTINED, error=str(outcome))
    return failure_report(task, outcome)


@contextlib.contextmanager
def connect(address: str, tls: str = "") -> Iterator[Client]:
    """A client of a scheduler that runs somewhere, ``tcp://host:8786``.

    Parameters
    ----------
    address
        Of the scheduler.
    tls
        Folder of certificates (`xpscale.runtime.tls`), for a scheduler at ``tls://``; by default
        those of the environment, or of Dask's configuration.

    Raises
    ------
    NotFoundError
        There is none, it refuses us, or the address is none that Dask can use.
    InvalidInputError
        The certificates have ended.
    """
    from distributed import Client

    class ClosedClient(Client):
        """Is closed if it cannot be connected; else it waits 30 s when Python ends."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            try:
                super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
            except BaseException:
                with contextlib.suppress(Exception):
                    self.close(timeout=0)  # type: ignore[no-untyped-call]
                raise

    own = security(folder) if (folder := certificates_folder(tls)) else None
    if own and address.startswith("tcp://"):
        address = f"tls://{address.removeprefix('tcp://')}"
    try:
        client = ClosedClient(address, timeout="15s", set_as_default=False, security=own)
    except Exception as error:  # OSError, ValueError, TypeError, by scheme
        remedy = f"Start one with 'dask scheduler', or check the address; {REMEDY}"
        raise NotFoundError(
            f"no Dask scheduler answers at {address}: {first_line(error)}", remedy
        ) from error
    with client:
        yield client


@contextlib.contextmanager
def local_cluster(n_workers: int, threads_per_worker: int = 1) -> Iterator[Client]:
    """A cluster of worker processes on this machine, and a client of it.  It logs nothing.

    Parameters
    ----------
    n_workers
        Processes.
    threads_per_worker
        Tasks that a process works on at once; each of them takes the memory of a task.
    """
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.nanny.pre-spawn-environ": worker_environment,
        "distributed.scheduler.allowed-failures": 1,
        # a process that stands still this long is replaced
        "distributed.scheduler.worker-ttl": "60 s",
        # 15 s after a worker died the cluster looks whether it is back, and if it has just died
        # again closes its nanny for good; without workers a run would wait for ever
        "distributed.deploy.lost-worker-timeout": "1000 days",
        "distributed.worker.preload": [own_gpu.__name__],
        # every 10 ms costs 5 % of the rate of latents
        "distributed.worker.profile.interval": "100 ms",
    }
    # an earlier cluster's nannies have left theirs in this process, where they beat the settings
    os.environ.update(worker_environment)
    start = partial(
        LocalCluster,
        n_workers=n_workers,
        threads_per_worker=threads_per_worker,
        dashboard_address=HERE,
        worker_dashboard_address=HERE,
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    )
    with (
        dask.config.set(settings),
        uninterrupted(start, LocalCluster.close) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(_quick_exit())
        yield client


def _quick_exit() -> WorkerPlugin:
    """Lets worker processes end without taking the interpreter apart, which on a busy machine takes
    longer than the nanny waits.
    """
    from distributed import WorkerPlugin

    class QuickExit(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            # handlers run last in, first out: this one comes after those of libraries
            atexit.register(os._exit, 0)

    return QuickExit()
