"""Tables without spectra among those with: of a DataLink reply, and the table of the sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

from xpscale.archive.chosen_tables import has_sources, has_spectra, main_table
from xpscale.archive.members import member_names, tables_in
from xpscale.errors import InvalidInputError
from xpscale.ingest.given_sources import open_sources
from xpscale.ingest.parsers.input import Input
from xpscale.ingest.parsers.tabular import tables_of_spectra
from xpscale.ingest.table_formats import format_of
from xpscale.store.hats_listing import hats_pixel

__all__ = ["set_apart"]

THREADS = 16
SPECTRA_BY_NAME = ("XP_CONTINUOUS", "XPCONTINUOUS")
"""Beginnings of the names, in capitals, of files that are not looked into."""

_Part = tuple[str, str]
"""A file, and a member of it if it is a zip."""


def set_apart(given: Input) -> Input:
    """An input without the tables that have no coefficients, where others have.

    One of them becomes its table of sources if the spectra lack positions and none was given.

    Parameters
    ----------
    given
        The input; nothing is set apart from a HATS catalogue, or from HDF5 copies.

    Raises
    ------
    InvalidInputError
        Several tables could be that of the sources.
    """
    parts, left = [], []
    for key in tables_of_spectra(given):
        members, others = _members(given, key)
        parts += [(key, member) for member in members]
        left += [f"{key}/{member}" for member in others]
    given = replace(given, left_aside=tuple(left))
    if len(parts) < 2:
        return given
    looked_at = [part for part in parts if not _is_known(part)]
    with ThreadPoolExecutor(THREADS) as threads:
        now = uuid4().hex  # a zip file's list of members is read once for all of them
        names = threads.map(lambda part: _columns(given, part, now), looked_at)
        columns = dict(zip(looked_at, names, strict=True))
    apart = [
        part
        for part in looked_at
        if columns[part] and not has_spectra(columns[part], given.layout, given.columns)
    ]
    spectra = [part for part in parts if part not in apart]
    if not apart or not spectra:
        return given
    sources = _sources(given, {part: columns[part] for part in apart}, spectra)
    left += ["/".join(filter(None, part)) for part in apart if part != (sources, "")]
    return replace(
        given,
        files={key: n_bytes for key, n_bytes in given.files.items() if (key, "") not in apart},
        sources=open_sources(given.storage.url_of(sources), given.columns)
        if sources
        else given.sources,
        left_aside=tuple(left),
    )


def _sources(given: Input, apart: Mapping[_Part, Sequence[str]], spectra: Iterable[_Part]) -> str:
    """The file that is the table of sources; empty if none is, or none is needed."""
    of_spectra = next(filter(None, (_columns(given, part) for part in spectra)), ())
    if given.sources or has_sources(of_spectra, given.layout, given.columns):
        return ""
    of_sources = given.columns.of_sources
    found = [
        key
        for (key, member), names in apart.items()
        if not member and has_sources(names, given.layout, of_sources)
    ]
    if len(found) > 1:
        raise InvalidInputError(
            f"{given.url} holds {len(found)} tables of sources, {found[0]} and {found[1]}",
            "Say which one: --sources FILE",
        )
    return found[0] if found else ""


def _members(given: Input, key: str) -> tuple[list[str], list[str]]:
    """Members of a file to look at, and those that are other products by name."""
    if format_of(key) == "HDF5" or hats_pixel(key):
        return [], []
    if format_of(key) != "zip":
        return [""], []
    try:
        return member_names(given.storage, key)
    except InvalidInputError:  # whoever reads it says so
        return [], []


def _is_known(part: _Part) -> bool:
    return (part[1] or part[0]).rsplit("/", 1)[-1].upper().startswith(SPECTRA_BY_NAME)


def _columns(given: Input, part: _Part, content: str = "") -> Sequence[str]:
    """Its columns; none if it cannot be read, which whoever reads it says."""
    try:
        return main_table(tables_in(given.storage, *part, content), given.layout, given.columns)
    except InvalidInputError:
        return ()
