"""Tables as people have them, joined with a table of sources where they lack positions.

===================  ===========================================================================
DataLink products    CSV, ECSV, FITS, VOTable, or the zip of a bulk request; one or several
                     sources a file
HDF5 copies          ``XpContinuousMeanSpectrum_A-B.hdf5`` with ``GaiaSource_A-B.hdf5`` in the
                     same folder; MyGaiaDB's ``.h5``
Parquet              without positions; others see `xpscale.ingest.parsers.row_groups`
===================  ===========================================================================
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpscale.archive.chosen_tables import has_sources, main_table, require_spectra
from xpscale.archive.datalink import Lookup, read_spectra
from xpscale.archive.files import tables_of
from xpscale.archive.members import is_other_product, member_names, tables_in
from xpscale.archive.source_table import SourceTable, read_source_table
from xpscale.bands import Bands
from xpscale.column_names import ColumnChoice, lacking_source_columns
from xpscale.columns import find_source_columns
from xpscale.errors import InvalidInputError
from xpscale.forecast.ingest import XP_BYTES_PER_ROW
from xpscale.formatting import format_bytes
from xpscale.ingest.parsers.contents import (
    Contents,
    Fragment,
    FragmentRows,
    fragment_key,
)
from xpscale.ingest.source_index import JoinedSources
from xpscale.ingest.table_formats import content_hash, file_digest, format_of
from xpscale.release import Release
from xpscale.stated_release import release_in_name
from xpscale.storage import Storage
from xpscale.store.hats_listing import hats_pixel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from xpscale.ingest.parsers.input import Input

__all__ = ["TableParser", "TablePart", "recognise", "tables_of_spectra"]

MOST_NAMES = 8
"""Files left aside that a plan names."""

_tables: dict[tuple[str, str], SourceTable] = {}


@dataclass(frozen=True, slots=True)
class TablePart:
    """A file, or a member of a zip file, or a group of an HDF5 file; and its table of sources.

    Parameters
    ----------
    file, member
        Key below the input; member or group, if it has any.
    content
        What tells its content from another: SHA-256, or the size of a file too large to be read
        twice.
    sources
        URL of the table in the same folder that has its positions and G flux; empty if there is
        none.
    sources_content
        What tells the content of that table from another.
    """

    file: str
    member: str
    content: str
    sources: str
    sources_content: str

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.file}/{self.member}" if self.member else self.file


def tables_of_spectra(given: Input) -> dict[str, int]:
    """Bytes by key of the files that may hold spectra: neither other products nor source tables;
    of a HATS catalogue its leaves, none of its lists.
    """
    if leaves := {key: n_bytes for key, n_bytes in given.files.items() if hats_pixel(key)}:
        return leaves
    return {
        key: n_bytes
        for key, n_bytes in given.files.items()
        if format_of(key) and not is_other_product(key) and not _range(given, key, "source")
    }


def recognise(given: Input) -> Contents | None:
    """The tables of an input; ``None`` if there are none.

    Raises
    ------
    InvalidInputError
        A file is damaged, or has neither positions nor a table of sources.
    """
    tables = tables_of_spectra(given)
    if not tables:
        return None
    given.require_one_kind(tables)
    fragments = _fragments(given, tables)
    parts: list[TablePart] = [fragment.source for fragment in fragments]
    _require_positions(given, parts)
    return Contents(
        kind="tables",
        description=_describe(given, tables),
        origin="tables in the form of DataLink products",
        parser=TableParser(
            given.storage,
            given.release,
            given.bands,
            given.columns,
            given.join,
            given.correlations,
        ),
        has_correlations=given.correlations,
        sources=given.sources,
        fragments=fragments,
        digest=content_hash(f"{part.name} {part.content} {part.sources_content}" for part in parts),
        n_bytes=sum(tables.values()),
    )


def _describe(given: Input, tables: Mapping[str, int]) -> str:
    formats = Counter(format_of(key) for key in tables)
    kinds = ", ".join(f"{n:,} {name}" for name, n in sorted(formats.items()))
    names = [*given.left_aside, *sorted(given.files.keys() - tables.keys())]
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    others = f"\n  left aside: {', '.join(names[:MOST_NAMES])}{more}" if names else ""
    joined = f", positions from {given.sources.url}" if given.sources else ""
    n_bytes = format_bytes(sum(tables.values()))
    return f"tables of spectra: {kinds}, {n_bytes}{joined} · {given.url}{others}"


def _range(given: Input, key: str, table: str) -> str:
    """The range of pixels in the name of an HDF5 copy of a file of ``xp`` or ``source``; else
    empty.
    """
    prefix = re.escape(tables_of(given.layout)[table].prefix)
    match = re.fullmatch(rf"(?:.*/)?{prefix}_(\d+-\d+)\.(?:hdf5|h5)", key)
    return match[1] if match else ""


def _fragments(given: Input, tables: Mapping[str, int]) -> tuple[Fragment, ...]:
    sources_content = given.sources.digest if given.sources else ""
    partners = {_range(given, key, "source"): key for key in given.files}
    fragments: list[Fragment] = []
    for key, n_bytes in tables.items():
        sources, its_content = "", sources_content
        pixels = _range(given, key, "xp")
        if not given.sources and pixels and pixels in partners:
            partner = partners[pixels]
            sources, its_content = f"{given.storage.url}/{partner}", str(given.files[partner])
        has_members = format_of(key) in ("zip", "HDF5")
        members = _members(given, key) if has_members else [""]
        content = file_digest(given.storage, key, n_bytes)
        n_rows = max(1, n_bytes // XP_BYTES_PER_ROW // len(members))
        for member in members:
            part = TablePart(key, member, content, sources, its_content)
            task = fragment_key(len(fragments), part.name, content, its_content)
            release = release_in_name(member) or release_in_name(key)
            fragments.append(Fragment(part.name, task, n_rows, part, release=release))
    return tuple(fragments)


def _members(given: Input, key: str) -> list[str]:
    """Members or groups of a file; the file as a whole if it is damaged: the task that reads it
    says so.
    """
    try:
        members, _ = member_names(given.storage, key)
        return [member for member in members if f"{key}/{member}" not in given.left_aside]
    except InvalidInputError:
        if not given.allow_unpaired:
            raise
        return [""]


def _require_positions(given: Input, parts: Iterable[TablePart]) -> None:
    """Refuse early what every task would refuse, by the first table; by the first that can be read
    where damaged ones are set aside.
    """
    for part in parts:
        try:
            tables = tables_in(given.storage, part.file, part.member)
        except InvalidInputError:
            if not given.allow_unpaired:
                raise
            continue
        _require_columns(given, part, tables)
        return


def _require_columns(given: Input, part: TablePart, tables: Sequence[Sequence[str]]) -> None:
    where = f"{given.storage.url}/{part.name}"
    require_spectra(tables, where, given.layout, given.columns)
    if given.sources or part.sources:
        return
    names = main_table(tables, given.layout, given.columns)
    of_sources = given.columns.of_sources
    has_own = any(has_sources(table, given.layout, of_sources) for table in tables)
    if not has_own and find_source_columns(names, where, given.layout, given.columns) is None:
        raise InvalidInputError(
            lacking_source_columns(names, where, given.layout, given.columns),
            "Give a table that has them: --sources FILE; the Gaia archive's answer to 'SELECT"
            " source_id, ra, dec, phot_g_mean_flux FROM"
            f" {given.layout.archive.source_table} WHERE source_id IN (...)' is one",
        )


@dataclass(frozen=True)
class TableParser:
    """Reads tables, and joins them with their table of sources.

    Parameters
    ----------
    storage
        Where the tables are.
    release, bands, columns
        What the user says of them, if anything.
    join
        Looks up sources in the table that the user gave, if any.
    correlations
        Whether to read the correlations of coefficients, too.
    """

    storage: Storage
    release: Release | None = None
    bands: Bands | None = None
    columns: ColumnChoice | None = None
    join: JoinedSources | None = None
    correlations: bool = False

    def read(self, fragment: Fragment) -> FragmentRows:
        """The rows of one table.

        Raises
        ------
        InvalidInputError
            It is damaged, or has no spectra, no errors, or no positions.
        """
        part: TablePart = fragment.source
        sources: Lookup | None = self.join
        if part.sources:
            choice = self.columns or ColumnChoice()
            sources = _source_table(part.sources, part.sources_content, choice).match
        found = read_spectra(
            self.storage,
            part.file,
            part.member,
            sources,
            release=self.release,
            bands=self.bands,
            columns=self.columns,
            correlations=self.correlations,
            content=part.content,
        )
        faults = {"no_gaia_source": ~found.found}
        return FragmentRows(found.batch, faults, found.correlations, found.release)


def _source_table(url: str, content: str, choice: ColumnChoice) -> SourceTable:
    """The table of sources of a file, read once in a worker process."""
    key = (url, content)
    if key not in _tables:
        _tables.clear()
        _tables[key] = read_source_table(url, choice.of_sources)
    return _tables[key]
