"""What a place must be able to do for `xpscale.storage.Storage`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Backend"]


class Backend(ABC):
    """Objects of one place by key.  Methods raise what the libraries below raise."""

    protocol: str
    """Of the URL, as fsspec has it."""
    parquet_options: Mapping[str, Any]
    """Of `pyarrow.parquet.ParquetFile`."""
    create_delays_s: tuple[float, ...]
    """Pauses before a `create` whose answer did not come is repeated."""
    folder: Path | None = None
    """On a local disk."""
    is_web: bool = False
    """Whether it is read only, and cannot be listed."""

    @property
    def fsspec_options(self) -> dict[str, Any]:
        """Of its fsspec file system."""
        return {}

    @abstractmethod
    def read(self, key: str) -> bytes:
        """A whole object."""

    @abstractmethod
    def read_range(self, key: str, start: int, n_bytes: int) -> bytes:
        """Part of an object.

        Parameters
        ----------
        key
            The object.
        start, n_bytes
            Offset and number of bytes.
        """

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Size in bytes, ``None`` if there is no such object."""

    @abstractmethod
    def objects(self, prefix: str) -> Iterator[tuple[str, int, float]]:
        """Key, size in bytes and time of the last change of every object, finished or not."""

    @abstractmethod
    def keys(self) -> Iterator[str]:
        """Keys of all finished objects."""

    def is_unfinished(self, key: str) -> bool:
        """Whether an object is what a killed process left of one."""
        return False

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Write an object if there is none of its key; whether there was none.

        Parameters
        ----------
        key
            The object.
        data
            What it shall hold.
        """

    @abstractmethod
    def replace(self, key: str, data: bytes) -> None:
        """Write an object over whatever was there.

        Parameters
        ----------
        key
            The object.
        data
            What it shall hold.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object."""

    @abstractmethod
    def remove_folders(self) -> None:
        """Remove the folders of objects that were removed, where there are any."""
