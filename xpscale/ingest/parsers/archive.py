"""The bulk archive: ``xp_continuous_mean_spectrum/*.csv.gz`` with ``gaia_source/*.csv.gz``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpscale.archive.files import Archive, ArchiveFile, FilePair, md5_sums, open_archive, tables_of
from xpscale.archive.parse import parse_spectra
from xpscale.archive.reading import verified_stream
from xpscale.archive.sources import MatchedSources, match_sources
from xpscale.column_names import ColumnChoice
from xpscale.companions import OF_SPECTRA
from xpscale.errors import InvalidInputError
from xpscale.forecast.ingest import XP_BYTES_PER_ROW
from xpscale.formatting import format_bytes
from xpscale.ingest.parsers.contents import Contents, Fragment, FragmentRows
from xpscale.ingest.source_index import JoinedSources
from xpscale.ingest.table_formats import content_hash
from xpscale.release import Release
from xpscale.sky import ARCHIVE_ORDER, source_id_pixel
from xpscale.spectra import SpectraBatch
from xpscale.storage import Storage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xpscale.ingest.parsers.input import Input

__all__ = ["ArchiveParser", "recognise"]


def recognise(given: Input) -> Contents | None:
    """The file pairs of an archive; ``None`` if the input is none.

    Raises
    ------
    NotFoundError
        A spectrum file has no source file, and the input does not allow that.
    InvalidInputError
        A file is in the folder of the other table.
    """
    xp = tables_of(given.layout)["xp"]
    folders = (f"{xp.folder}/", f"{xp.parent}/{xp.folder}/", "")
    if not given.files and not given.storage.can_list and not _has_sums(given):
        given.storage.list()  # refuses a web server
    is_archive = not (given.storage.can_list or given.files) or any(
        key.startswith(folder) and xp.pixels(key.removeprefix(folder))
        for key in given.files
        for folder in folders
    )
    if not is_archive:
        return None
    archive = open_archive(
        given.url,
        release=given.layout,
        allow_unpaired=given.allow_unpaired,
        alone=given.sources is not None,
    )
    joined = given.sources.digest if given.sources else ""
    return Contents(
        kind="archive",
        description=_describe(given, archive),
        origin=f"{xp.folder} and"
        f" {given.sources.url if given.sources else tables_of(given.layout)['source'].folder}",
        parser=ArchiveParser(
            archive.storage, given.layout, given.correlations, given.columns, given.join
        ),
        fragments=tuple(_fragment(pair, joined) for pair in archive.pairs),
        digest=content_hash([archive.digest, joined]) if joined else archive.digest,
        digest_name="archive_digest",
        n_bytes=archive.n_bytes,
        has_correlations=given.correlations,
        sources=given.sources,
    )


def _has_sums(given: Input) -> bool:
    """Whether the archive says which spectra it has, where nothing can be listed."""
    xp = tables_of(given.layout)["xp"]
    return any(md5_sums(given.storage, f"{above}{xp.folder}") for above in ("", f"{xp.parent}/"))


def _describe(given: Input, archive: Archive) -> str:
    what = "spectrum files" if given.sources else "file pairs"
    joined = f", sources from {given.sources.url}" if given.sources else ""
    return f"{len(archive.pairs):,} {what}, {format_bytes(archive.n_bytes)} compressed{joined}"


def _fragment(pair: FilePair, joined: str) -> Fragment:
    """The rows of a spectrum file; ``joined`` tells its table of sources from another."""
    key = f"{pair.key}.{joined[:8]}" if joined else pair.key
    n_rows = pair.spectra.n_bytes // XP_BYTES_PER_ROW
    return Fragment(pair.name, key, n_rows, pair, pair.spectra.pixels)


@dataclass(frozen=True)
class ArchiveParser:
    """Reads a spectrum file and joins it with its source file.

    Parameters
    ----------
    archive
        Where the files are.
    layout
        The release that says what columns are called.
    correlations
        Whether to read the correlations of coefficients, too.
    columns
        What the user says of columns: companions, and where to place sources.
    join
        Looks up sources in the table that the user gave, if any.
    """

    archive: Storage
    layout: Release
    correlations: bool = False
    columns: ColumnChoice | None = None
    join: JoinedSources | None = None

    def read(self, fragment: Fragment) -> FragmentRows:
        """The rows of one file pair.

        Raises
        ------
        InvalidInputError
            A file is damaged, or is not what its name says.
        """
        pair: FilePair = fragment.source
        choice = self.columns or ColumnChoice()
        with verified_stream(self.archive, pair.spectra) as stream:
            spectra = parse_spectra(
                stream,
                self._url(pair.spectra),
                correlations=self.correlations,
                companions=[name for name in OF_SPECTRA if name in choice.companions],
                release=self.layout,
            )
        self._check_range(pair.spectra, spectra.source_id)
        sources = self._sources(pair, spectra.source_id)
        batch = SpectraBatch(
            spectra.source_id,
            sources.values["ra"],
            sources.values["dec"],
            sources.values["phot_g_mean_flux"],
            spectra.coefficients,
            spectra.coefficient_errors,
            spectra.bands,
            {**sources.companions, **spectra.companions},
        )
        faults = {"no_gaia_source": ~sources.found}
        return FragmentRows(batch, faults, spectra.correlations)

    def _sources(self, pair: FilePair, source_id: NDArray[np.int64]) -> MatchedSources:
        if self.join is not None:
            return self.join(source_id)
        where = self._url(pair.sources)
        with verified_stream(self.archive, pair.sources) as stream:
            found = match_sources(
                stream, where, source_id, release=self.layout, choice=self.columns
            )
        if not found.found.any():
            raise InvalidInputError(
                f"{where} has none of the {len(source_id):,} sources of {pair.spectra.name}",
                "Download it again",
            )
        return found

    def _url(self, file: ArchiveFile) -> str:
        return f"{self.archive.url}/{file.name}"

    def _check_range(self, file: ArchiveFile, source_id: NDArray[np.int64]) -> None:
        """A sound file under another's name holds no source of the name's range."""
        pixels = source_id_pixel(source_id, ARCHIVE_ORDER)
        if not ((pixels >= file.first_pixel) & (pixels <= file.last_pixel)).any():
            raise InvalidInputError(
                f"{self._url(file)} holds sources of level-8 pixels {pixels.min()} to"
                f" {pixels.max()} and none of its name",
                "Download it again",
            )
