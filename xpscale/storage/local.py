"""A folder on a local or mounted file system."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from xpscale.errors import TryAgainError
from xpscale.storage.backend import Backend
from xpscale.storage.finish import give_name

if TYPE_CHECKING:
    from obstore.store import LocalStore

__all__ = ["LocalBackend"]


class LocalBackend(Backend):
    """Objects are files.

    A file is written beside its place as ``NAME#1`` and linked to its name when it is whole; what a
    killed process leaves of it keeps that name.

    Parameters
    ----------
    url
        Path of the folder; it is made at the first write.
    """

    protocol = "file"
    # streamed: a row group may have a million rows
    parquet_options = MappingProxyType({"buffer_size": 1 << 20})
    create_delays_s = ()
    folder: Path

    def __init__(self, url: str) -> None:
        self.folder = Path(url)

    def read(self, key: str) -> bytes:
        """A whole object."""
        return (self.folder / key).read_bytes()

    def read_range(self, key: str, start: int, n_bytes: int) -> bytes:
        """Part of an object."""
        with (self.folder / key).open("rb") as file:
            file.seek(start)
            return file.read(n_bytes)

    def size(self, key: str) -> int | None:
        """Its size in bytes, ``None`` if it does not exist."""
        path = self.folder / key
        return path.stat().st_size if path.is_file() else None

    def objects(self, prefix: str) -> Iterator[tuple[str, int, float]]:
        """Key, size and time of every object."""
        for path in self._files(prefix):
            with contextlib.suppress(FileNotFoundError):  # a temporary file that became an object
                stat = path.stat()
                yield path.relative_to(self.folder).as_posix(), stat.st_size, stat.st_mtime

    def keys(self) -> Iterator[str]:
        """Keys of finished objects."""
        keys = (path.relative_to(self.folder).as_posix() for path in self._files(""))
        return (key for key in keys if not self.is_unfinished(key))

    def is_unfinished(self, key: str) -> bool:
        """Whether a killed process left it."""
        _, mark, number = key.rpartition("/")[2].rpartition("#")
        return bool(mark) and number.isdigit()

    def create(self, key: str, data: bytes) -> bool:
        """Write it if there is none."""
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}#{secrets.randbelow(10**9)}")
        try:
            temporary.write_bytes(data)
            return give_name(temporary, path)
        except FileNotFoundError as error:
            raise TryAgainError(
                f"{self.folder}/{key}: its temporary file was removed before it was linked"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def replace(self, key: str, data: bytes) -> None:
        """Write it over whatever was there."""
        import obstore

        obstore.put(self._store, key, data, use_multipart=False)

    def delete(self, key: str) -> None:
        """Remove it."""
        (self.folder / key).unlink()

    def remove_folders(self) -> None:
        """Remove the folder, and the one above if nothing else is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # something else is in it
            self.folder.parent.rmdir()

    @cached_property
    def _store(self) -> LocalStore:
        from obstore.store import LocalStore

        return LocalStore(self.folder, mkdir=True, automatic_cleanup=False)

    def _files(self, prefix: str) -> Iterator[Path]:
        for parent, _, names in os.walk(self.folder / prefix):
            for name in sorted(names):
                yield Path(parent, name)
