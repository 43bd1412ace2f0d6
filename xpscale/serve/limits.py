"""How much one query, and all of them together, may take of the machine."""

from __future__ import annotations

from dataclasses import dataclass

from xpscale.runtime.machine import n_cpus

__all__ = ["MIB", "Limits"]

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a service.

    Parameters
    ----------
    rows, default_rows
        The most rows of a result, and how many without ``MAXREC``.
    sync_s, async_s
        The most seconds that a query may take, waited for and as a job.
    memory_bytes
        Memory of all queries together.
    queries
        Queries that run at the same time.
    queue_s
        Seconds that a query waits for its turn before it is told to come back.
    upload_bytes, upload_rows
        The most bytes of a request, and rows of a table in it.
    result_bytes
        The most bytes of a result.
    jobs, jobs_at_once, jobs_bytes
        Jobs that are kept, jobs that run at the same time, and bytes of all files of jobs.
    job_lifetime_s
        Seconds after which a job and its result are deleted.
    threads
        Threads of the database.
    """

    rows: int = 1_000_000
    default_rows: int = 100_000
    sync_s: float = 60
    async_s: float = 1800
    memory_bytes: int = 2048 * MIB
    queries: int = 4
    queue_s: float = 20
    upload_bytes: int = 64 * MIB
    upload_rows: int = 200_000
    result_bytes: int = 1024 * MIB
    jobs: int = 100
    jobs_at_once: int = 2
    jobs_bytes: int = 8192 * MIB
    job_lifetime_s: float = 86_400
    threads: int = n_cpus()
