"""Receive one file: from where an earlier run ended, again where a connection drops, until its MD5
sum is right.

What has come is kept in ``NAME.part``; a later call, of this process or another, hashes it and goes
on behind it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from xpscale.archive.files import ArchiveFile
from xpscale.errors import InvalidInputError, PermanentError, TryAgainError
from xpscale.storage import Storage
from xpscale.storage.failures import Busy

__all__ = ["Part", "Stopped", "md5_of", "receive", "writing"]

N_TRIES = 8
"""Faults in a row without a new byte, after which a file is given up."""
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Seconds between tries: doubled from the first to the longest, less up to a half at random."""
LONGEST_RETRY_AFTER_S = 900.0
"""Seconds; a server that asks for a longer wait is not asked again."""


class Stopped(Exception):
    """The run is over; what has come of the file is kept."""


class Part:
    """The bytes of a file that have come so far, in ``NAME.part``, and their MD5 sum.

    Parameters
    ----------
    path
        Of the whole file; its folder exists.
    count
        Called with every change of the number of bytes; first with those of an earlier run.

    Attributes
    ----------
    n_bytes
        Bytes that are here.
    n_received
        Bytes that were appended, those that were thrown away later included.
    """

    def __init__(self, path: Path, count: Callable[[int], object]) -> None:
        self._path, self._count = path, count
        self._part = path.with_name(f"{path.name}.part")
        with writing(self._part):
            # unbuffered: whatever was appended outlives this process
            self._out = self._part.open("ab", buffering=0)
            self._md5, self.n_bytes = md5_of(self._part)
        self.n_received = 0
        count(self.n_bytes)

    @property
    def md5(self) -> str:
        """Hex digest of the bytes so far."""
        return str(self._md5.hexdigest())

    def holds(self, file: ArchiveFile) -> bool:
        """Whether the file is all there; by its size alone where the archive has no MD5 sum."""
        return self.md5 == file.md5 if file.md5 else self.n_bytes == file.n_bytes

    def append(self, block: bytes) -> None:
        """Add bytes at the end."""
        rest = memoryview(block)
        with writing(self._part):
            while rest:
                rest = rest[self._out.write(rest) :]
        self._md5.update(block)
        self.n_bytes += len(block)
        self.n_received += len(block)
        self._count(len(block))

    def restart(self) -> None:
        """Forget the bytes so far."""
        self._out.truncate(0)
        self._count(-self.n_bytes)
        self._md5, self.n_bytes = hashlib.md5(usedforsecurity=False), 0

    def publish(self) -> None:
        """Give the file its name."""
        with writing(self._path):
            os.fsync(self._out.fileno())
            self._out.close()
            os.replace(self._part, self._path)

    def close(self) -> None:
        """Close the file; an empty part is not kept."""
        self._out.close()
        if not self.n_bytes:
            self._part.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise an error that names the place if it cannot be written."""
    try:
        yield
    except OSError as error:
        raise PermanentError(
            f"{path} cannot be written: {error.strerror or error}",
            "Repair that, then run the same command again",
        ) from error


def md5_of(path: Path) -> tuple[Any, int]:
    """The MD5 hash of a local file and its size in bytes."""
    digest, n_bytes = hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            n_bytes += len(block)
    return digest, n_bytes


def receive(storage: Storage, file: ArchiveFile, part: Part, stop: threading.Event) -> int:
    """Make a part whole and right.

    A dropped connection is tried again, behind what has come, as long as tries bring new bytes and
    at most `N_TRIES` times in a row when they do not.  The MD5 sum alone says what is whole:
    servers are wrong about lengths.

    Parameters
    ----------
    storage
        The archive.
    file
        One of its files.
    part
        What is here of it; bytes are appended.
    stop
        Set to end the run.

    Returns
    -------
    int
        Faults on the way.

    Raises
    ------
    InvalidInputError
        The bytes differ from ``_MD5SUM.txt`` twice, or the server refuses.
    NotFoundError
        The archive lists the file and does not have it.
    TryAgainError
        Too many faults.
    Stopped
        ``stop`` was set.
    """
    n_faults = n_in_a_row = n_wrong = 0
    if not part.holds(file) and 0 < file.n_bytes <= part.n_bytes:
        part.restart()
    furthest = part.n_bytes
    while not part.holds(file):
        try:
            _receive_once(storage, file, part, stop)
        except TryAgainError as error:
            if part.holds(file):
                break  # the server had promised more than there is
            n_faults += 1
            n_in_a_row = 1 if part.n_bytes > furthest else n_in_a_row + 1
            furthest = max(furthest, part.n_bytes)
            _back_off(error, n_in_a_row, stop)
            continue
        if not part.holds(file):
            n_wrong, wrong, furthest = n_wrong + 1, part.md5, 0
            part.restart()
            if n_wrong == 2:
                raise InvalidInputError(
                    f"{file.name} came twice with MD5 {wrong}, and _MD5SUM.txt says {file.md5}",
                    "The archive's file or its list is wrong: try later, or another mirror",
                )
    return n_faults


def _receive_once(storage: Storage, file: ArchiveFile, part: Part, stop: threading.Event) -> None:
    """Append what one connection brings; `TryAgainError` if that ends before the file does."""
    with storage.stream(file.name, part.n_bytes) as stream:
        if stream.start != part.n_bytes:
            part.restart()
        if stream.start != part.n_bytes:
            raise TryAgainError(f"{file.name}: the server sent bytes from {stream.start:,} instead")
        for block in stream.blocks:
            part.append(block)
            if stop.is_set():
                raise Stopped
        n_bytes = max(stream.n_bytes, file.n_bytes)
    if part.n_bytes < n_bytes:
        raise TryAgainError(
            f"{file.name}: connection dropped after {part.n_bytes:,} of {n_bytes:,} bytes",
            "Try again",
        )


def _back_off(error: TryAgainError, n_faults: int, stop: threading.Event) -> None:
    """Wait after the n-th fault in a row, or raise it if it was one too many."""
    asked_s = error.wait_s if isinstance(error, Busy) else 0.0
    if n_faults >= N_TRIES or asked_s > LONGEST_RETRY_AFTER_S:
        too_long = asked_s > LONGEST_RETRY_AFTER_S
        after = f", asking to come back in {asked_s:,.0f} s" if too_long else ""
        tries = f" ({n_faults} tries in a row)" if n_faults > 1 else ""
        raise TryAgainError(
            f"{error.message}{after}{tries}", "Run the same command again later"
        ) from error
    wait_s = min(FIRST_WAIT_S * 2 ** (n_faults - 1), LONGEST_WAIT_S) * random.uniform(0.5, 1)
    if stop.wait(max(wait_s, asked_s)):
        raise Stopped
