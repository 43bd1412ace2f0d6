"""Objects at a URL, through one interface: a local folder, ``s3://bucket/prefix``, a web address.

Every object is written whole.  `Storage.create` is a conditional PUT (``If-None-Match: *``; on a
local disk a hard link of a finished temporary file), so of several writers exactly one wins and
nobody ever sees half an object.  `Storage.replace` overwrites, for what may be written twice with
the same meaning.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from xpscale.errors import InvalidInputError, NotFoundError, TryAgainError
from xpscale.storage.backend import Backend
from xpscale.storage.failures import explained
from xpscale.storage.local import LocalBackend
from xpscale.storage.ranges import RangeFile
from xpscale.storage.remote import RemoteBackend
from xpscale.storage.web import Stream, open_web

if TYPE_CHECKING:
    import duckdb
    import fsspec
    from upath import UPath

__all__ = ["BLOCK_BYTES", "Storage", "Stream"]

REMOTE = ("s3://", "https://", "http://")
BLOCK_BYTES = 1 << 24
"""Bytes of one range request where a remote object is read from start to end."""


@dataclass(frozen=True)
class Storage:
    """A prefix in an object store or a folder.  It holds only its URL until it is used, and travels
    to other processes as that.

    Parameters
    ----------
    url
        A local path, ``file://``, ``s3://bucket/prefix`` or ``https://host/prefix`` (read only).
    """

    url: str

    def __post_init__(self) -> None:
        url = os.fspath(self.url)
        if "://" not in url or url.startswith("file://"):
            url = str(Path(url.removeprefix("file://")).expanduser().absolute())
        elif not url.startswith(REMOTE):
            raise InvalidInputError(
                f"{url} has a scheme xpscale cannot open",
                "Use a local path, s3://, https:// or http://",
            )
        object.__setattr__(self, "url", url.rstrip("/") or "/")

    def __reduce__(self) -> tuple[type[Storage], tuple[str]]:
        return Storage, (self.url,)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, key: str) -> Storage:
        return Storage(f"{self.url}/{key.strip('/')}")

    @property
    def name(self) -> str:
        """The last word of the URL."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def folder(self) -> Path | None:
        """The folder on a local (or mounted) file system, ``None`` if the objects are elsewhere."""
        return self._backend.folder

    @property
    def can_list(self) -> bool:
        """Whether it can be asked which objects are there; a web server cannot."""
        return not self._backend.is_web

    @cached_property
    def _backend(self) -> Backend:
        return (RemoteBackend if self.url.startswith(REMOTE) else LocalBackend)(self.url)

    def _explained(self, key: str = "") -> contextlib.AbstractContextManager[None]:
        return explained(f"{self.url}/{key}".rstrip("/"))

    # -- reading

    def read(self, key: str) -> bytes:
        """The whole object."""
        with self._explained(key):
            return self._backend.read(key)

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
        if self._backend.is_web:
            with open_web(f"{self.url}/{key}", offset) as stream:
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

    def _size_of(self, key: str) -> int:
        with self._explained(key):
            if (size := self._backend.size(key)) is None:
                raise FileNotFoundError(key)
        return size

    def list(self, prefix: str = "") -> dict[str, int]:
        """Keys below a folder-like prefix, sorted, and their sizes in bytes."""
        objects, is_unfinished = self.objects(prefix), self._backend.is_unfinished
        return {key: size for key, (size, _) in objects.items() if not is_unfinished(key)}

    def objects(self, prefix: str = "") -> dict[str, tuple[int, float]]:
        """As `list`, with the time of the last change in seconds since 1970, and `unfinished`."""
        with self._explained(prefix):
            found = {key: (size, time_s) for key, size, time_s in self._backend.objects(prefix)}
        return dict(sorted(found.items()))

    def unfinished(self, prefix: str = "") -> dict[str, tuple[int, float]]:
        """As `objects`, of what killed processes left unfinished: on a local disk ``NAME#1`` beside
        ``NAME``, which `list` does not show; S3 keeps none.
        """
        if self.folder is None:
            return {}
        is_unfinished = self._backend.is_unfinished
        return {key: found for key, found in self.objects(prefix).items() if is_unfinished(key)}

    def is_empty(self) -> bool:
        """Whether nothing at all is stored here."""
        return not self.first_key()

    def first_key(self) -> str:
        """The key of one object, without listing a whole bucket; empty if there is none."""
        with self._explained():
            return next(self._backend.keys(), "")

    # -- writing

    def create(self, key: str, data: bytes | memoryview) -> bool:
        """Write an object if there is none of that key yet.

        Parameters
        ----------
        key, data
            The object, and what it shall hold.

        Returns
        -------
        bool
            Whether the object holds exactly ``data`` now, because this call or another one wrote
            that; False if a different object was there first.
        """
        # obstore does not repeat a conditional PUT that timed out.  It is safe here, because the
        # object that is there then is read and compared.
        for delay_s in self._backend.create_delays_s:
            try:
                return self._create(key, bytes(data))
            except TryAgainError:
                time.sleep(delay_s)
        return self._create(key, bytes(data))

    def _create(self, key: str, data: bytes) -> bool:
        with self._explained(key):
            if self._backend.create(key, data):
                return True
        try:
            return self.read(key) == data
        except NotFoundError as error:  # S3 refuses while another's PUT of the key is under way
            raise TryAgainError(f"{self.url}/{key} is being written by somebody else") from error

    def replace(self, key: str, data: bytes | memoryview) -> None:
        """Write an object, whole, over whatever was there.

        Parameters
        ----------
        key, data
            The object, and what it shall hold.
        """
        with self._explained(key):
            self._backend.replace(key, bytes(data))

    def delete(self, *keys: str) -> None:
        """Remove objects; one that is not there is no error."""
        for key in keys:
            with contextlib.suppress(NotFoundError), self._explained(key):
                self._backend.delete(key)

    def remove(self) -> None:
        """Remove everything, and on a disk the folder, and the one above if it is empty then."""
        self.delete(*self.list())
        self._backend.remove_folders()

    # -- for other libraries

    @property
    def filesystem(self) -> fsspec.AbstractFileSystem:
        """The fsspec file system of this URL; `path` is the path on it."""
        import fsspec

        return fsspec.filesystem(self._backend.protocol, **self._backend.fsspec_options)

    @property
    def path(self) -> str:
        """This prefix as a path on `filesystem`."""
        return self.url.removeprefix("s3://")

    @property
    def upath(self) -> UPath:
        """This prefix as a `upath.UPath`, as hats and lsdb take it."""
        from upath import UPath

        path: UPath = UPath(self.url, **self._backend.fsspec_options)
        return path

    @property
    def parquet_options(self) -> Mapping[str, Any]:
        """Options of `pyarrow.parquet.ParquetFile` with which files here are read best."""
        return self._backend.parquet_options

    def open_to(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let a DuckDB connection read objects by their URL; it reads local files by itself."""
        if self.folder is None:
            connection.register_filesystem(self.filesystem)
