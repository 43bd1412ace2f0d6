"""Workers in jobs of SLURM, for the length of a block.

dask-jobqueue writes and queues the jobs.  What it leaves to us: jobs that ended (walltime,
``scancel``, a lost node) are replaced while there is work, the user is told what is waited for, and
no job outlives the block.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpscale.clusters.job_scripts import jobqueue, refusal, run_slurm, worker_options
from xpscale.errors import InvalidInputError, PermanentError

if TYPE_CHECKING:
    from distributed import Client

    from xpscale.settings.slurm import Slurm

__all__ = ["slurm_workers"]

WAIT_S = 2.0
"""Between two looks at the queue until the first worker is there."""

WATCH_S = 10.0
"""Between two looks at the queue afterwards."""

TELL_S = 30.0
LAST_LINES = 5


@contextlib.contextmanager
def slurm_workers(settings: Slurm, tell: Callable[[str], None]) -> Iterator[Client]:
    """A client of a scheduler in this process, with workers in jobs of SLURM; all jobs are ended
    with the block, however it ends.

    Parameters
    ----------
    settings
        Of the jobs.
    tell
        Is told what the user should know.

    Raises
    ------
    InvalidInputError
        SLURM refuses such a job; the message says why.
    PermanentError
        All jobs ended before a worker was there; the message ends with what they printed.
    """
    import dask
    from distributed import Client

    name = f"xpscale-{uuid.uuid4().hex[:8]}"
    options = worker_options(settings, name)
    config = {
        # every 10 ms costs 5 % of the rate of latents
        "distributed.worker.profile.interval": "100 ms",
        # we replace jobs that have ended; a worker that is only slow to come back stays
        "distributed.deploy.lost-worker-timeout": "1000 days",
        # a process that stands still this long is replaced
        "distributed.scheduler.worker-ttl": "60 s",
    }
    with dask.config.set(config), _ended(name), jobqueue().SLURMCluster(**options) as cluster:
        _require_accepted(cluster.job_script())
        with Client(cluster, set_as_default=False) as client:
            jobs = _Jobs(cluster, settings, name, tell)
            with jobs.kept(client):
                yield client


@contextlib.contextmanager
def _ended(name: str) -> Iterator[None]:
    """End all jobs of a name with the block, also when dask-jobqueue cannot."""
    try:
        yield
    finally:
        # in a session of its own, so that a second Ctrl-C does not stop it
        command = ["scancel", "--quiet", "--me", "--name", name]
        subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL).wait()


def _require_accepted(script: str) -> None:
    """Ask SLURM whether it would take the job; dask-jobqueue only logs it if not."""
    asked = run_slurm(["sbatch", "--test-only"], script)
    if asked.returncode:
        raise InvalidInputError(
            f"SLURM refuses the workers' job: {refusal(asked)}", "Correct the cluster's settings"
        )


@dataclass
class _Jobs:
    """The jobs of one cluster.

    Parameters
    ----------
    cluster
        Of dask-jobqueue.
    settings
        Of the jobs.
    name
        Of all of them.
    tell
        Is told what the user should know.
    """

    cluster: Any
    settings: Slurm
    name: str
    tell: Callable[[str], None]
    _seen: set[str] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)
    _n_useless: int = 0

    @contextlib.contextmanager
    def kept(self, client: Client) -> Iterator[None]:
        """As many jobs as the settings say, from the first worker to the end of the block."""
        least, most = self.settings.minimum, self.settings.n_jobs
        if least is None:
            self.cluster.scale(jobs=most)
        else:
            # the default, 5 s of work for each worker, never asks for a second one
            least_jobs = -(-least // self.settings.processes_per_job)
            self.cluster.adapt(minimum_jobs=least_jobs, maximum_jobs=most, target_duration="1s")
        n = f"{most} job{'s' * (most > 1)} of SLURM"
        each = self.settings.processes_per_job
        workers = f"{each} worker process{'es' * (each > 1)}{' each' * (most > 1)}"
        self.tell(f"cluster: {n} with {workers}: squeue --name {self.name}")
        self._await_first(client)
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        try:
            yield
        finally:
            self._over.set()
            watch.join()

    def _await_first(self, client: Client) -> None:
        told, said = time.monotonic() - TELL_S, ""
        while not client.nthreads():
            time.sleep(WAIT_S)
            queued = self._queued()
            if queued is None:
                continue
            text = _described(queued)
            if text and (text != said or time.monotonic() - told > TELL_S):
                told, said = time.monotonic(), text
                self.tell(f"cluster: waiting for the first worker: {text}")
            if self._drop_ended(queued) and not queued:
                raise PermanentError(
                    f"all jobs of SLURM ended before a worker was there{self._last_lines()}",
                    f"See {self.settings.logs}, and try 'xpscale ... --dry-run'",
                )
        self.tell(f"cluster: {len(client.nthreads())} worker processes are there")

    def _watch(self) -> None:
        """Replace jobs that have ended, more slowly if they end without use."""
        while not self._over.wait(WATCH_S * 2 ** min(self._n_useless, 5)):
            with contextlib.suppress(Exception):  # a controller that is restarted, a full queue
                queued = self._queued()
                if queued is None or not (ended := self._drop_ended(queued)):
                    continue
                self.tell(f"cluster: {ended} ended: {_described(queued) or 'no job is left'}")
                if self.settings.minimum is None:
                    self.cluster.scale(jobs=self.settings.n_jobs)

    def _queued(self) -> dict[str, tuple[str, str]] | None:
        """State and reason of each job, by its number; nothing if SLURM does not answer."""
        columns = ["--noheader", "--format=%i|%T|%r"]
        known = {job.job_id for job in self.cluster.workers.values()}
        asked = run_slurm(["squeue", "--me", "--name", self.name, *columns])
        if asked.returncode:
            return None
        rows = (line.split("|") for line in asked.stdout.splitlines())
        queued = {number: (state, reason) for number, state, reason in rows}
        # a job that was queued while we asked is no ended one
        now = {job.job_id for job in self.cluster.workers.values()}
        return queued | dict.fromkeys(now - known - set(queued), ("PENDING", ""))

    def _drop_ended(self, queued: dict[str, tuple[str, str]]) -> str:
        """Forget jobs that are not queued any more: how many, in words."""
        for worker in self.cluster.scheduler_info["workers"].values():
            self._seen |= {str(worker["name"]), str(worker["name"]).rpartition("-")[0]}
        ended = [name for name, job in self.cluster.workers.items() if job.job_id not in queued]
        self.cluster.sync(self._forget, ended)
        useless = [name for name in ended if name not in self._seen]
        if ended:
            self._n_useless = self._n_useless + 1 if useless else 0
        note = " before a worker was there" if useless else ""
        return f"{len(ended)} job{'s' * (len(ended) > 1)}{note}" if ended else ""

    async def _forget(self, names: list[str]) -> None:
        for name in names:
            self.cluster.workers.pop(name, None)

    def _last_lines(self) -> str:
        """The end of what the last job printed."""
        logs = sorted(Path(self.settings.logs).glob(f"{self.name}-*.err"))
        lines = logs[-1].read_text(errors="replace").splitlines() if logs else []
        told = [line for line in lines if line.strip()][-LAST_LINES:]
        return "".join(f"\n    {line}" for line in told)


def _described(queued: dict[str, tuple[str, str]]) -> str:
    """How many jobs are in which state, and why: ``2 PENDING (Resources)``."""
    counted = Counter(queued.values())
    return ", ".join(
        f"{n} {state}" + f" ({reason})" * (reason not in ("", "None"))
        for (state, reason), n in counted.items()
    )
