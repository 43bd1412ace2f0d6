"""The local side of a fetch: a folder laid out as the archive, and which of its files are right."""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from xpscale.archive.files import ArchiveFile, md5_sums
from xpscale.archive.transfer import md5_of, writing
from xpscale.archive.verified import FETCHED, note_line
from xpscale.errors import InvalidInputError, TryAgainError
from xpscale.storage import Storage

__all__ = ["Mirror"]


@dataclass(frozen=True)
class Mirror:
    """A local folder that takes archive files.

    Parameters
    ----------
    directory
        A path; it need not exist yet.
    """

    directory: str
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        folder = Storage(self.directory).folder
        if folder is None:
            raise InvalidInputError(
                f"{self.directory} is not a local folder", "Fetch into a local folder"
            )
        if folder.exists() and not folder.is_dir():
            raise InvalidInputError(f"{self.directory} is a file", "Give a folder")
        object.__setattr__(self, "directory", str(folder))

    @property
    def free_bytes(self) -> int:
        """Bytes free on the disk it is or will be on."""
        path = Path(self.directory)
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free

    def path(self, file: ArchiveFile) -> Path:
        """Where a file belongs."""
        return Path(self.directory, file.name)

    def part_bytes(self, file: ArchiveFile) -> int:
        """Bytes that an earlier fetch left of an unfinished file; 0 if they are too many."""
        part = self.path(file).with_name(f"{self.path(file).name}.part")
        n_bytes = part.stat().st_size if part.is_file() else 0
        return n_bytes if n_bytes <= file.n_bytes else 0

    def size(self, file: ArchiveFile) -> int | None:
        """Bytes of a file that is there, ``None`` if it is not."""
        path = self.path(file)
        return path.stat().st_size if path.is_file() else None

    def has_size(self, file: ArchiveFile) -> bool:
        """Whether a file is there with the size it should have, as far as that is known."""
        n_bytes = self.size(file)
        return n_bytes is not None and file.n_bytes in (0, n_bytes)

    def is_right(self, file: ArchiveFile) -> bool:
        """Whether a file is there whole, by reading it; by its size alone where the archive has no
        MD5 sum.
        """
        if not self.has_size(file):
            return False
        if not file.md5:
            return True
        if md5_of(self.path(file))[0].hexdigest() != file.md5:
            return False
        self.note(file)
        return True

    def note(self, file: ArchiveFile) -> None:
        """Remember that a file was verified."""
        path = Path(self.directory, FETCHED)
        with self._lock, writing(path), path.open("a") as notes:
            notes.write(note_line(Path(self.directory), file.name, file.md5))

    def write_sums(self, files: Iterable[ArchiveFile]) -> None:
        """Add the files' MD5 sums to each folder's ``_MD5SUM.txt``, which lists what belongs here,
        fetched or not yet.
        """
        sums: dict[str, dict[str, str]] = {}
        for file in files:
            folder, name = file.name.split("/")
            with writing(self.path(file)):
                self.path(file).parent.mkdir(exist_ok=True)
            if file.md5:
                sums.setdefault(folder, {})[name] = file.md5
        storage = Storage(self.directory)
        for folder, new in sums.items():
            old = md5_sums(storage, folder)
            lines = [f"{md5}  {name}\n" for name, md5 in sorted({**old, **new}.items())]
            if old | new != old:
                storage.replace(f"{folder}/_MD5SUM.txt", "".join(lines).encode(), _is_list)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from fetching into the same folder."""
        path = Path(self.directory, FETCHED)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("a")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TryAgainError(
                    f"another process is fetching into {self.directory}",
                    "Wait for it, or end it and try again",
                ) from None
            except OSError:
                pass  # a file system without locks
            yield


def _is_list(data: bytes) -> bool:
    """Whether a ``_MD5SUM.txt`` holds nothing but sums and names."""
    return re.fullmatch(rb"(\s*[0-9a-fA-F]{32}\s+\S+\s*\n?)*", data) is not None
