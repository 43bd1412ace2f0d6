"""A universe written as the Gaia archive serves its data: ECSV csv.gz files of spectra and sources,
with planted defects.

::

    URL/xp_continuous_mean_spectrum/XpContinuousMeanSpectrum_AAAAAA-BBBBBB.csv.gz    _MD5SUM.txt
    URL/gaia_source/GaiaSource_AAAAAA-BBBBBB.csv.gz                                  _MD5SUM.txt

or with the names of another release.  A name carries the inclusive range of level-8 pixels of
``source_id``; the files share the sources about evenly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tests.support.archive_defects import REJECTED_AS, Defects, FileRows, Planter
from tests.support.archive_text import SourceRows, source_text, spectrum_text
from xpscale.archive.files import tables_of
from xpscale.errors import InvalidInputError
from xpscale.release import DR3, Release
from xpscale.sky import ARCHIVE_ORDER, source_id_pixel
from xpscale.spectra import SpectraBatch
from xpscale.storage import Storage
from xpscale.testing.sky_density import DENSITY_ORDER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.testing.universe import Chunk, Universe

__all__ = ["Defects", "WrittenArchive", "file_ranges", "write_archive"]

PIXELS_A_COUNT = 4 ** (ARCHIVE_ORDER - DENSITY_ORDER)


@dataclass(frozen=True, slots=True)
class WrittenArchive:
    """What `write_archive` wrote.

    Parameters
    ----------
    url
        Where.
    rows
        Rows of spectra by range (``000000-003111``), duplicates included; those of damaged files
        before the damage.
    damaged
        Range of the damaged file by defect.
    planted
        ``source_id`` of the damaged sources by defect; none of them is in a damaged file.
    """

    url: str
    rows: Mapping[str, int]
    damaged: Mapping[str, str]
    planted: Mapping[str, tuple[int, ...]]

    @property
    def n_rows(self) -> int:
        """Rows of spectra in all files."""
        return sum(self.rows.values())

    @property
    def counts(self) -> dict[str, int]:
        """Number of damaged sources by defect; a repeated source counts once."""
        return {name: len(ids) for name, ids in self.planted.items()}

    @property
    def rejected(self) -> dict[str, int]:
        """Rows an ingest must leave out, by its reason, if no file is damaged: ``n_rows`` less
        these are written.
        """
        expected: dict[str, int] = {}
        for name, ids in self.planted.items():
            if reason := REJECTED_AS.get(name):
                expected[reason] = expected.get(reason, 0) + len(ids)
        return expected


def write_archive(
    universe: Universe,
    url: str,
    *,
    n_files: int = 4,
    defects: Defects | None = None,
    extra_sources: float = 1.0,
    correlations: bool = False,
    md5: bool = True,
    release: Release = DR3,
) -> WrittenArchive:
    """Write a universe as archive files.

    Parameters
    ----------
    universe
        What to write.
    url
        Folder or ``s3://`` prefix to write to.
    n_files
        Number of files a table; fewer if the sources lie in fewer pixels of order 7.
    defects
        What to spoil; nothing if not given.
    extra_sources
        GaiaSource rows without a spectrum per row with one, 0 to 1 (about 7 in Gaia DR3, which
        would only be slower).
    correlations
        Whether to fill in coefficient correlations: 17 times the text, for benchmarks (they repeat
        every 64 rows). ``null`` otherwise.
    md5
        Whether to write ``_MD5SUM.txt``.
    release
        What folders, files and columns are called.

    Returns
    -------
    WrittenArchive
        Names of files, numbers of rows, planted defects.

    Raises
    ------
    InvalidInputError
        There are too few files or sources for the defects.
    """
    defects = defects or Defects()
    storage = Storage(url)
    ranges = file_ranges(universe.counts, n_files)
    damaged = _assign_files(defects, len(ranges))
    planter = Planter(defects, len(ranges) - len(damaged))
    rows, tables = dict[str, int](), tables_of(release)
    sums: dict[str, list[str]] = {table.folder: [] for table in tables.values()}
    for number, (first, last) in enumerate(ranges):
        file = _collect(universe, first, last, extra_sources)
        defect = damaged.get(number, "")
        if not defect:
            planter.spoil(file)
        rows[file.range] = len(file.spectra)
        spectra = spectrum_text(
            file.spectra, file.no_band, correlations=correlations, release=release
        )
        texts = {"xp": spectra, "source": source_text(file.sources, release)}
        for table, data in _damaged(texts, defect).items():
            key = tables[table].key(first, last)
            sums[tables[table].folder].append(f"{data.md5}  {key.rpartition('/')[2]}\n")
            storage.replace(key, data.stored)
    if md5:
        for folder, lines in sums.items():
            storage.replace(f"{folder}/_MD5SUM.txt", "".join(lines).encode())
    names = list(rows)
    return WrittenArchive(
        storage.url, rows, {name: names[i] for i, name in damaged.items()}, planter.done()
    )


def file_ranges(counts: NDArray[np.int64], n_files: int) -> list[tuple[int, int]]:
    """Inclusive level-8 ranges that cover the sky and hold about equally many sources.

    Parameters
    ----------
    counts
        Sources in every pixel of order 7, with shape (196608,).
    n_files
        Ranges; fewer come back if some would be empty.

    Raises
    ------
    InvalidInputError
        If ``n_files`` is not positive.
    """
    if n_files < 1:
        raise InvalidInputError(
            f"an archive cannot have {n_files} files", "Use n_files of at least 1"
        )
    filled = np.flatnonzero(counts)
    shares = (np.cumsum(counts[filled]) - 1) * n_files // counts.sum()
    starts = filled[np.unique(shares, return_index=True)[1]]
    edges = [0, *(starts[1:] * PIXELS_A_COUNT).tolist(), len(counts) * PIXELS_A_COUNT]
    return [(first, stop - 1) for first, stop in pairwise(edges)]


def _assign_files(defects: Defects, n_files: int) -> dict[int, str]:
    """The last files take the damage, one each, by number of the file."""
    wanted = defects.of_files
    if len(wanted) + bool(sum(defects.of_rows.values())) > n_files:
        raise InvalidInputError(
            f"{n_files} files are too few for the defects {', '.join(wanted)}",
            "Write more files (n_files)",
        )
    return {n_files - 1 - i: name for i, name in enumerate(wanted)}


@lru_cache(maxsize=2)
def _cell(universe: Universe, cell: int) -> Chunk:
    # The cell a file ends in is also the one the next begins in.
    return universe.chunk(cell)


def _collect(universe: Universe, first: int, last: int, extra_sources: float) -> FileRows:
    """Rows of the level-8 pixels ``first`` to ``last``."""
    shift = 2 * (ARCHIVE_ORDER - universe.cell_order)
    cells = universe.cells
    spectra, sources = [], []
    for cell in cells[(cells >= first >> shift) & (cells <= last >> shift)].tolist():
        chunk = _cell(universe, cell)
        batch = chunk.batch
        inside = _between(batch.source_id, first, last)
        spectra.append(batch.take(inside))
        parallax = chunk.truth.labels.parallax.astype(np.float64)
        has_xp = np.ones(len(batch), bool)
        sources.append(
            SourceRows(
                batch.source_id, batch.ra, batch.dec, batch.phot_g_mean_flux, parallax, has_xp
            ).take(inside)
        )
        source_id, ra, dec, flux = universe.other_sources(cell)
        without = SourceRows(
            source_id, ra, dec, flux, np.full(len(ra), np.nan), np.zeros(len(ra), bool)
        )
        chosen = np.random.default_rng([universe.seed, 5, cell]).random(len(ra)) < extra_sources
        sources.append(without.take(_between(source_id, first, last) & chosen))
    return FileRows(
        first, last, SpectraBatch.concatenate(spectra), SourceRows.concatenate(sources).sorted()
    )


def _between(source_id: NDArray[np.int64], first: int, last: int) -> NDArray[np.bool_]:
    pixel = source_id_pixel(source_id, ARCHIVE_ORDER)
    return (pixel >= first) & (pixel <= last)


@dataclass(frozen=True, slots=True)
class _Bytes:
    """A compressed file as published, and as it lies here after the damage."""

    published: bytes
    stored: bytes
    wrong_md5: bool = False

    @property
    def md5(self) -> str:
        """The sum that ``_MD5SUM.txt`` says."""
        digest = hashlib.md5(self.published, usedforsecurity=False).hexdigest()
        return digest[::-1] if self.wrong_md5 else digest


def _damaged(texts: Mapping[str, bytes], defect: str) -> dict[str, _Bytes]:
    from isal import igzip

    whole = {table: igzip.compress(text, compresslevel=2, mtime=0) for table, text in texts.items()}
    files = {table: _Bytes(data, data) for table, data in whole.items()}
    spectra = whole["xp"]
    if defect == "truncated_file":
        files["xp"] = _Bytes(spectra, spectra[: len(spectra) * 2 // 3])
    elif defect == "wrong_md5":
        files["xp"] = _Bytes(spectra, spectra, wrong_md5=True)
    elif defect == "missing_source_file":
        del files["source"]
    elif defect == "foreign_file":
        files["xp"] = files["source"]
    return files
