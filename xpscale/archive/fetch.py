"""Fetch archive files into a local folder: planned first, parallel, resumable, verified.

    plan = plan_fetch("https://cdn.gea.esac.esa.int/Gaia/gdr3", "archive", pixels=(0, 3111))
    print(plan)
    run_fetch(plan)

The folder is laid out as the archive, ``_MD5SUM.txt`` included, and is one for ``xpscale ingest``.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from xpscale.archive.fetch_plan import FetchPlan, plan_fetch
from xpscale.archive.files import ArchiveFile
from xpscale.archive.transfer import Part, Stopped, receive
from xpscale.errors import (
    IncompleteError,
    InvalidInputError,
    NotFoundError,
    TryAgainError,
    XpscaleError,
)

__all__ = ["FetchPlan", "FetchReport", "Progress", "plan_fetch", "run_fetch"]

KINDS = (InvalidInputError, NotFoundError, TryAgainError)
"""Failures of one file; the others may still come."""
N_FAILURES = 8
"""Files in a row given up for passing faults, after which no more are tried."""
N_SHOWN = 5
"""Failures named in the error."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fetch or a check is.

    Parameters
    ----------
    n_files, n_files_done
        All files, and those that have ended.
    n_bytes, n_bytes_done
        Bytes of all files, and those that are here or were read.
    """

    n_files: int
    n_files_done: int
    n_bytes: int
    n_bytes_done: int


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What a fetch did.

    Parameters
    ----------
    n_fetched, n_found
        Files that came, and files that were there and right.
    n_bytes
        Bytes that came over the wire.
    n_faults
        Connections that dropped, and answers of a busy server.
    wall_s
        Seconds.
    """

    n_fetched: int
    n_found: int
    n_bytes: int
    n_faults: int
    wall_s: float


@dataclass
class _Run:
    """State that the threads of one fetch share."""

    plan: FetchPlan
    waiting: queue.SimpleQueue[ArchiveFile]
    ended: queue.SimpleQueue[tuple[bool, Exception | None]] = field(
        default_factory=queue.SimpleQueue
    )
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    n_bytes_here: int = 0
    n_bytes_received: int = 0
    n_faults: int = 0

    def work(self) -> None:
        """Take files until there are none; one thread."""
        with contextlib.suppress(queue.Empty, Stopped):
            while not self.stop.is_set():
                file, has_come, failure = self.waiting.get_nowait(), False, None
                try:
                    has_come = self._get(file)
                except Stopped:
                    raise
                except Exception as error:  # the main thread judges it
                    failure = error
                self.ended.put((has_come, failure))

    def _get(self, file: ArchiveFile) -> bool:
        """Fetch one file if it is not here and right; whether any of it had to come."""
        mirror = self.plan.mirror
        if file.name in self.plan.verified or mirror.is_right(file):
            self._count(mirror.size(file) or 0)
            return False
        part, n_faults = Part(mirror.path(file), self._count), 0
        try:
            n_faults = receive(self.plan.origin(file), file, part, self.stop)
            part.publish()
        finally:
            part.close()
            with self.lock:
                self.n_faults += n_faults
                self.n_bytes_received += part.n_received
        mirror.note(file)
        return True

    def _count(self, n_bytes: int) -> None:
        with self.lock:
            self.n_bytes_here += n_bytes


def run_fetch(
    plan: FetchPlan, *, n_connections: int = 4, progress: Callable[[Progress], object] | None = None
) -> FetchReport:
    """Fetch what is missing.  A file gets its name when it is whole and verified; the same call
    resumes.

    Parameters
    ----------
    plan
        From `plan_fetch`.
    n_connections
        Files at a time.
    progress
        Called twice a second.

    Raises
    ------
    InvalidInputError, NotFoundError, TryAgainError
        All files that failed did so for one such reason: wrong MD5 sums, not there, network.  The
        others are kept.
    IncompleteError
        Files failed for several reasons.
    PermanentError
        The disk is full or cannot be written.
    """
    started = time.monotonic()
    run = _Run(plan, queue.SimpleQueue())
    for file in plan.files:
        run.waiting.put(file)
    with plan.mirror.locked():
        plan.mirror.write_sums(plan.files)
        # daemons: an interrupted fetch ends at once, not when a silent server has timed out
        threads = [threading.Thread(target=run.work, daemon=True) for _ in range(n_connections)]
        for thread in threads:
            thread.start()
        try:
            n_fetched, failures = _collect(run, progress)
        finally:
            run.stop.set()
        for thread in threads:
            thread.join()
    _raise_failures(plan, failures)
    wall_s = time.monotonic() - started
    return FetchReport(
        n_fetched, len(plan.files) - n_fetched, run.n_bytes_received, run.n_faults, wall_s
    )


def _collect(
    run: _Run, progress: Callable[[Progress], object] | None
) -> tuple[int, list[XpscaleError]]:
    """Wait until every file has come or failed; the number that came, and the failures."""
    n_files, n_bytes = len(run.plan.files), run.plan.n_bytes
    n_done = n_fetched = n_in_a_row = 0
    failures: list[XpscaleError] = []
    while n_done < n_files:
        with contextlib.suppress(queue.Empty):
            has_come, failure = run.ended.get(timeout=0.5)
            n_done += 1
            n_fetched += has_come
            n_in_a_row = n_in_a_row + 1 if isinstance(failure, TryAgainError) else 0
            if isinstance(failure, KINDS):
                failures.append(failure)
            elif failure is not None:  # the disk, or a bug: the other files would meet it too
                raise failure
            if n_in_a_row == N_FAILURES:
                break  # the server is gone
        if progress is not None:
            progress(Progress(n_files, n_done, n_bytes, run.n_bytes_here))
    return n_fetched, failures


def _raise_failures(plan: FetchPlan, failures: list[XpscaleError]) -> None:
    if not failures:
        return
    kinds = [next(kind for kind in KINDS if isinstance(error, kind)) for error in failures]
    is_one = len(set(kinds)) == 1
    text = "\n  ".join(error.message for error in failures[:N_SHOWN])
    more = f"\n  and {len(failures) - N_SHOWN:,} more" if len(failures) > N_SHOWN else ""
    raise (kinds[0] if is_one else IncompleteError)(
        f"{len(failures):,} of {len(plan.files):,} files failed, what came is kept:\n "
        f" {text}{more}",
        failures[0].remedy if is_one else "Run the same command again for those",
    )
