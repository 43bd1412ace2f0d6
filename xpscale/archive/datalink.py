"""Spectra from DataLink products and other tables, and from the zip of a bulk request.

A DataLink product holds the columns of ``xp_continuous_mean_spectrum`` for one or several sources,
and neither position nor G flux.  Those come from the same table where it has them (people join
them), else from another one: `xpscale.archive.source_table`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from xpscale.archive.chosen_tables import has_spectra, require_spectra
from xpscale.archive.members import opened_tables, table_name
from xpscale.archive.source_table import SourceTable, source_parts
from xpscale.archive.sources import MatchedSources
from xpscale.archive.table_correlations import joined_correlations, read_correlations
from xpscale.archive.tables import Table, explained
from xpscale.bands import Bands
from xpscale.column_names import ColumnChoice
from xpscale.columns import SourceColumns, XpColumns, find_source_columns, find_xp_columns
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.release import DR3, Release
from xpscale.spectra import SpectraBatch
from xpscale.stated_release import release_in_name
from xpscale.storage import Storage
from xpscale.table_bands import StatedBands, bands_of, bands_of_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Lookup", "TableSpectra", "read_spectra"]

Lookup = Callable[["NDArray[np.int64]"], MatchedSources]
"""Looks up sources by identifier."""


@dataclass(frozen=True, slots=True, eq=False)
class TableSpectra:
    """The spectra of one file.

    Parameters
    ----------
    batch
        The rows, with errors; position and flux NaN where they are not known.
    found
        Whether position and flux were looked up successfully, with shape (N,).
    release
        Name of the data release in the designations of the sources; empty if there are none.
    correlations
        BP and RP, each with shape (N, n (n - 1) / 2); ``None`` if they were not asked for.
    """

    batch: SpectraBatch
    found: NDArray[np.bool_]
    release: str = ""
    correlations: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None


def read_spectra(
    storage: Storage,
    key: str,
    member: str = "",
    sources: Lookup | None = None,
    *,
    release: Release | None = None,
    bands: Bands | None = None,
    columns: ColumnChoice | None = None,
    correlations: bool = False,
    content: str = "",
) -> TableSpectra:
    """All spectra of a file.

    Parameters
    ----------
    storage, key
        The file.
    member
        Member of a zip file, or group of an HDF5 file.
    sources
        Looks up positions, G flux and companions, for tables that have none; else another table of
        the same file does.
    release, bands, columns
        What the user says of the file, if anything.
    correlations
        Whether to read the correlations of coefficients, too.
    content
        As of `xpscale.archive.members.opened_tables`.

    Raises
    ------
    InvalidInputError
        The file is damaged, has no spectra, no errors, or no correlations that are wanted; or it
        has no positions and none are given.
    ConflictError
        Its tables are of different releases.
    """
    name = table_name(storage, key, member)
    found, kept, stated = [], [], StatedBands(bands, release=release)
    choice, others = columns or ColumnChoice(), []
    sources = sources or partial(_sources_in_same_file, storage, key, member, content, choice)
    with opened_tables(storage, key, member, content, correlations=correlations) as tables:
        for table in tables:
            if not has_spectra(table.names, release or DR3, choice):
                others.append(table.names)
                continue
            with explained(name):
                found.append(_spectra(table, name, sources, stated, choice))
                if correlations:
                    kept.append(read_correlations(table, found[-1].batch.bands, name))
    if not found:
        require_spectra(others, name, release or DR3, choice)
    if len({part.batch.bands for part in found}) != 1:
        raise InvalidInputError(f"{name} has {len(found)} tables of spectra, of different widths")
    batch = SpectraBatch.concatenate(part.batch for part in found)
    named = _one_release({part.release for part in found}, name)
    of_sources = np.concatenate([part.found for part in found])
    return TableSpectra(batch, of_sources, named, joined_correlations(kept))


def _spectra(
    table: Table,
    name: str,
    sources: Lookup,
    stated: StatedBands,
    choice: ColumnChoice,
) -> TableSpectra:
    layout = stated.release or DR3
    columns = find_xp_columns(table.names, name, layout, choice)
    if not columns.errors:
        raise InvalidInputError(f"{name} has no coefficient errors", "A spectra store needs them")
    source_id = table.identifiers(columns.source_id, layout)
    own = find_source_columns(table.names, name, layout, choice)
    matched = _matched(table, source_id, own or sources)
    values = [_group(table, group) for group in columns.coefficients]
    errors = [_group(table, group) for group in columns.errors]
    widths = _widths(values, errors, columns, name)
    numbers = [table.floats(column) for column in columns.n_parameters]
    by_columns = bands_of_numbers(numbers) if numbers and len(widths) == 1 else None
    bands = bands_of(columns, widths, name, replace(stated, by_columns=by_columns))
    full = (bands.n_bp, bands.n_rp) if len(widths) == 2 else widths
    coefficients, deviations = (
        np.hstack([_widened(part, width) for part, width in zip(groups, full, strict=True)])
        for groups in (values, errors)
    )
    ra, dec, flux = (matched.values[its] for its in ("ra", "dec", "phot_g_mean_flux"))
    own_more = {its: table.floats(column) for its, column in columns.companions}
    more = {**matched.companions, **own_more}
    batch = SpectraBatch(source_id, ra, dec, flux, coefficients, deviations, bands, more)
    return TableSpectra(batch, matched.found, _release(table, name))


def _matched(
    table: Table, source_id: NDArray[np.int64], sources: SourceColumns | Lookup
) -> MatchedSources:
    """What the table's own columns, or else a table of sources, tell of its rows."""
    if not isinstance(sources, SourceColumns):
        return sources(source_id)
    n_rows = len(source_id)
    return MatchedSources(np.ones(n_rows, bool), sources.values(table.floats, source_id), n_rows)


