"""A scheduler and its workers: whether they answer, have our versions, and reach the places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from xpscale.doctor.findings import Diagnosis
from xpscale.errors import NotFoundError, PlanError
from xpscale.formatting import first_line, format_bytes
from xpscale.runtime.preflight import misfits, software
from xpscale.storage import Storage

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["examine_workers"]

SHARED = ("python", "distributed", "dask", "msgpack", "cloudpickle")
"""What client and scheduler speak to each other with."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The check of `xpscale.runtime.preflight` that places are reached.

    Parameters
    ----------
    urls
        Paths or URLs.
    """

    urls: tuple[str, ...]

    def __call__(self, _: int | None) -> None:
        """Look at each.

        Raises
        ------
        XpscaleError
            One cannot be reached from here.
        """
        for url in self.urls:
            if (place := Storage(url)).can_list:
                place.first_key()


def examine_workers(found: Diagnosis, address: str, urls: tuple[str, ...]) -> None:
    """Look at a scheduler and its workers; errors are findings.

    Parameters
    ----------
    found
        Where findings are noted.
    address
        Of the scheduler.
    urls
        Places that workers must reach.
    """
    from xpscale.runtime.executors.dask import DaskExecutor, connect

    with found.noting(address), connect(address) as client:
        _look_at_versions(found, address, client)
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            raise NotFoundError(
                "the scheduler has no workers", f"Start some: dask worker {address}"
            )
        threads = sum(worker["nthreads"] for worker in workers.values())
        limits = [worker["memory_limit"] for worker in workers.values()]
        known = [limit for limit in limits if limit]
        limit = f"{format_bytes(min(known))} of memory each" if known else "no memory limits"
        found.ok(address, f"{len(workers)} workers with {threads} threads, {limit}")
        for remark in DaskExecutor(client).remarks():
            found.warn(address, remark, "Start workers with these variables")
        answers = client.run(_look, Reach(urls), software(), on_error="return")
        for worker, problems in sorted(answers.items()):
            _note(found, worker, problems)


def _note(found: Diagnosis, worker: str, problems: tuple[str, ...] | Exception) -> None:
    if isinstance(problems, Exception):
        what = f"{type(problems).__name__}: {first_line(problems)}"
        problems = (f"another version of xpscale, or none ({what})",)
    if problems:
        remedy = "Give all workers this machine's environment and credentials"
        found.problem(f"worker {worker}", PlanError("; ".join(problems), remedy))
    else:
        found.ok(f"worker {worker}", "the same versions and code; reaches every place")


def _look(reach: Reach, expected: dict[str, str]) -> tuple[str, ...]:
    """What a worker runs."""
    return misfits(reach, expected, None)


def _look_at_versions(found: Diagnosis, address: str, client: Client) -> None:
    versions = cast(dict[str, Any], client.get_versions())
    theirs = {**versions["scheduler"]["host"], **versions["scheduler"]["packages"]}
    ours = {**versions["client"]["host"], **versions["client"]["packages"]}
    differences = [
        f"{name} {theirs.get(name)} instead of {ours.get(name)}"
        for name in SHARED
        if theirs.get(name) != ours.get(name)
    ]
    if differences:
        remedy = "Start the scheduler in the same environment"
        found.warn(address, f"scheduler: {'; '.join(differences)}", remedy)
    else:
        found.ok(address, f"scheduler: distributed {ours['distributed']}, as here")
