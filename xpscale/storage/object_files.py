"""The objects of a place as a file system of fsspec, so that DuckDB reads what `Storage` reads."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from fsspec import AbstractFileSystem

from xpscale.errors import NotFoundError, XpscaleError
from xpscale.storage.ranges import RangeFile

if TYPE_CHECKING:
    import duckdb

    from xpscale.storage import Storage

__all__ = ["duckdb_name", "open_to"]

BLOCK_BYTES = 1 << 18
SCHEME = "xpscale"


def open_to(storage: Storage, connection: duckdb.DuckDBPyConnection) -> list[XpscaleError]:
    """Let a DuckDB connection read the objects of a place by their `duckdb_name`.

    Returns
    -------
    list of XpscaleError
        Errors of reading, as they come; DuckDB's own words for them are a traceback.

    Parameters
    ----------
    storage
        The place.
    connection
        Where to read them.
    """
    files = ObjectFiles(storage)
    if not _is_plain_path(storage):
        connection.register_filesystem(files)
    return files.failures


def duckdb_name(storage: Storage, key: str) -> str:
    """What DuckDB calls an object: its path, or a name in which no character is a pattern.

    Parameters
    ----------
    storage, key
        The place, and the object.
    """
    address = f"{storage.url}/{key}"
    return address if _is_plain_path(storage) else f"{SCHEME}://{address}"


def _is_plain_path(storage: Storage) -> bool:
    """Whether DuckDB reads it as quickly without us."""
    return storage.folder is not None and not set("*?[") & set(storage.url)


class ObjectFiles(AbstractFileSystem):  # type: ignore[misc]
    """Objects by their `duckdb_name`, read only; every name is one object, no pattern.

    Parameters
    ----------
    storage
        The place.
    """

    protocol = SCHEME
    cachable = False

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self._storage = storage
        self.failures: list[XpscaleError] = []

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except XpscaleError as error:
            self.failures.append(error)
            raise

    def _key(self, path: str) -> str:
        return path.removeprefix(f"{self.protocol}://").removeprefix(f"{self._storage.url}/")

    def glob(self, path: str, **_: Any) -> list[str]:
        """The object of that name.

        Parameters
        ----------
        path
            A `duckdb_name`.
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
            if (size := self._storage.size(key)) is None:
                raise NotFoundError(f"{self._storage.url_of(key)} does not exist")
        return {"name": path, "size": size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """The same time for all: parts are written once."""
        return datetime.fromtimestamp(0, UTC)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        if mode != "rb":
            raise PermissionError(path)
        # no open file: DuckDB leaves closing to the garbage collector
        key, storage = self._key(path), self._storage

        def read(start: int, n_bytes: int) -> bytes:
            with self._noted():
                return storage.read_range(key, start, n_bytes)

        return io.BufferedReader(RangeFile(read, self.info(path)["size"]), BLOCK_BYTES)
