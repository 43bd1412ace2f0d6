"""Which cluster works: the kinds of a ``[cluster]`` table, and what each is told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from xpscale.errors import InvalidInputError
from xpscale.settings.slurm import ClientJob, Slurm
from xpscale.toml_files import from_table

__all__ = [
    "Cluster",
    "Kubernetes",
    "Local",
    "Running",
    "cluster_from_table",
    "with_workers",
]


MOST_PROCESSES = 100_000
"""No machine has so many processors; each takes some of its memory before it is asked for any."""


@dataclass(frozen=True, slots=True)
class Local:
    """Worker processes on this machine.

    Parameters
    ----------
    workers
        How many; one for each processor by default, 0 for this process alone.
    """

    kind: ClassVar[str] = "local"
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers > MOST_PROCESSES:
            raise InvalidInputError(
                f"{self.workers:,} worker processes on one machine",
                f"Give at most {MOST_PROCESSES:,}",
            )


@dataclass(frozen=True, slots=True)
class Running:
    """A Dask scheduler that somebody has started, with its workers.

    Parameters
    ----------
    address
        Of the scheduler, ``tcp://HOST:8786``.
    resources
        What a task needs of a worker, as the workers declare it: ``{GPU = 1}``.
    tls
        Folder of certificates, if the scheduler wants them (``xpscale certificates make``).
    """

    kind: ClassVar[str] = "scheduler"
    address: str
    resources: dict[str, float] = field(default_factory=dict)
    tls: str = ""


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """A cluster that the Dask Operator runs (``deploy/kubernetes``), for a client inside it.

    Parameters
    ----------
    name, namespace
        Of the ``DaskCluster``; the operator calls the service of its scheduler
        ``NAME-scheduler.NAMESPACE``.
    resources
        What a task needs of a worker, as the workers declare it: ``{GPU = 1}``.
    tls
        Folder of certificates, if the scheduler wants them.
    """

    kind: ClassVar[str] = "kubernetes"
    name: str = "xpscale"
    namespace: str = "default"
    resources: dict[str, float] = field(default_factory=dict)
    tls: str = ""

    @property
    def running(self) -> Running:
        """Its scheduler."""
        address = f"tcp://{self.name}-scheduler.{self.namespace}.svc:8786"
        return Running(address, self.resources, self.tls)


Cluster = Local | Running | Kubernetes | Slurm

KINDS: dict[str, type[Cluster]] = {kind.kind: kind for kind in (Local, Running, Slurm, Kubernetes)}


def cluster_from_table(table: object, where: str) -> Cluster:
    """What a ``[cluster]`` table describes.

    Parameters
    ----------
    table
        With ``kind``, and the fields of that kind's class.
    where
        What to call it in messages.

    Raises
    ------
    InvalidInputError
        A key is not known, or has a value that it cannot have.
    """
    if not isinstance(table, dict):
        raise InvalidInputError(f"{where} is {table!r}", "Write a table, with a line kind = ...")
    values: dict[str, Any] = dict(table)
    kind = values.pop("kind", Local.kind)
    if kind not in KINDS:
        raise InvalidInputError(
            f"{where}: kind is {kind!r}, which is not known", f"Give one of {', '.join(KINDS)}"
        )
    if kind == Slurm.kind and "client" in values:
        values["client"] = from_table(ClientJob, values["client"], f"{where[:-1]}.client]")
    found: Cluster = from_table(KINDS[kind], values, where)
    return found


def with_workers(cluster: Cluster, workers: int | None) -> Cluster:
    """The same cluster with another number of workers; 0 is this process.

    Parameters
    ----------
    cluster
        As the settings say.
    workers
        Worker processes; ``None`` leaves the number to the settings.  A cluster that others have
        started has as many as they started.
    """
    if workers == 0 or (workers is not None and isinstance(cluster, Local)):
        return Local(workers)
    if workers is not None and isinstance(cluster, Slurm):
        minimum = min(cluster.minimum, workers) if cluster.minimum else None
        return replace(cluster, workers=workers, minimum=minimum)
    return cluster
