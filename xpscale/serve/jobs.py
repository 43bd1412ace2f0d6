"""Jobs: queries that nobody waits for (UWS 1.1), each with its files in a folder of its own.

They are few, their folder is bounded, and each is deleted at its destruction time; all go with the
service.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from xpscale.errors import InvalidInputError, NotFoundError, TryAgainError, XpscaleError
from xpscale.serve.database import Database, Stop
from xpscale.serve.requests import Parameters, tap_request
from xpscale.serve.uploads import read_uploads

__all__ = ["ENDED", "Job", "Jobs"]

ENDED = ("COMPLETED", "ERROR", "ABORTED")


@dataclass(slots=True, eq=False)
class Job:
    """A query that runs by itself.

    Parameters
    ----------
    name
        Its identifier, which nobody guesses.
    folder
        Its uploaded tables and its result.
    parameters
        Of TAP.
    duration_s
        The most seconds that it may run.
    destruction
        When it is deleted.
    """

    name: str
    folder: Path
    parameters: Parameters
    duration_s: float
    destruction: datetime
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    phase: str = "PENDING"
    started: datetime | None = None
    ended: datetime | None = None
    error: str = ""
    media_type: str = ""
    stop: Stop = field(default_factory=Stop)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def result(self) -> Path:
        """The file of its result."""
        return self.folder / "result"

    def part(self, name: str) -> Path:
        """The file of a part of the request, which may have any name."""
        return self.folder / f"part-{name.encode().hex()[:100]}"

    def turn(self, phase: str) -> bool:
        """Change to a phase, unless the job has ended; whether it did.

        Parameters
        ----------
        phase
            A phase of UWS.
        """
        with self.changed:
            if self.phase in ENDED:
                return False
            self.phase = phase
            now = datetime.now(UTC)
            self.started = now if phase == "EXECUTING" else self.started
            self.ended = now if phase in ENDED else None
            self.changed.notify_all()
            return True

    def wait(self, seconds: float, phase: str) -> None:
        """Wait until it leaves a phase.

        Parameters
        ----------
        seconds
            At most so long.
        phase
            The phase.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.phase != phase, seconds)


class Jobs:
    """All jobs of a service.

    Parameters
    ----------
    database
        Where they run.
    """

    def __init__(self, database: Database) -> None:
        self._database, self._limits = database, database.limits
        self._folder = Path(tempfile.mkdtemp(prefix="xpscale-jobs-"))
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(self._limits.jobs_at_once, "job")

    def close(self) -> None:
        """Stop all and delete their files."""
        for job in list(self._jobs.values()):
            self.abort(job)
        self._threads.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __iter__(self) -> Iterator[Job]:
        self.clean()
        return iter(sorted(self._jobs.values(), key=lambda job: job.created))

    def __getitem__(self, name: str) -> Job:
        """The job of a name.

        Raises
        ------
        NotFoundError
            There is none, or it was deleted.
        """
        self.clean()
        if name not in self._jobs:
            raise NotFoundError(f"there is no job {name!r}", "It may have been deleted")
        return self._jobs[name]

    def create(self, parameters: Parameters, files: Mapping[str, IO[bytes]]) -> Job:
        """A new job, which does not run yet.

        Parameters
        ----------
        parameters
            Of TAP.
        files
            The parts of the request.

        Raises
        ------
        TryAgainError
            There are as many jobs, or files of jobs, as may be.
        """
        self.clean()
        limits = self._limits
        n_bytes = sum(path.stat().st_size for path in self._folder.glob("*/*"))
        if len(self._jobs) >= limits.jobs or n_bytes > limits.jobs_bytes:
            raise TryAgainError("there are too many jobs", "Try again later, or delete old ones")
        name = secrets.token_hex(8)
        until = datetime.now(UTC) + timedelta(seconds=limits.job_lifetime_s)
        job = Job(name, self._folder / name, parameters, limits.async_s, until)
        job.folder.mkdir()
        for part, file in files.items():
            with job.part(part).open("wb") as kept:
                shutil.copyfileobj(file, kept)
        with self._lock:
            self._jobs[name] = job
        return job

    def duration(self, seconds: float) -> float:
        """The seconds that a job may have of those that it asks for; 0 asks for all."""
        return min(seconds or self._limits.async_s, self._limits.async_s)

    def destruction(self, when: datetime) -> datetime:
        """The time that a job may have of that which it asks for."""
        last = datetime.now(UTC) + timedelta(seconds=self._limits.job_lifetime_s)
        return min(when, last)

    def result_at(self, address: str) -> Path | None:
        """The file of the result at an address of this service, ``None`` for another address."""
        match = re.search(r"/tap/async/(\w+)/results/result$", address)
        job = self._jobs.get(match[1]) if match else None
        return job.result if job and job.phase == "COMPLETED" else None

    def start(self, job: Job) -> None:
        """Let a job run as soon as there is room.

        Parameters
        ----------
        job
            One that is pending.

        Raises
        ------
        InvalidInputError
            It has been started already.
        """
        with job.changed:
            if job.phase != "PENDING":
                raise InvalidInputError(f"the job is {job.phase}, and can be started only once")
            job.turn("QUEUED")
        self._threads.submit(self._run, job)

    def abort(self, job: Job) -> None:
        """Stop a job.

        Parameters
        ----------
        job
            In any phase.
        """
        job.turn("ABORTED")
        job.stop.now("the job was aborted")

    def delete(self, job: Job) -> None:
        """Stop a job and delete its files.

        Parameters
        ----------
        job
            In any phase.
        """
        self.abort(job)
        with self._lock:
            self._jobs.pop(job.name, None)
        shutil.rmtree(job.folder, ignore_errors=True)

    def clean(self) -> None:
        """Delete the jobs whose time has come."""
        now = datetime.now(UTC)
        for job in list(self._jobs.values()):
            if job.destruction <= now:
                self.delete(job)

    def _run(self, job: Job) -> None:
        try:
            if job.turn("EXECUTING"):
                self._answer(job)
                job.turn("COMPLETED")
        except XpscaleError as error:
            job.error = str(error)
            job.turn("ERROR")
        except OSError as error:  # the folder was deleted, or the disk is full
            job.error = f"the result cannot be written: {error.strerror or error}"
            job.turn("ERROR")
        except Exception:
            job.error = "a fault of the service"
            job.turn("ERROR")
            raise

    def _answer(self, job: Job) -> None:
        request = tap_request(job.parameters, self._limits)
        with contextlib.ExitStack() as stack:
            names = [address.removeprefix("param:") for address in request.uploads.values()]
            files = {
                name: stack.enter_context(job.part(name).open("rb"))
                for name in names
                if job.part(name).exists()
            }
            uploads = read_uploads(request.uploads, files, self.result_at, self._limits)
            file = stack.enter_context(job.result.open("w+b"))
            seconds = job.duration_s
            self._database.answer(request, uploads, file, job.stop, seconds, queue_s=seconds)
        job.media_type = request.form.media_type
