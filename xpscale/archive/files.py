"""Which files make up an archive: names, level-8 HEALPix ranges, sizes, MD5 sums, pairs.

An archive is a folder or URL that holds a folder of spectra and one of sources, as the Gaia archive
serves them; the release says what they are called.  File names carry the inclusive range of level-8
pixels of ``source_id >> 43`` inside; a spectrum file and the source file of the same range belong
together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from xpscale.archive.verified import verified_sums
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.release import DR3, Release
from xpscale.storage import Storage

__all__ = [
    "Archive",
    "ArchiveFile",
    "FilePair",
    "TableFiles",
    "find_table",
    "md5_sums",
    "open_archive",
    "tables_of",
]

SUMS = "_MD5SUM.txt"
RANGE = re.compile(r"_(\d{6})-(\d{6})\.csv\.gz")


@dataclass(frozen=True, slots=True)
class TableFiles:
    """What the files of one table are called.

    Parameters
    ----------
    folder
        Their folder.
    prefix
        How their names begin: ``GaiaSource`` of ``GaiaSource_000000-003111.csv.gz``.
    parent
        The folder that holds theirs on ESA's own server; empty if none does.
    """

    folder: str
    prefix: str
    parent: str = ""

    def pixels(self, name: str) -> tuple[int, int] | None:
        """The range of level-8 pixels in a file's name; ``None`` if it is of another table."""
        if not name.startswith(self.prefix):
            return None
        match = RANGE.fullmatch(name.removeprefix(self.prefix))
        return (int(match[1]), int(match[2])) if match else None

    def key(self, first_pixel: int, last_pixel: int) -> str:
        """``FOLDER/PREFIX_000000-003111.csv.gz``.

        Parameters
        ----------
        first_pixel, last_pixel
            Inclusive range of level-8 pixels.
        """
        return f"{self.folder}/{self.prefix}_{first_pixel:06d}-{last_pixel:06d}.csv.gz"


def tables_of(release: Release) -> dict[str, TableFiles]:
    """The two tables of a release that spectra need, as ``xp`` and ``source``."""
    layout = release.archive
    return {
        "xp": TableFiles(layout.spectra_folder, layout.spectra_file, layout.spectra_parent),
        "source": TableFiles(layout.sources_folder, layout.sources_file),
    }


@dataclass(frozen=True, order=True, slots=True)
class ArchiveFile:
    """One file of the bulk archive.

    Parameters
    ----------
    name
        Key relative to the archive, folder included.
    first_pixel, last_pixel
        Inclusive range of level-8 pixels of its sources' identifiers.
    n_bytes
        Compressed size; 0 if the archive does not say.
    md5
        Hex digest from ``_MD5SUM.txt``; empty if it is not listed there.
    trailer
        Of a file without MD5 sum its last 8 bytes in hex: CRC-32 and length of its text.
    is_verified
        Whether the local file has been found to have its MD5 sum, and was not touched since.
    """

    name: str
    first_pixel: int
    last_pixel: int
    n_bytes: int
    md5: str
    trailer: str = ""
    is_verified: bool = field(default=False, compare=False)

    @property
    def pixels(self) -> tuple[int, int]:
        """First and last level-8 pixel."""
        return self.first_pixel, self.last_pixel

    @property
    def fingerprint(self) -> str:
        """Name, size and MD5 sum (or CRC-32): equal for equal files."""
        return f"{self.name} {self.n_bytes} {self.md5 or self.trailer}"


@dataclass(frozen=True, order=True, slots=True)
class FilePair:
    """A spectrum file and the source file of the same range: the unit of ingest."""

    spectra: ArchiveFile
    sources: ArchiveFile

    @property
    def name(self) -> str:
        """The spectrum file's."""
        return self.spectra.name

    @property
    def key(self) -> str:
        """``000000-003111.1f2e3d4c``: the range in the files' names, and a hash of their sizes and
        MD5 sums, so that nothing done with a file is taken for another that replaced it.
        """
        content = "\n".join(file.fingerprint for file in (self.spectra, self.sources))
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        return f"{self.spectra.first_pixel:06d}-{self.spectra.last_pixel:06d}.{digest}"


