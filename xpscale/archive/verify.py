"""Is this folder a sound archive?  Every file's MD5 sum, names, pairs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise

from xpscale.archive.fetch import Progress
from xpscale.archive.files import SUMS, TableFiles, md5_sums, tables_of
from xpscale.archive.verified import note_verified
from xpscale.errors import InvalidInputError, NotFoundError, XpscaleError
from xpscale.release import DR3, Release
from xpscale.sky import ARCHIVE_ORDER
from xpscale.storage import Storage

__all__ = ["ArchiveCheck", "verify_archive"]

N_PIXELS = 12 * 4**ARCHIVE_ORDER


@dataclass(frozen=True, slots=True)
class ArchiveCheck:
    """What was found.  ``problems`` names every file that is not as it should be."""

    url: str
    n_files: int
    n_pairs: int
    n_bytes: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> str:
        """All of it as one JSON object."""
        return json.dumps({**asdict(self), "ok": self.ok}, indent=1)


def verify_archive(
    url: str,
    *,
    release: Release = DR3,
    n_threads: int = 4,
    progress: Callable[[Progress], object] | None = None,
) -> ArchiveCheck:
    """Read a whole archive and verify it.

    Every file that ``_MD5SUM.txt`` lists must be there and have that sum, and every file must be
    listed; names must be the archive's, in the right folder, with ranges of pixels that do not
    overlap; spectra and sources must come in pairs. In a local folder that can be written, the
    files that are right are noted, and neither fetch nor ingest hashes them again.

    Parameters
    ----------
    url
        Local folder or ``s3://`` prefix.
    release
        What folders and files are called.
    n_threads
        Files read at a time.
    progress
        Called after every block of a file.

    Raises
    ------
    NotFoundError
        No archive file is there.
    InvalidInputError
        The address is one of a web server, which cannot be listed.
    """
    storage = Storage(url)
    if not storage.can_list:
        raise InvalidInputError(f"{url} cannot be listed", "Fetch it; that verifies every file")
    tables = tables_of(release).values()
    found = {table.folder: _names(storage, table.folder) for table in tables}
    sums = {folder: md5_sums(storage, folder) for folder in found}
    files = {
        f"{table.folder}/{name}": n_bytes
        for table in tables
        for name, n_bytes in found[table.folder].items()
        if _range(table, name) is not None
    }
    if not files and not any(sums.values()):
        raise NotFoundError(
            f"{storage.url} holds no archive file of {release}",
            f"Give the folder that contains {release.archive.spectra_folder}/",
        )
    problems = [
        problem
        for table, other in _with_others(tables)
        for problem in _name_problems(table, other, found[table.folder], sums[table.folder])
    ]
    n_pairs, unpaired = _pairs(tables, files)
    problems += unpaired + _wrong_sums(storage, files, sums, n_threads, progress)
    return ArchiveCheck(storage.url, len(files), n_pairs, sum(files.values()), tuple(problems))


def _with_others(tables: Iterable[TableFiles]) -> list[tuple[TableFiles, TableFiles]]:
    """Each of the two tables, with the other one."""
    spectra, sources = tables
    return [(spectra, sources), (sources, spectra)]


def _names(storage: Storage, folder: str) -> dict[str, int]:
    return {
        key.removeprefix(f"{folder}/"): n_bytes for key, n_bytes in storage.list(folder).items()
    }


def _range(table: TableFiles, name: str) -> tuple[int, int] | None:
    """The range of pixels in a name that is right for its folder."""
    first, last = table.pixels(name) or (1, 0)
    return (first, last) if first <= last < N_PIXELS else None


def _name_problems(
    table: TableFiles, other: TableFiles, names: dict[str, int], sums: dict[str, str]
) -> Iterator[str]:
    folder = table.folder
    if not names:
        yield f"{folder}/ is missing"
        return
    if not sums:
        yield f"{folder}/{SUMS} is missing or empty: nothing in there can be verified"
    for name in names:
        if other.pixels(name):
            yield f"{folder}/{name} is in the wrong folder"
        elif table.pixels(name) and not _range(table, name):
            yield f"{folder}/{name} has no range of pixels within 0-{N_PIXELS - 1} in its name"
        elif table.pixels(name.removesuffix(".part")) and name.endswith(".part"):
            yield f"{folder}/{name} is an unfinished download"
        elif not table.pixels(name) and name != SUMS:
            yield f"{folder}/{name} is not named as an archive file"
    ranges = sorted((pixels, name) for name in names if (pixels := _range(table, name)))
    for (one, name), (following, next_name) in pairwise(ranges):
        if following[0] <= one[1]:
            yield (
                f"{folder}/{name} and {next_name} overlap in pixels"
                f" {following[0]}-{min(one[1], following[1])}"
            )
    for name in sums:
        if name not in names and (table.pixels(name) or other.pixels(name)):
            yield f"{folder}/{name} is missing: {SUMS} lists it"


def _pairs(tables: Iterable[TableFiles], files: dict[str, int]) -> tuple[int, list[str]]:
    """The number of complete pairs, and what the others lack."""
    ranges = {
        table.folder: {_range(table, key.removeprefix(f"{table.folder}/")) for key in files}
        - {None}
        for table in tables
    }
    problems = []
    for table, other in _with_others(tables):
        alone = sorted(filter(None, ranges[table.folder] - ranges[other.folder]))
        if ranges[other.folder]:  # a folder without any file was named before
            problems += [
                f"{table.key(*pixels)} has no partner in {other.folder}/" for pixels in alone
            ]
    return len(set.intersection(*ranges.values())), problems


def _wrong_sums(
    storage: Storage,
    files: dict[str, int],
    sums: dict[str, dict[str, str]],
    n_threads: int,
    progress: Callable[[Progress], object] | None,
) -> list[str]:
    """What is wrong with the files' bytes, by reading all of them."""
    lock, stop, right = threading.Lock(), threading.Event(), list[tuple[str, str]]()
    n_bytes, n_files_done, n_bytes_done = sum(files.values()), 0, 0

    def count(n_more_files: int, n_more_bytes: int) -> None:
        nonlocal n_files_done, n_bytes_done
        with lock:
            n_files_done, n_bytes_done = n_files_done + n_more_files, n_bytes_done + n_more_bytes
            if progress is not None:
                progress(Progress(len(files), n_files_done, n_bytes, n_bytes_done))

    def problem(key: str) -> str:
        folder, name = key.split("/")
        try:
            md5 = _md5(storage, key, lambda n_more: count(0, n_more), stop)
        except XpscaleError as error:
            return f"{key} cannot be read: {error.message}"
        finally:
            count(1, 0)
        listed = sums[folder].get(name, "")
        if not listed:
            return f"{key} is not in {SUMS}" if sums[folder] else ""
        if md5 != listed:
            return f"{key} ({files[key]:,} bytes) has MD5 {md5}, {SUMS} says {listed}"
        right.append((key, listed))
        return ""

    threads = ThreadPoolExecutor(n_threads)
    try:
        return [found for found in threads.map(problem, files) if found]
    finally:  # an interruption ends the threads at their next block
        stop.set()
        threads.shutdown(cancel_futures=True)
        note_verified(storage, right)


def _md5(storage: Storage, key: str, count: Callable[[int], None], stop: threading.Event) -> str:
    """MD5 sum of a file, or of its beginning if it is to stop; ``count`` gets the bytes read."""
    digest = hashlib.md5(usedforsecurity=False)
    with storage.stream(key) as stream:
        for block in stream.blocks:
            digest.update(block)
            count(len(block))
            if stop.is_set():
                break
    return str(digest.hexdigest())
