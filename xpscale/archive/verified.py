"""Which files of a local archive are known to be right: ``DIR/.fetched``, a line ``md5 n_bytes
mtime_ns name`` each.

``fetch`` and ``verify`` write it, so that a second fetch, and ingest, need not hash terabytes
again.  A file that was touched since does not fit its line and is hashed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from xpscale.storage import Storage

__all__ = ["FETCHED", "note_line", "note_verified", "verified_sums"]

FETCHED = ".fetched"


def verified_sums(storage: Storage) -> dict[str, str]:
    """MD5 sums by name (folder included) of the files that were verified and not touched since;
    none but in a local folder.
    """
    found: dict[str, str] = {}
    if storage.folder is None or not (storage.folder / FETCHED).is_file():
        return found
    for line in (storage.folder / FETCHED).read_text().splitlines():
        words = line.split(" ", 3)
        if len(words) == 4 and _stamp(storage.folder, words[3]) == " ".join(words[1:3]):
            found[words[3]] = words[0]
    return found


def note_line(folder: Path, name: str, md5: str) -> str:
    """The line that says that a file, as it lies there now, has this MD5 sum.

    Parameters
    ----------
    folder
        The archive.
    name
        The file's, folder included.
    md5
        Hex digest.
    """
    return f"{md5} {_stamp(folder, name)} {name}\n"


def note_verified(storage: Storage, files: Iterable[tuple[str, str]]) -> None:
    """Note files that are right, if this is a local folder that can be written.

    Parameters
    ----------
    storage
        The archive.
    files
        Names (folder included) and MD5 sums.
    """
    if storage.folder is None:
        return
    known, folder = verified_sums(storage), storage.folder
    lines = [note_line(folder, name, md5) for name, md5 in files if known.get(name) != md5]
    with contextlib.suppress(OSError), (folder / FETCHED).open("a") as notes:
        notes.writelines(lines)


def _stamp(folder: Path, name: str) -> str:
    try:
        stat = os.stat(folder / name)
    except OSError:
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns}"
