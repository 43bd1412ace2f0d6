"""What a fetch of archive files will do: listed, sized, compared with what is there and with the
disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from xpscale.archive.files import ArchiveFile, find_table, tables_of
from xpscale.archive.mirror import Mirror
from xpscale.archive.verified import verified_sums
from xpscale.errors import InvalidInputError, NotFoundError, PlanError
from xpscale.formatting import format_bytes
from xpscale.release import DR3, Release
from xpscale.storage import Storage

__all__ = ["FetchPlan", "plan_fetch"]


@dataclass(frozen=True)
class FetchPlan:
    """What a fetch will do.

    Parameters
    ----------
    url
        Of the archive.
    mirror
        The local folder.
    origins
        The place that holds each table's folder.
    files
        All files that were asked for, sorted by range, pairs side by side; sizes are 0 where the
        server says none.
    verified, found
        Names of the files that were verified before, and of others that are there with the right
        size.
    part_bytes
        Bytes of the others that an earlier fetch left in ``.part`` files.
    free_bytes
        Free on the disk.
    """

    url: str
    mirror: Mirror
    origins: Mapping[str, Storage]
    files: tuple[ArchiveFile, ...]
    verified: frozenset[str]
    found: frozenset[str]
    part_bytes: int
    free_bytes: int

    def origin(self, file: ArchiveFile) -> Storage:
        """The place that a file comes from."""
        return self.origins[file.name.split("/")[0]]

    @property
    def missing(self) -> tuple[ArchiveFile, ...]:
        """The files to get."""
        return tuple(file for file in self.files if file.name not in self.verified | self.found)

    @property
    def n_bytes(self) -> int:
        """Bytes of all files, as far as their sizes are known."""
        return sum(file.n_bytes for file in self.files)

    @property
    def needed_bytes(self) -> int:
        """What the disk must still take."""
        return sum(file.n_bytes for file in self.missing) - self.part_bytes

    def __str__(self) -> str:
        missing = self.missing
        n_bytes = sum(file.n_bytes for file in missing)
        n_unknown = sum(not file.n_bytes for file in missing)
        begun = f", {format_bytes(self.part_bytes)} of it here" if self.part_bytes else ""
        unknown = f", {n_unknown:,} of unknown size" if n_unknown else ""
        n_found = len(self.files) - len(missing)
        found = (
            f"; {n_found:,} are there ({format_bytes(self.n_bytes - n_bytes)})" if n_found else ""
        )
        return (
            f"fetch {len(missing):,} of {len(self.files):,} files, {format_bytes(n_bytes)}"
            f"{begun}{unknown},"
            f" from {self.url}{found}\n"
            f"  to {self.mirror.directory}: {format_bytes(self.free_bytes)} free"
        )


def plan_fetch(
    url: str,
    directory: str,
    *,
    release: Release = DR3,
    pixels: tuple[int, int] | None = None,
    tables: Iterable[str] = ("xp", "source"),
    n_connections: int = 4,
) -> FetchPlan:
    """List an archive, ask for sizes, and see what is there and whether the rest fits.

    Parameters
    ----------
    url
        Folder, ``s3://`` prefix or http(s) address holding the folders of spectra and sources;
        that of ESA's server if empty.  Over http ``_MD5SUM.txt`` says which files there are.
    directory
        A local folder.
    release
        What folders and files are called, and the address of ESA's server.
    pixels
        First and last level-8 pixel: only files whose range overlaps.
    tables
        ``"xp"``, ``"source"``, or both.
    n_connections
        Requests at a time.

    Raises
    ------
    NotFoundError
        No archive is there, or no file overlaps.
    PlanError
        The disk is too small.
    """
    storage, mirror = Storage(url or release.archive.url), Mirror(directory)
    origins, files = _list(storage, release, tables, pixels)
    done = verified_sums(Storage(mirror.directory))
    verified = frozenset(
        file.name for file in files if file.md5 and done.get(file.name) == file.md5
    )
    files = _with_sizes(files, origins, verified, mirror, n_connections)
    rest = [file for file in files if file.name not in verified]
    found = frozenset(file.name for file in rest if mirror.has_size(file))
    plan = FetchPlan(
        storage.url,
        mirror,
        origins,
        tuple(files),
        verified,
        found,
        sum(mirror.part_bytes(file) for file in rest if file.name not in found),
        mirror.free_bytes,
    )
    if plan.needed_bytes > plan.free_bytes:
        raise PlanError(
            f"{len(plan.missing):,} files of {plan.url} need {format_bytes(plan.needed_bytes)}, and"
            f" {mirror.directory} has {format_bytes(plan.free_bytes)} free",
            "Make room, choose another disk, or fetch fewer files with --files",
        )
    return plan


def _list(
    storage: Storage, release: Release, tables: Iterable[str], pixels: tuple[int, int] | None
) -> tuple[dict[str, Storage], list[ArchiveFile]]:
    known = tables_of(release)
    origins: dict[str, Storage] = {}
    files: list[ArchiveFile] = []
    for table in tables:
        if table not in known:
            raise InvalidInputError(
                f"there is no table {table!r}", f"Choose from {', '.join(known)}"
            )
        origin, listed = find_table(storage, table, release)
        origins[known[table].folder] = origin
        files += listed
    if pixels is not None:
        files = [
            file for file in files if file.first_pixel <= pixels[1] and file.last_pixel >= pixels[0]
        ]
        if not files:
            raise NotFoundError(
                f"no file of {storage.url} holds pixels {pixels[0]}-{pixels[1]}", "Check --files"
            )
    return origins, sorted(files, key=lambda file: (file.first_pixel, file.name))


def _with_sizes(
    files: list[ArchiveFile],
    origins: Mapping[str, Storage],
    verified: frozenset[str],
    mirror: Mirror,
    n_connections: int,
) -> list[ArchiveFile]:
    """The files with their sizes: the server is asked for those that a listing does not give, but
    not for those of verified files.
    """

    def sized(file: ArchiveFile) -> ArchiveFile:
        if file.n_bytes:
            return file
        if file.name in verified:
            return replace(file, n_bytes=mirror.size(file) or 0)
        try:
            return replace(file, n_bytes=origins[file.name.split("/")[0]].size(file.name) or 0)
        except InvalidInputError:  # the server does not answer such questions
            return file

    threads = ThreadPoolExecutor(n_connections)
    try:
        return list(threads.map(sized, files))
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
