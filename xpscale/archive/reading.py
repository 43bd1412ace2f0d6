"""An archive file's compressed bytes, from start to end, and whether they are those that
``_MD5SUM.txt`` means.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, cast

from xpscale.archive.files import ArchiveFile
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.storage import BLOCK_BYTES, Storage

__all__ = ["open_file", "verified_stream"]

MAX_PENDING = 8
"""Blocks of half a megabyte that are read and not yet hashed: no thread waits for the other."""


def open_file(storage: Storage, file: ArchiveFile) -> BinaryIO:
    """A file, open for reading its compressed bytes from the start, block by block.

    Parameters
    ----------
    storage
        The archive.
    file
        One of its files.

    Raises
    ------
    InvalidInputError
        The file is not there.
    """
    try:
        return storage.open(file.name, buffer_bytes=BLOCK_BYTES)
    except NotFoundError as error:
        raise InvalidInputError(
            f"{storage.url}/{file.name} does not exist", "Fetch it from the archive"
        ) from error


@contextlib.contextmanager
def verified_stream(storage: Storage, file: ArchiveFile) -> Iterator[BinaryIO]:
    """As `open_file`; at the end the MD5 sum is compared with the listed one.

    It is not taken of a file that ``fetch`` or ``verify`` has found right, or that no
    ``_MD5SUM.txt`` lists: MD5 costs a third of what decompressing does, and against damage each
    gzip member carries its own CRC-32 (see ``design/002-ingest.md``).

    Parameters
    ----------
    storage
        The archive.
    file
        One of its files.

    Raises
    ------
    InvalidInputError
        The file is not there, or has another MD5 sum.
    """
    with open_file(storage, file) as stream:
        if file.is_verified or not file.md5:
            yield stream
            return
        with contextlib.closing(_HashingReader(stream)) as hashed:
            yield cast(BinaryIO, hashed)
            md5 = hashed.finish()
    if md5 != file.md5:
        raise InvalidInputError(
            f"{storage.url}/{file.name} has MD5 {md5}, _MD5SUM.txt says {file.md5}",
            "Download it again",
        )


class _HashingReader(io.RawIOBase):
    """A stream whose bytes are hashed in a thread of its own while they are decompressed."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._digest = hashlib.md5(usedforsecurity=False)
        self._thread = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self._pending.append(self._thread.submit(self._digest.update, data))
        self._wait(MAX_PENDING)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def finish(self) -> str:
        """Read to the end, so that the MD5 covers the whole file, and return it."""
        while self.read(1 << 20):
            pass
        self._wait(0)
        return self._digest.hexdigest()

    def close(self) -> None:
        self._thread.shutdown()
        super().close()

    def _wait(self, n: int) -> None:
        """Until no more than ``n`` blocks are still to be hashed."""
        while len(self._pending) > n:
            self._pending.popleft().result()
