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

__all__ = ["FETCHED", "note_line", "note_verified", "verified_sums"]

FETCHED = ".fetched"


def verified_sums(directory: str) -> dict[str, str]:
    """MD5 sums by name (folder included) of the files that were verified and not touched since."""
    path, found = Path(directory, FETCHED), {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        words = line.split(" ", 3)
        if len(words) == 4 and _stamp(directory, words[3]) == " ".join(words[1:3]):
            found[words[3]] = words[0]
    return found


def note_line(directory: str, name: str, md5: str) -> str:
    """The line that says that a file, as it lies there now, has this MD5 sum."""
    return f"{md5} {_stamp(directory, name)} {name}\n"


def note_verified(directory: str, files: Iterable[tuple[str, str]]) -> None:
    """Note names and MD5 sums of files that are right; a folder that cannot be written is left as
    it is.
    """
    known = verified_sums(directory)
    lines = [note_line(directory, name, md5) for name, md5 in files if known.get(name) != md5]
    with contextlib.suppress(OSError), Path(directory, FETCHED).open("a") as notes:
        notes.writelines(lines)


def _stamp(directory: str, name: str) -> str:
    try:
        stat = os.stat(Path(directory, name))
    except OSError:
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns}"
