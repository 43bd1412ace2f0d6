"""Jobs of SLURM: what a ``[cluster]`` table of this kind says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar

from xpscale.errors import InvalidInputError

__all__ = ["ClientJob", "Slurm", "walltime_seconds"]

WALLTIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
MEMORY = re.compile(r"\d+(\.\d+)? ?[KMGT]i?B", re.IGNORECASE)
LINE_BREAK = re.compile(r"[\r\n]")


@dataclass(frozen=True, slots=True)
class ClientJob:
    """The job of SLURM that runs the command itself, for ``--submit``.

    Parameters
    ----------
    partition, account
        Empty for those of the workers.
    walltime
        As SLURM writes it; the job is queued again when it ends before the work does.
    cores, memory
        Of the job.
    directives
        More lines for ``sbatch``: ``--qos=long``.
    """

    partition: str = ""
    account: str = ""
    walltime: str = "1-00:00:00"
    cores: int = 2
    memory: str = "8GB"
    directives: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        _require_job(self)


@dataclass(frozen=True, slots=True)
class Slurm:
    """Jobs of SLURM, each with some worker processes; they are started and ended with a command.

    Parameters
    ----------
    workers
        Worker processes at most, in all jobs together.
    minimum
        Fewest workers to keep while little is to be done; ``workers`` by default.
    partition, account
        Where jobs are queued, and on whose account; empty for SLURM's defaults.
    walltime
        Of a job, as SLURM writes it: ``02:00:00``.  Workers end earlier, one after the other, and
        others follow.
    grace
        Seconds before the walltime at which every worker of a job has ended.
    cores
        Processors of a job.
    processes
        Worker processes of a job; one for each processor by default.
    tasks
        Tasks that a worker process runs at the same time.
    memory
        Of a job: ``16GB``.
    gpus
        GPUs of a job; its processes take them in turn, so that each uses one.
    interface
        Network interface by which workers and scheduler reach each other: ``ib0``.
    directives
        More lines for ``sbatch``: ``--constraint=a100``.
    setup
        Lines of shell script that run before a worker or the client: ``module load cuda``.
    python
        The interpreter on the nodes; this one by default.
    scratch
        A folder on the nodes for what workers keep on disk; a system default if empty.
    tls
        Folder of certificates for scheduler and workers (``xpscale certificates make``).
    logs
        Folder for what jobs print.
    client
        The job that ``--submit`` puts the command in.
    """

    kind: ClassVar[str] = "slurm"
    workers: int = 4
    minimum: int | None = None
    partition: str = ""
    account: str = ""
    walltime: str = "01:00:00"
    grace: int = 120
    cores: int = 1
    processes: int | None = None
    tasks: int = 1
    memory: str = "4GB"
    gpus: int = 0
    interface: str = ""
    directives: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    python: str = ""
    scratch: str = ""
    logs: str = "slurm-logs"
    tls: str = ""
    client: ClientJob = field(default_factory=ClientJob)

    def __post_init__(self) -> None:
        _require_job(self)
        for name in ("workers", "processes", "tasks", "minimum"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "Give 1 or more")
        at_most = self.workers
        _require(
            self.minimum is None or self.minimum <= at_most,
            "minimum",
            self.minimum,
            f"Give at most workers = {at_most}",
        )
        most = self.processes_per_job
        remedy = f"Give 0 to {most}, the processes of a job, each of which uses one GPU"
        _require(0 <= self.gpus <= most, "gpus", self.gpus, remedy)
        _require(self.grace >= 0, "grace", self.grace, "Give 0 or more seconds")
        _require(
            self.worker_seconds > 0,
            "walltime",
            self.walltime,
            f"Give more than grace = {self.grace} seconds",
        )

    @property
    def processes_per_job(self) -> int:
        """Worker processes of a job."""
        return self.processes or self.cores

    @property
    def n_jobs(self) -> int:
        """Jobs at most."""
        return -(-self.workers // self.processes_per_job)

    @property
    def worker_seconds(self) -> int:
        """How long after its start a job should have no workers any more."""
        return walltime_seconds(self.walltime) - self.grace


def walltime_seconds(text: str) -> int:
    """Seconds of a walltime as SLURM writes it.

    >>> walltime_seconds("30"), walltime_seconds("2:00:00"), walltime_seconds("1-12")
    (1800, 7200, 129600)

    Parameters
    ----------
    text
        ``MINUTES``, ``MINUTES:SECONDS``, ``HOURS:MINUTES:SECONDS``, or ``DAYS-HOURS`` with minutes
        and seconds or without.

    Raises
    ------
    InvalidInputError
        It is none of these.
    """
    match = WALLTIME.fullmatch(text)
    if match is None:
        raise InvalidInputError(f"walltime is {text!r}", "Write it as SLURM does: 02:00:00")
    days, *rest = match.groups()
    numbers = [int(each) for each in rest if each is not None]
    if days is not None:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, (minutes, seconds) = 0, [*numbers, 0][:2]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _require_job(job: ClientJob | Slurm) -> None:
    walltime_seconds(job.walltime)
    _require(job.cores >= 1, "cores", job.cores, "Give 1 or more")
    fits = MEMORY.fullmatch(job.memory) is not None
    _require(fits, "memory", job.memory, "Give a number with its unit: 16GB")
    for name in ("partition", "account"):
        value = getattr(job, name)
        _require(not re.search(r"\s", value), name, value, "Give a name")
    for line in job.directives:
        fits = line.startswith("-") and not LINE_BREAK.search(line)
        _require(fits, "directives", line, "Give options of sbatch: --constraint=a100")


def _require(holds: bool, name: str, value: object, remedy: str) -> None:
    if not holds:
        raise InvalidInputError(f"{name} is {value!r}", remedy)
