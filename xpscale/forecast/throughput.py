"""How long a run takes on a cluster: the formula behind every projected time.

Letters: N sources in K tasks, W = nodes x workers a node, b_in and b_out bytes read and written a
source::

    T = T0 + max(N / R, n_max / r', K t_s) + T_p

    R = min(W r, nodes B_in / b_in, nodes B_out / b_out, S_in / b_in, S_out / b_out)

    r            sources/s of a worker, measured with all of them busy
    B_in, B_out  what each node's disk or network gives and takes, bytes/s
    S_in, S_out  what the storage gives and takes, shared by all nodes, bytes/s
    r' = R / W   a worker's share; n_max sources in the largest task
    t_s = 2 ms   of client and scheduler a task, one after the other
    T0, T_p      until all workers compute; from the last task to the snapshot

The largest tasks are done first, so that workers run out of tasks together: with ten tasks a worker
and more, exact schedules of `adaptive_partitions` lose less than 1 % at the end (in order of
position it would be half of n_max / r').  Graham (1969, SIAM J. Appl. Math. 17, 416) bounds the
loss of this rule by a third for any tasks.

What it assumes, and what then differs: tasks are handed to whoever is free; workers are alike; a
node's workers slow each other down no more than r already contains (measure it with all of them
busy); reading, computing and writing overlap, so that the slowest of them sets the rate; storage
serves the sum of its clients up to a fixed rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from xpscale.errors import InvalidInputError

__all__ = ["SCHEDULING_S", "Cluster", "Forecast", "Load", "forecast"]

SCHEDULING_S = 0.002
"""Of client and scheduler a task; two cores, `python -m tests.benchmarks scale`."""


@dataclass(frozen=True, slots=True)
class Load:
    """What there is to do.

    Parameters
    ----------
    n_sources, n_tasks
        N and K.
    largest
        Sources of the largest task.
    bytes_in, bytes_out
        Bytes read and written a source.
    """

    n_sources: int
    n_tasks: int
    largest: int
    bytes_in: float
    bytes_out: float

    def __post_init__(self) -> None:
        if (
            not 0 <= self.largest <= self.n_sources
            or self.n_tasks < 0
            or min(self.bytes_in, self.bytes_out) < 0
        ):
            raise InvalidInputError(f"no run has {self}")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What does it.  Rates that are not given do not limit.

    Parameters
    ----------
    worker_sources_per_s
        r: of one worker, while all workers of its node are busy.
    n_nodes, workers_per_node
        How many.
    node_read_bytes_per_s, node_write_bytes_per_s
        B_in and B_out of each node.
    shared_read_bytes_per_s, shared_write_bytes_per_s
        S_in and S_out of the storage, for all nodes together.
    start_up_s, publish_s
        T0 and T_p.
    """

    worker_sources_per_s: float
    n_nodes: int = 1
    workers_per_node: int = 1
    node_read_bytes_per_s: float = math.inf
    node_write_bytes_per_s: float = math.inf
    shared_read_bytes_per_s: float = math.inf
    shared_write_bytes_per_s: float = math.inf
    start_up_s: float = 0.0
    publish_s: float = 0.0

    def __post_init__(self) -> None:
        if min(self.n_nodes, self.workers_per_node) < 1 or not self.worker_sources_per_s > 0:
            raise InvalidInputError(f"no cluster has {self}")

    @property
    def n_workers(self) -> int:
        """W."""
        return self.n_nodes * self.workers_per_node


@dataclass(frozen=True, slots=True)
class Forecast:
    """A projected run.

    Parameters
    ----------
    start_up_s, work_s, publish_s
        The terms of the sum, in seconds.
    sources_per_s
        R.
    bound_by
        What sets the work's time: ``workers``, ``node reads``, ``node writes``, ``storage reads``,
        ``storage writes``, ``largest task`` or ``scheduler``.
    """

    start_up_s: float
    work_s: float
    publish_s: float
    sources_per_s: float
    bound_by: str

    @property
    def seconds(self) -> float:
        """T."""
        return self.start_up_s + self.work_s + self.publish_s


def forecast(load: Load, cluster: Cluster) -> Forecast:
    """T for a load on a cluster, and what bounds it.

    Parameters
    ----------
    load
        What there is to do.
    cluster
        What does it.
    """
    rates = {
        "workers": cluster.n_workers * cluster.worker_sources_per_s,
        "node reads": _rate(cluster.n_nodes * cluster.node_read_bytes_per_s, load.bytes_in),
        "node writes": _rate(cluster.n_nodes * cluster.node_write_bytes_per_s, load.bytes_out),
        "storage reads": _rate(cluster.shared_read_bytes_per_s, load.bytes_in),
        "storage writes": _rate(cluster.shared_write_bytes_per_s, load.bytes_out),
    }
    slowest = min(rates, key=lambda name: rates[name])
    rate = rates[slowest]
    times = {
        slowest: load.n_sources / rate,
        "largest task": load.largest * cluster.n_workers / rate,
        "scheduler": load.n_tasks * SCHEDULING_S,
    }
    bound_by = max(times, key=lambda name: times[name])
    return Forecast(cluster.start_up_s, times[bound_by], cluster.publish_s, rate, bound_by)


def _rate(bytes_per_s: float, bytes_per_source: float) -> float:
    return bytes_per_s / bytes_per_source if bytes_per_source else math.inf
