"""The workers that settings describe: started, or found, for the length of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from xpscale.runtime.machine import n_cpus
from xpscale.settings.cluster import Cluster, Kubernetes, Local
from xpscale.settings.slurm import Slurm
from xpscale.types import Executor

if TYPE_CHECKING:
    from distributed import Client

    from xpscale.types import TaskReport

__all__ = ["PATIENCE_S", "StartedOnUse", "dask_client", "executor", "most_workers"]

PATIENCE_S = 60.0


def most_workers(cluster: Cluster) -> int | None:
    """Worker processes that a cluster will have; ``None`` if somebody else decides.

    Parameters
    ----------
    cluster
        As the settings say.
    """
    if isinstance(cluster, Local):
        return n_cpus() if cluster.workers is None else cluster.workers
    return cluster.workers if isinstance(cluster, Slurm) else None


@dataclass
class StartedOnUse(Executor):
    """An executor whose workers start when it is first asked for something: a command that finds
    its work done queues no jobs.

    Parameters
    ----------
    start
        Starts the workers.
    stack
        Ends them.
    """

    start: Callable[[], AbstractContextManager[Executor]]
    stack: ExitStack

    @cached_property
    def started(self) -> Executor:
        """The executor itself."""
        return self.stack.enter_context(self.start())

    @property
    def n_workers(self) -> int:
        """Worker processes."""
        return self.started.n_workers

    def require_fit(self, function: Callable[[Any], TaskReport]) -> None:
        """As of `Executor`, after the start."""
        self.started.require_fit(function)

    def run(
        self,
        function: Callable[[Any], TaskReport],
        tasks: Iterable[Any],
        tell: Callable[[Any], None] = lambda _: None,
    ) -> Iterator[TaskReport]:
        """As of `Executor`, after the start."""
        yield from self.started.run(function, tasks, tell)


@contextlib.contextmanager
def executor(
    cluster: Cluster,
    tell: Callable[[str], None],
    *,
    tasks_per_worker: int = 1,
    patience_s: float = PATIENCE_S,
) -> Iterator[Executor]:
    """What runs tasks on a cluster.

    Parameters
    ----------
    cluster
        As the settings say.
    tell
        Is told what the user should know.
    tasks_per_worker
        Tasks that a process on this machine does at the same time; workers elsewhere have as many
        threads as they were started with.
    patience_s
        Seconds before a task can have stalled; see `xpscale.runtime.stall`.
    """
    n_workers = most_workers(cluster)
    if n_workers == 0 and tasks_per_worker > 1:
        from xpscale.runtime.executors.threads import ThreadsExecutor

        yield ThreadsExecutor(tasks_per_worker)
    elif n_workers == 0:
        from xpscale.runtime.executors.serial import SerialExecutor

        yield SerialExecutor()
    else:
        from xpscale.runtime.executors.dask import DaskExecutor

        with dask_client(cluster, tell, tasks_per_worker) as client:
            needs = {} if isinstance(cluster, Local | Slurm) else cluster.resources
            found = DaskExecutor(client, needs, patience_s)
            for remark in [] if isinstance(cluster, Local) else found.remarks():
                tell(f"note: {remark}")
            yield found


@contextlib.contextmanager
def dask_client(
    cluster: Cluster, tell: Callable[[str], None], tasks_per_worker: int = 1
) -> Iterator[Client]:
    """A client of a cluster's scheduler.

    Parameters
    ----------
    cluster
        As the settings say.
    tell
        Is told what the user should know.
    tasks_per_worker
        Threads of a process on this machine.
    """
    from xpscale.runtime.executors.dask import connect, local_cluster

    if isinstance(cluster, Local):
        with local_cluster(most_workers(cluster) or 1, tasks_per_worker) as client:
            yield client
    elif isinstance(cluster, Slurm):
        from xpscale.clusters.slurm_workers import slurm_workers

        with slurm_workers(cluster, tell) as client:
            yield client
    else:
        running = cluster.running if isinstance(cluster, Kubernetes) else cluster
        with connect(running.address, running.tls) as client:
            yield client
