"""Objects at a URL, read and listed."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Self, cast
from urllib.parse import unquote

from xpscale.errors import InvalidInputError, NotFoundError, TryAgainError
from xpscale.storage.address import checked, inside, web_quoted
from xpscale.storage.backend import Backend
from xpscale.storage.failures import explained
from xpscale.storage.local import LocalBackend
from xpscale.storage.names import is_litter
from xpscale.storage.ranges import RangeFile
from xpscale.storage.remote import RemoteBackend
from xpscale.storage.web import Stream, open_web

__all__ = ["BLOCK_BYTES", "ReadableStorage", "Stream"]

DOCUMENT = re.compile(r"(?:\.json|properties|partition_info\.csv|_MD5SUM\.txt)$")
"""How documents of ours, of HATS and of the archive are called, which are read whole."""
MAX_DOCUMENT = 64_000_000
"""Bytes of such."""

SIZES_AT_ONCE = 16

BLOCK_BYTES = 1 << 24
"""Bytes of one range request where a remote object is read from start to end."""


@dataclass(frozen=True)
class ReadableStorage:
    """What `xpscale.storage.Storage` can do without writing.

    Parameters
    ----------
    url
        As of `xpscale.storage.Storage`.
    """

    url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", checked(self.url))

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.url,)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, key: str) -> Self:
        return type(self)(self.url_of(key.strip("/")))

    def url_of(self, key: str) -> str:
        """Address of an object."""
        inside(key, self.url)
        return f"{self.url}/{web_quoted(key.replace('%', '%25')) if self._is_web else key}"

    @property
    def name(self) -> str:
        """The last word of the URL."""
        name = self.url.rsplit("/", 1)[-1]
        return unquote(name) if self._is_web else name

    @property
    def parent(self) -> Self:
        """The place one word up."""
        return type(self)(self.url.rpartition("/")[0] or "/")

    @property
    def folder(self) -> Path | None:
        """The folder on a local (or mounted) file system, ``None`` if the objects are elsewhere."""
        return self._backend.folder

    @property
    def can_list(self) -> bool:
        """Whether it can be asked which objects are there; a web server cannot."""
        return not self._is_web

    @property
    def _is_web(self) -> bool:
        return self.url.startswith(("https://", "http://"))

    @cached_property
    def _backend(self) -> Backend:
        return (RemoteBackend if "://" in self.url else LocalBackend)(self.url)

    def _explained(self, key: str = "") -> contextlib.AbstractContextManager[None]:
        return explained(f"{self.url}/{inside(key, self.url)}".rstrip("/"))

    def read(self, key: str) -> bytes:
        """The whole object.

        Raises
        ------
        InvalidInputError
            It is called like a document, and too large for one (`MAX_DOCUMENT`).
        """
        with self._explained(key):
            return self._backend.read(key, MAX_DOCUMENT if DOCUMENT.search(key) else None)

    def read_range(self, key: str, start: int, n_bytes: int) -> bytes:
        """Part of an object; shorter than asked for only where the object ends.

        Parameters
        ----------
        key, start, n_bytes
            The object, an offset, and a number of bytes.

        Raises
        ------
        InvalidInputError
            The object ends before ``start``.
        """
        if n_bytes == 0:
            return b""
        try:
            with self._explained(key):
                return self._backend.read_range(key, start, n_bytes)
        except (InvalidInputError, TryAgainError) as error:
            size = self.size(key)
            if size is None or 0 <= start < size:
                raise
            raise InvalidInputError(
                f"{self.url}/{key} has {size} bytes and is asked for byte {start}: it is damaged",
                "Restore it from a copy",
            ) from error

    def open(self, key: str, *, buffer_bytes: int = 0) -> BinaryIO:
        """An object, open for reading at any offset.

        Parameters
        ----------
        key
            The object.
        buffer_bytes
            Bytes of one range request, for a remote object that is read in order.  If 0, each read
            is one request.
        """
        if self.folder is not None:
            with self._explained(key):
                return (self.folder / key).open("rb")
        size = self._size_of(key)
        ranges = RangeFile(lambda start, n_bytes: self.read_range(key, start, n_bytes), size)
        return cast(BinaryIO, io.BufferedReader(ranges, buffer_bytes) if buffer_bytes else ranges)

    @contextlib.contextmanager
    def stream(self, key: str, offset: int = 0) -> Iterator[Stream]:
        """An object from an offset on, in blocks as they come, also those before a fault.

        Parameters
        ----------
        key, offset
            The object, and the first byte wanted.

        Raises
        ------
        TryAgainError
            A fault, also while blocks are read; `Busy` if the server asks for a wait.
        """
        if self._is_web:
            with open_web(self.url_of(key), offset) as stream:
                yield stream
            return
        n_bytes = self._size_of(key)
        starts = range(offset, n_bytes, BLOCK_BYTES)
        yield Stream(offset, n_bytes, (self.read_range(key, at, BLOCK_BYTES) for at in starts))

    def exists(self, key: str) -> bool:
        """Whether an object of exactly this key is there."""
        return self.size(key) is not None

    def size(self, key: str) -> int | None:
        """Size of an object in bytes, or ``None`` if it is not there."""
        with self._explained(key):
            return self._backend.size(key)

    def sizes(self, keys: Iterable[str]) -> dict[str, int]:
        """Sizes in bytes of those objects that are there, one request each, some at a time."""
        wanted = list(keys)
        with ThreadPoolExecutor(SIZES_AT_ONCE) as threads:
            found = zip(wanted, threads.map(self.size, wanted), strict=True)
            return {key: n_bytes for key, n_bytes in found if n_bytes is not None}

    def _size_of(self, key: str) -> int:
        if (size := self.size(key)) is None:
            raise NotFoundError(f"{self.url}/{key} does not exist", "Check the address")
        return size

    def list(self, prefix: str = "") -> dict[str, int]:
        """Keys below a folder-like prefix, sorted, and their sizes in bytes, without litter (see
        `xpscale.storage.names`).

        On a disk links are followed.

        Raises
        ------
        InvalidInputError
            A web server cannot be listed; a folder may not be read, or a link leads to nothing.
        """
        objects, is_unfinished = self.objects(prefix), self._backend.is_unfinished
        start = len(f"{prefix.rstrip('/')}/") if prefix else 0
        return {
            key: size
            for key, (size, _) in objects.items()
            if not (is_unfinished(key) or is_litter(key[start:]))
        }

    def objects(self, prefix: str = "") -> dict[str, tuple[int, float]]:
        """As `list`, with the time of the last change in seconds since 1970, with litter, and
        `unfinished`.
        """
        if self._is_web:
            raise InvalidInputError(
                f"{self.url_of(prefix)} cannot be listed: it is on a web server".replace("/ ", " "),
                "Give the address of one file, or copy the folder to a local path or a bucket",
            )
        with self._explained(prefix):
            found = {key: (size, time_s) for key, size, time_s in self._backend.objects(prefix)}
        return dict(sorted(found.items()))

    def unfinished(self, prefix: str = "") -> dict[str, tuple[int, float]]:
        """As `objects`, of what killed processes left unfinished: on a local disk ``NAME#1`` for
        ``NAME``, which `list` does not show; a bucket keeps none.
        """
        if self.folder is None:
            return {}
        is_unfinished = self._backend.is_unfinished
        return {key: found for key, found in self.objects(prefix).items() if is_unfinished(key)}

    def is_empty(self) -> bool:
        """Whether nothing at all is stored here."""
        return not self.first_key()

    def first_key(self, begun: str = "") -> str:
        """The key of one object or link, without listing a whole bucket; empty if there is none:
        folders, also those that a bucket shows by markers, are nothing.

        Parameters
        ----------
        begun
            An object; what a killed process left unfinished of it is nothing, too.
        """
        with self._explained():
            return self._backend.first_key(begun)

    @property
    def parquet_options(self) -> Mapping[str, Any]:
        """Options of `pyarrow.parquet.ParquetFile` with which files here are read best."""
        return self._backend.parquet_options
