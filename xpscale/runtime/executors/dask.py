"""Tasks on a Dask cluster, a bounded window at a time.

Two settings are worth a factor each on CPU workers and are made here, before worker processes start: one torch thread a
process (two processes of two threads on two cores run at a third of the rate), and the allocator's thresholds: the nanny
sets ``MALLOC_TRIM_THRESHOLD_`` to 64 KiB, which makes glibc map and unmap every tensor of more than 128 KiB, at two thirds
of the rate.  `worker_environment` undoes it; workers started by hand set the same variables (see deploy/README.md).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xpscale.errors import NotFoundError
from xpscale.types import TaskReport, TaskStatus

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["DaskExecutor", "connect", "local_cluster", "worker_environment"]

WINDOW_PER_WORKER = 4
"""Tasks in flight for each worker: enough to hide the scheduler's latency, few enough to bound its memory."""

worker_environment = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
}
"""Environment that worker processes must start with."""


@dataclass(frozen=True)
class DaskExecutor:
    """Runs tasks on the workers of a ``distributed.Client``.

    Parameters
    ----------
    client
        A connected client.
    resources
        What a task needs of a worker, for clusters whose workers declare it; ``{"GPU": 1}`` for one task a GPU.
    """

    client: Client
    resources: dict[str, float] = field(default_factory=dict)

    @property
    def n_workers(self) -> int:
        """Worker processes connected now."""
        return len(self.client.scheduler_info(n_workers=-1)["workers"])

    def run(self, function: Callable[[Any], TaskReport], tasks: Iterable[Any]) -> Iterator[TaskReport]:
        """Reports in the order in which tasks end."""
        from distributed import as_completed

        waiting = iter(tasks)
        running: dict[Any, Any] = {}
        done = as_completed(loop=self.client.loop)

        def submit_next() -> None:
            for task in waiting:
                # a fresh key: the cluster must not answer from a result of an earlier run
                future = self.client.submit(function, task, resources=self.resources or None, pure=False)
                running[future.key] = task
                done.add(future)
                return

        for _ in range(max(WINDOW_PER_WORKER * self.n_workers, WINDOW_PER_WORKER)):
            submit_next()
        try:
            for future in done:
                task = running.pop(future.key)
                error = future.exception()
                if error is None:
                    yield future.result()
                else:  # the worker process died under it, more often than the scheduler allows
                    yield TaskReport(task.key, TaskStatus.FAILED, error=f"{type(error).__name__}: {error}")
                future.release()
                submit_next()
        finally:
            self.client.cancel(list(done.futures), force=True)


@contextlib.contextmanager
def connect(address: str) -> Iterator[Client]:
    """A client of a scheduler that runs somewhere, ``tcp://host:8786``."""
    from distributed import Client

    try:
        client = Client(address, timeout="15s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise NotFoundError(
            f"no Dask scheduler answers at {address}", "Start one with 'dask scheduler', or check the address"
        ) from error
    with client:
        yield client


@contextlib.contextmanager
def local_cluster(n_workers: int) -> Iterator[Client]:
    """A cluster of worker processes on this machine, one thread each, and a client of it."""
    import dask
    from distributed import Client, LocalCluster

    settings = {"distributed.nanny.pre-spawn-environ": worker_environment, "distributed.worker.daemon": True}
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
