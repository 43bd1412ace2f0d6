"""What a place must be able to do for `xpscale.storage.Storage`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upath import UPath

from xpscale.errors import InvalidInputError
from xpscale.formatting import format_bytes

__all__ = ["Backend", "require_size"]


def require_size(key: str, n_bytes: int, at_most: int | None) -> None:
    """Refuse an object that is too large to be what it is called.

    Parameters
    ----------
    key
        The object.
    n_bytes, at_most
        What it has, and may have.

    Raises
    ------
    InvalidInputError
        It has more.
    """
    if at_most is not None and n_bytes > at_most:
        raise InvalidInputError(
            f"{key} has {format_bytes(n_bytes)}, of at most {format_bytes(at_most)}",
            "It is damaged, or no file of xpscale's",
        )


class Backend(ABC):
    """Objects of one place by key.  Methods raise what the libraries below raise."""

    parquet_options: Mapping[str, Any]
    """Of `pyarrow.parquet.ParquetFile`."""
    create_delays_s: tuple[float, ...]
    """Pauses before a `create` whose answer did not come is repeated."""
    folder: Path | None = None
    """On a local disk."""

    @property
    @abstractmethod
    def upath(self) -> UPath:
        """The place as hats and lsdb take it."""

    @abstractmethod
    def read(self, key: str, at_most: int | None = None) -> bytes:
        """A whole object.

        Parameters
        ----------
        key
            The object.
        at_most
            Refuse one of more bytes (`require_size`).
        """

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
        """Key, size in bytes and time of the last change of every object, finished or not, also
        behind links.
        """

    @abstractmethod
    def first_key(self, begun: str) -> str:
        """Key of one object or link; empty if there is none, however many folders there are.

        Parameters
        ----------
        begun
            An object; what a killed process left of it does not count.
        """

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
    def read_version(self, key: str) -> tuple[bytes, str]:
        """A whole object, and what tells it from a later one of its key; empty if nothing does."""

    @abstractmethod
    def replace(self, key: str, data: bytes, version: str) -> bool:
        """Write an object over what is there; whether that still was the version, where the place
        can compare.

        Parameters
        ----------
        key
            The object.
        data
            What it shall hold.
        version
            From `read_version`; empty for whatever is there.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object."""

    @abstractmethod
    def remove(self) -> None:
        """Remove everything that lies here, links but not what they lead to, and on a disk the
        folder, and the one above if nothing else is in it.
        """
