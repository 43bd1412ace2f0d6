"""A folder on a local or mounted file system."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from xpscale.errors import InvalidInputError, TryAgainError
from xpscale.storage.backend import Backend, require_size
from xpscale.storage.names import is_litter

if TYPE_CHECKING:
    from obstore.store import LocalStore
    from upath import UPath

__all__ = ["LocalBackend", "give_name"]

NO_HARD_LINKS = {
    errno.EPERM,
    errno.EACCES,
    errno.EXDEV,
    errno.EMLINK,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
}
"""What file systems answer to `os.link` that have no hard links, or forbid them."""


class LocalBackend(Backend):
    """Objects are files.

    A file is written as ``NAME#1`` and linked to its name when it is whole; what a killed process
    leaves of it keeps that name.

    Parameters
    ----------
    url
        Path of the folder; it is made at the first write.
    """

    # streamed: a row group may have a million rows
    parquet_options = MappingProxyType({"buffer_size": 1 << 20})
    create_delays_s = ()
    folder: Path

    def __init__(self, url: str) -> None:
        self.folder = Path(url)

    @property
    def upath(self) -> UPath:
        """The place as hats and lsdb take it."""
        from upath import UPath

        return UPath(str(self.folder))

    def read(self, key: str, at_most: int | None = None) -> bytes:
        """A whole object."""
        path = self.folder / key
        require_size(str(path), path.stat().st_size, at_most)
        return path.read_bytes()

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
        for entry in _files(self.folder / prefix):
            try:
                found = entry.stat()
            except OSError as error:
                if entry.is_symlink() and not is_litter(entry.name):
                    raise InvalidInputError(
                        f"{entry.path} is a link to nothing", "Repair or remove the link"
                    ) from error
                continue  # a temporary file that became an object
            if stat.S_ISREG(found.st_mode):
                key = Path(entry.path).relative_to(self.folder).as_posix()
                yield key, found.st_size, found.st_mtime

    def first_key(self, begun: str) -> str:
        """Key of one object or link."""
        _require_folder(self.folder)
        for entry in _files(self.folder, follow=False):
            key = Path(entry.path).relative_to(self.folder).as_posix()
            if not (begun and self.is_unfinished(key) and key.rpartition("#")[0] == begun):
                return key
        return ""

    def is_unfinished(self, key: str) -> bool:
        """Whether a killed process left it."""
        _, mark, number = key.rpartition("/")[2].rpartition("#")
        return bool(mark) and number.isdigit()

    def create(self, key: str, data: bytes) -> bool:
        """Write it if there is none."""
        path = self.folder / key
        _require_folder(path.parent)
        if os.path.lexists(path) and not path.exists():
            raise InvalidInputError(f"{path} is a link to nothing", "Repair or remove the link")
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

    def read_version(self, key: str) -> tuple[bytes, str]:
        """A whole object; a disk has no versions."""
        return self.read(key), ""

    def replace(self, key: str, data: bytes, version: str) -> bool:
        """Write it over what is there."""
        import obstore

        obstore.put(self._store, key, data, use_multipart=False)
        return True

    def delete(self, key: str) -> None:
        """Remove it."""
        (self.folder / key).unlink()

    def remove(self) -> None:
        """Remove the folder, and the one above if nothing else is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # something else is in it
            self.folder.parent.rmdir()

    @cached_property
    def _store(self) -> LocalStore:
        from obstore.store import LocalStore

        return LocalStore(self.folder, mkdir=True, automatic_cleanup=False)


def give_name(temporary: Path, path: Path) -> bool:
    """Give a finished file its name.  Unlike a rename this refuses what appeared there in the
    meantime; where there are no hard links, the name is reserved by an empty file first.

    Parameters
    ----------
    temporary
        The finished file, in the folder of ``path``; it may or may not be there afterwards.
    path
        Its name.

    Returns
    -------
    bool
        False if the name is taken.
    """
    try:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
            temporary.replace(path)
    except FileExistsError:
        return False
    return True


def _require_folder(folder: Path) -> None:
    """Refuse a place that can never be a folder: it, or what is above it, is something else."""
    above = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    if os.path.lexists(above) and not above.is_dir():
        kind = "a link to nothing" if above.is_symlink() else "no folder"
        raise InvalidInputError(f"{above} is {kind}", "Choose another place")


def _files(
    folder: str | Path, *, follow: bool = True, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[os.DirEntry[str]]:
    """What is no folder below a folder; of links to folders what is behind them, or the links.

    A link to a folder above is passed over: what it shows is listed already.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        status = os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError:
        if above and is_litter(os.path.basename(folder)):
            return
        raise
    here = status.st_dev, status.st_ino
    for entry in entries if here not in above else ():
        if entry.is_dir(follow_symlinks=False) or (follow and os.path.isdir(entry.path)):
            yield from _files(entry.path, follow=follow, above=(*above, here))
        else:
            _require_utf_8(entry)
            yield entry


def _require_utf_8(entry: os.DirEntry[str]) -> None:
    try:
        entry.name.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(entry.path).decode(errors="backslashreplace")
        raise InvalidInputError(f"the name of {shown} is not in UTF-8", "Rename it") from error