@dataclass(frozen=True, slots=True)
class Archive:
    """The files of an archive, paired and sorted by range."""

    storage: Storage
    pairs: tuple[FilePair, ...]

    @property
    def n_bytes(self) -> int:
        """Compressed bytes of all spectrum and source files."""
        return sum(pair.spectra.n_bytes + pair.sources.n_bytes for pair in self.pairs)

    @property
    def digest(self) -> str:
        """Content hash from names, sizes and MD5 sums (or CRC-32): two archives with equal digests
        hold equal files.
        """
        lines = [file.fingerprint for pair in self.pairs for file in (pair.spectra, pair.sources)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def open_archive(
    url: str, *, release: Release = DR3, allow_unpaired: bool = False, alone: bool = False
) -> Archive:
    """List an archive and pair its files.

    Parameters
    ----------
    url
        Folder or URL holding the folders.  Over http, where nothing can be listed, the
        ``_MD5SUM.txt`` of each folder says which files there are.
    release
        What folders and files are called.
    allow_unpaired
        Whether a spectrum file may lack its source file, which is named none the less.
    alone
        Whether no source files are looked for.

    Raises
    ------
    NotFoundError
        The folders are not there, or a spectrum file has no source file of its range.
    InvalidInputError
        A file is in the folder of the other table.
    """
    storage, tables = Storage(url), tables_of(release)
    origin, spectra = find_table(storage, "xp", release)
    if origin != storage:
        parent = tables["xp"].parent
        spectra = [replace(file, name=f"{parent}/{file.name}") for file in spectra]
    listed = [] if alone else find_table(storage, "source", release)[1]
    sources = {file.pixels: file for file in listed}
    missing = (file.pixels for file in spectra if file.pixels not in sources)
    absent = {its: ArchiveFile(tables["source"].key(*its), *its, 0, "") for its in missing}
    if absent and not (allow_unpaired or alone):
        names = ", ".join(file.name.rpartition("/")[2] for file in list(absent.values())[:3])
        raise NotFoundError(
            f"{storage.url}/{tables['source'].folder} lacks {names}{' ...' * (len(absent) > 3)},"
            f" the source table of {len(absent)} spectrum file{'s' * (len(absent) > 1)}",
            f"Fetch it from the archive's {tables['source'].folder} folder, or give a table of"
            " sources: --sources",
        )
    sources |= absent
    return Archive(storage, tuple(FilePair(file, sources[file.pixels]) for file in spectra))


def find_table(storage: Storage, table: str, release: Release) -> tuple[Storage, list[ArchiveFile]]:
    """The place that holds a table's folder, and the files in it, sorted by range.

    Parameters
    ----------
    storage
        The archive; on ESA's own server the spectra are one folder deeper.
    table
        ``xp`` or ``source``.
    release
        What folders and files are called.

    Returns
    -------
    Storage, list of ArchiveFile
        Names are relative to the place.  Over http the files are those in ``_MD5SUM.txt``, of
        unknown size.

    Raises
    ------
    NotFoundError
        There is no file of the table.
    InvalidInputError
        A file is in the folder of the other table.
    """
    names = tables_of(release)
    parent = names[table].parent
    for origin in (storage, storage / parent) if parent else (storage,):
        if files := _list_table(origin, names[table], names.values()):
            return origin, files
    raise NotFoundError(
        f"{storage.url}/{names[table].folder} holds no archive file of {release}",
        f"Give the folder that contains"
        f" {' and '.join(f'{each.folder}/' for each in names.values())}"
        + ", or a table of sources: --sources"
        * (table == "source"),
    )


def _list_table(
    storage: Storage, table: TableFiles, tables: Iterable[TableFiles]
) -> list[ArchiveFile]:
    sums = md5_sums(storage, table.folder)
    sizes = dict.fromkeys(sums, 0)
    if storage.can_list:
        listed = storage.list(table.folder)
        sizes = {key.rsplit("/", 1)[-1]: n_bytes for key, n_bytes in listed.items()}
    verified = verified_sums(storage)
    files = []
    for name, n_bytes in sizes.items():
        pixels = table.pixels(name)
        if pixels is None:
            if any(other.pixels(name) for other in tables):
                raise InvalidInputError(
                    f"{storage.url}/{table.folder}/{name} is in the wrong folder",
                    f"Only {table.prefix} files here",
                )
            continue
        key, md5 = f"{table.folder}/{name}", sums.get(name, "")
        is_verified = bool(md5) and verified.get(key) == md5
        files.append(ArchiveFile(key, *pixels, n_bytes, md5, is_verified=is_verified))
    with ThreadPoolExecutor(16) as threads:
        files = list(threads.map(lambda file: _with_trailer(storage, file), files))
    return sorted(files, key=lambda file: file.first_pixel)


def _with_trailer(storage: Storage, file: ArchiveFile) -> ArchiveFile:
    if file.md5 or not file.n_bytes:
        return file
    return replace(file, trailer=storage.read_range(file.name, max(0, file.n_bytes - 8), 8).hex())


def md5_sums(storage: Storage, folder: str) -> dict[str, str]:
    """Hex digest by file name, from a folder's ``_MD5SUM.txt``; empty if there is none.

    Parameters
    ----------
    storage
        The archive.
    folder
        One of its folders.
    """
    try:
        text = storage.read(f"{folder}/{SUMS}").decode()
    except NotFoundError:
        return {}
    sums = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2:
            sums[words[1].lstrip("*")] = words[0].lower()
    return sums
