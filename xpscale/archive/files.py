"""Which files make up an archive: names, level-8 HEALPix ranges, sizes, MD5 sums, pairs.

An archive is a folder or URL that holds ``xp_continuous_mean_spectrum/`` and ``gaia_source/``, as
the Gaia archive serves them.  File names carry the inclusive range of level-8 pixels of ``source_id
>> 43`` inside; a spectrum file and the GaiaSource file of the same range belong together.
"""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from xpscale.archive.verified import verified_sums
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.storage import Storage

__all__ = ["Archive", "ArchiveFile", "FilePair", "list_table", "md5_sums", "open_archive"]

XP_FOLDER = "xp_continuous_mean_spectrum"
SOURCE_FOLDER = "gaia_source"
BLOCK_BYTES = 1 << 24
NAME = re.compile(
    r"(?P<table>XpContinuousMeanSpectrum|GaiaSource)_(?P<first>\d{6})-(?P<last>\d{6})\.csv\.gz"
)


@dataclass(frozen=True, order=True, slots=True)
class ArchiveFile:
    """One bulk file.

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
    def fingerprint(self) -> str:
        """Name, size and MD5 sum (or CRC-32): equal for equal files."""
        return f"{self.name} {self.n_bytes} {self.md5 or self.trailer}"


@dataclass(frozen=True, order=True, slots=True)
class FilePair:
    """A spectrum file and the GaiaSource file of the same range: the unit of ingest."""

    spectra: ArchiveFile
    sources: ArchiveFile

    @property
    def name(self) -> str:
        """The spectrum file's."""
        return self.spectra.name

    @property
    def key(self) -> str:
        """``000000-003111.1f2e3d4c``: the range in the files' names, and a hash of their sizes and
        MD5 sums.

        A file that is replaced by another makes another key, so that nothing done with the old one
        is taken for it.
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


def open_archive(url: str, *, allow_unpaired: bool = False) -> Archive:
    """List an archive and pair its files.

    Parameters
    ----------
    url
        Folder or URL holding ``xp_continuous_mean_spectrum/`` and ``gaia_source/``.  Over http,
        where nothing can be listed, the ``_MD5SUM.txt`` of each folder says which files there are.
    allow_unpaired
        Whether a spectrum file may lack its GaiaSource file; it is paired with the name of the file
        that should be there.

    Raises
    ------
    NotFoundError
        The folders are not there, or a spectrum file has no GaiaSource file of its range.
    """
    storage = Storage(url)
    spectra = _list_spectra(storage)
    sources = {
        (file.first_pixel, file.last_pixel): file for file in list_table(storage, SOURCE_FOLDER)
    }
    missing = [file for file in spectra if (file.first_pixel, file.last_pixel) not in sources]
    if allow_unpaired:
        sources |= {(file.first_pixel, file.last_pixel): _absent_sources(file) for file in missing}
    elif missing:
        names = ", ".join(_absent_sources(file).name.rpartition("/")[2] for file in missing[:3])
        raise NotFoundError(
            f"{storage.url}/{SOURCE_FOLDER} lacks {names}{' ...' if len(missing) > 3 else ''}, the"
            f" source table of {len(missing)} spectrum file{'s' * (len(missing) > 1)}",
            "Fetch it from the archive's gaia_source folder",
        )
    pairs = tuple(FilePair(file, sources[file.first_pixel, file.last_pixel]) for file in spectra)
    return Archive(storage, pairs)


def _absent_sources(spectra: ArchiveFile) -> ArchiveFile:
    first, last = spectra.first_pixel, spectra.last_pixel
    return ArchiveFile(
        f"{SOURCE_FOLDER}/GaiaSource_{first:06d}-{last:06d}.csv.gz", first, last, 0, ""
    )


def _list_spectra(storage: Storage) -> list[ArchiveFile]:
    """The spectrum files; ESA's own server keeps them one folder deeper, below
    ``Spectroscopy/``.
    """
    try:
        return list_table(storage, XP_FOLDER)
    except NotFoundError:
        try:
            return list_table(storage, f"Spectroscopy/{XP_FOLDER}")
        except NotFoundError:
            pass
        raise


def list_table(storage: Storage, folder: str) -> list[ArchiveFile]:
    """The files of one table's folder, sorted by range; over http those in its ``_MD5SUM.txt``, of
    unknown size.
    """
    sums = md5_sums(storage, folder)
    sizes = dict.fromkeys(sums, 0)
    if not storage.url.startswith("http"):
        sizes = {key.rsplit("/", 1)[-1]: n_bytes for key, n_bytes in storage.list(folder).items()}
    verified = verified_sums(storage.url) if storage.is_local else {}
    files = []
    for name, n_bytes in sizes.items():
        match = NAME.fullmatch(name)
        if match is None:
            continue
        expected = "XpContinuousMeanSpectrum" if folder.endswith(XP_FOLDER) else "GaiaSource"
        if match["table"] != expected:
            raise InvalidInputError(
                f"{storage.url}/{folder}/{name} is in the wrong folder",
                f"Only {expected} files here",
            )
        first, last = int(match["first"]), int(match["last"])
        key, md5 = f"{folder}/{name}", sums.get(name, "")
        is_verified = bool(md5) and verified.get(key) == md5
        files.append(ArchiveFile(key, first, last, n_bytes, md5, is_verified=is_verified))
    if not files:
        raise NotFoundError(
            f"{storage.url}/{folder} holds no archive file",
            "Give the folder that contains xp_continuous_mean_spectrum/ and gaia_source/",
        )
    with ThreadPoolExecutor(16) as threads:
        files = list(threads.map(lambda file: _with_trailer(storage, file), files))
    return sorted(files, key=lambda file: file.first_pixel)


def _with_trailer(storage: Storage, file: ArchiveFile) -> ArchiveFile:
    if file.md5 or not file.n_bytes:
        return file
    return replace(file, trailer=storage.read_range(file.name, max(0, file.n_bytes - 8), 8).hex())


def md5_sums(storage: Storage, folder: str) -> dict[str, str]:
    """Hex digest by file name, from the folder's ``_MD5SUM.txt``; empty if there is none."""
    try:
        text = storage.read(f"{folder}/_MD5SUM.txt").decode()
    except NotFoundError:
        return {}
    sums = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2:
            sums[words[1].lstrip("*")] = words[0].lower()
    return sums
