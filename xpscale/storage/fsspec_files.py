"""The objects of a place as a file system of fsspec, read only."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO, Protocol, cast

from fsspec import AbstractFileSystem

from xpscale.errors import NotFoundError, XpscaleError
from xpscale.storage.ranges import RangeFile

__all__ = ["SCHEME", "ObjectFiles", "Objects"]

SCHEME = "xpscale"


class Objects(Protocol):
    """Objects of one place, by key."""

    def size(self, key: str) -> int | None:
        """Size of an object in bytes, ``None`` if it is not there."""

    def read_range(self, key: str, start: int, n_bytes: int) -> bytes:
        """Part of an object.

        Parameters
        ----------
        key, start, n_bytes
            The object, an offset, and a number of bytes.
        """


class ObjectFiles(AbstractFileSystem):  # type: ignore[misc]
    """Objects by their names in DuckDB; every name is one object, no pattern.

    Parameters
    ----------
    url
        The place.
    objects
        What reads them.
    """

    protocol = SCHEME
    cachable = False

    def __init__(self, url: str, objects: Objects) -> None:
        super().__init__()
        self._url, self._objects = url, objects
        self.failures: list[XpscaleError] = []

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except XpscaleError as error:
            self.failures.append(error)
            raise

    def _key(self, path: str) -> str:
        return path.removeprefix(f"{self.protocol}://").removeprefix(f"{self._url}/")

    def glob(self, path: str, **_: Any) -> list[str]:
        """The object of that name.

        Parameters
        ----------
        path
            Such a name.
        _
            Nothing.
        """
        return [path]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name and size of an object.

        Parameters
        ----------
        path, _
            As of `glob`.
        """
        key = self._key(path)
        with self._noted():
            if (size := self._objects.size(key)) is None:
                raise NotFoundError(f"{self._url}/{key} does not exist")
        return {"name": path, "size": size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """The same time for all: parts are written once."""
        return datetime.fromtimestamp(0, UTC)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        if mode != "rb":
            raise PermissionError(path)
        key, objects = self._key(path), self._objects

        def read(start: int, n_bytes: int) -> bytes:
            with self._noted():
                return objects.read_range(key, start, n_bytes)

        return cast(BinaryIO, _SharedFile(read, self.info(path)["size"]))


class _SharedFile(RangeFile):
    """A file that several threads read at once, each at an offset of its own.

    DuckDB's threads share a file, and seek and read in two calls.
    """

    def __init__(self, read_range: Callable[[int, int], bytes], n_bytes: int) -> None:
        self._local = threading.local()
        super().__init__(read_range, n_bytes)

    @property
    def _offset(self) -> int:
        return getattr(self._local, "offset", 0)

    @_offset.setter
    def _offset(self, offset: int) -> None:
        self._local.offset = offset