def _sources_in_same_file(
    storage: Storage,
    key: str,
    member: str,
    content: str,
    choice: ColumnChoice,
    source_id: NDArray[np.int64],
) -> MatchedSources:
    """What another table of the same file tells of sources."""
    with opened_tables(storage, key, member, content) as tables:
        parts = source_parts(tables, table_name(storage, key, member), choice.of_sources)
        return SourceTable(tuple(parts)).match(source_id)


def _release(table: Table, name: str) -> str:
    """The release that the designations of the sources name; empty if the table has none."""
    column = next((each for each in table.names if each.lower() == "designation"), "")
    if not column:
        return ""
    return _one_release({release_in_name(text) for text in table.texts(column)}, name)


def _one_release(names: set[str], where: str) -> str:
    found = sorted(names - {""})
    if len(found) > 1:
        raise ConflictError(
            f"{where} is of {' and '.join(found)}", "Ingest releases into different stores"
        )
    return found[0] if found else ""


def _group(table: Table, group: tuple[str, ...]) -> NDArray[np.float32]:
    if len(group) == 1:
        return table.vectors(group[0])
    return np.stack([table.floats(name) for name in group], axis=1).astype(np.float32)


def _widths(
    bands: list[NDArray[np.float32]],
    errors: list[NDArray[np.float32]],
    columns: XpColumns,
    name: str,
) -> tuple[int, ...]:
    """The width of each group, 0 of a band that no row has; errors may be absent where the whole
    band is.
    """
    for values, deviations, group in zip(bands, errors, columns.coefficients, strict=True):
        if deviations.shape[1] not in (values.shape[1], 0):
            raise InvalidInputError(
                f"{name} has {values.shape[1]} {group[0]} a row, and {deviations.shape[1]} errors",
                "Fetch it again",
            )
    return tuple(values.shape[1] for values in bands)


def _widened(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    return values if values.shape[1] == width else np.full((len(values), width), np.nan, np.float32)
