"""Spectra from DataLink products and other tables, and from the zip of a bulk request.

A DataLink product holds the columns of ``xp_continuous_mean_spectrum`` for one or several sources,
and neither position nor G flux.  Those come from the same table where it has them (people join
them), else from another one: `xpscale.archive.source_table`.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from xpscale.archive.hdf5 import hdf5_groups
from xpscale.archive.sources import MatchedSources
from xpscale.archive.table_correlations import joined_correlations, read_correlations
from xpscale.archive.tables import Table, explained, open_tables
from xpscale.bands import Bands
from xpscale.column_names import ColumnChoice
from xpscale.columns import SourceColumns, XpColumns, find_source_columns, find_xp_columns
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.expansion import zip_member
from xpscale.release import DR3, Release
from xpscale.spectra import SpectraBatch
from xpscale.stated_release import release_in_name
from xpscale.storage import Storage
from xpscale.storage.names import is_hidden
from xpscale.table_bands import StatedBands, bands_of, bands_of_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Lookup",
    "TableSpectra",
    "column_names",
    "is_other_product",
    "member_names",
    "read_spectra",
]

Lookup = Callable[["NDArray[np.int64]"], MatchedSources]
"""Looks up sources by identifier."""

OTHER_PRODUCTS = ("XP_SAMPLED", "MCMC_GSPPHOT", "MCMC_MSC", "EPOCH_PHOTOMETRY", "RVS")
"""What else a DataLink request brings; left aside by the beginning of the file's name."""


_MEMBER = re.compile(r".*\.(?:e?csv|fits?|xml|vot|votable)(?:\.gz)?", re.IGNORECASE)
"""Names of tables in a zip file; others are passed over."""


def is_other_product(name: str) -> bool:
    """Whether a file is, by its name, another DataLink product than continuous spectra."""
    return name.rsplit("/", 1)[-1].upper().startswith(OTHER_PRODUCTS)


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


def member_names(storage: Storage, key: str) -> tuple[list[str], list[str]]:
    """The members of a zip file that may hold continuous spectra, or the groups of an HDF5 file,
    ``[""]`` if it has none; and the members that are other products by their names.

    Parameters
    ----------
    storage, key
        The file.

    Raises
    ------
    InvalidInputError
        The file is damaged, or a zip holds other products only.
    """
    name = f"{storage.url}/{key}"
    with storage.open(key) as stream, explained(name):
        if not key.lower().endswith(".zip"):
            return hdf5_groups(stream, name), []
        with zipfile.ZipFile(stream) as archive:
            names = [item.filename for item in archive.infolist() if not item.is_dir()]
    members = [member for member in names if not is_hidden(member)]
    others = sorted(filter(is_other_product, members))
    chosen = sorted(m for m in members if _MEMBER.fullmatch(m) and m not in others)
    if not chosen:
        raise InvalidInputError(
            f"{name} has no continuous spectra, only {', '.join(members)}", "Ask for XP_CONTINUOUS"
        )
    return chosen, others


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
) -> TableSpectra:
    """All spectra of a file.

    Parameters
    ----------
    storage, key
        The file.
    member
        Member of a zip file, or group of an HDF5 file.
    sources
        Looks up positions, G flux and companions, for tables that have none.
    release, bands, columns
        What the user says of the file, if anything.
    correlations
        Whether to read the correlations of coefficients, too.

    Raises
    ------
    InvalidInputError
        The file is damaged, has no spectra, no errors, or no correlations that are wanted; or it
        has no positions and none are given.
    ConflictError
        Its tables are of different releases.
    """
    name = f"{storage.url}/{key}{'/' * bool(member)}{member}"
    found, kept, stated = [], [], StatedBands(bands, release=release)
    with _opened(storage, key, member) as stream:
        for table in open_tables(stream, name, member, correlations=correlations):
            with explained(name):
                found.append(_spectra(table, name, sources, stated, columns or ColumnChoice()))
                if correlations:
                    kept.append(read_correlations(table, found[-1].batch.bands, name))
    if len({part.batch.bands for part in found}) != 1:
        raise InvalidInputError(
            f"{name} has {len(found)} tables, of {'different widths' if found else 'spectra none'}"
        )
    batch = SpectraBatch.concatenate(part.batch for part in found)
    named = _one_release({part.release for part in found}, name)
    of_sources = np.concatenate([part.found for part in found])
    return TableSpectra(batch, of_sources, named, joined_correlations(kept))


def column_names(storage: Storage, key: str, member: str = "") -> tuple[str, ...]:
    """The columns of a file's first table.

    Parameters
    ----------
    storage, key, member
        As of `read_spectra`.

    Raises
    ------
    InvalidInputError
        The file is damaged, or has no table.
    """
    name = f"{storage.url}/{key}{'/' * bool(member)}{member}"
    with _opened(storage, key, member) as stream:
        for table in open_tables(stream, name, member):
            return tuple(table.names)
    raise InvalidInputError(f"{name} has no table")


def _spectra(
    table: Table,
    name: str,
    sources: Lookup | None,
    stated: StatedBands,
    choice: ColumnChoice,
) -> TableSpectra:
    layout = stated.release or DR3
    columns = find_xp_columns(table.names, name, layout, choice)
    if not columns.errors:
        raise InvalidInputError(f"{name} has no coefficient errors", "A spectra store needs them")
    source_id = table.identifiers(columns.source_id, layout)
    own = find_source_columns(table.names, name, layout, choice)
    matched = _matched(table, name, source_id, own or sources)
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
    table: Table,
    name: str,
    source_id: NDArray[np.int64],
    sources: SourceColumns | Lookup | None,
) -> MatchedSources:
    """What the table's own columns, or else a table of sources, tell of its rows."""
    if sources is None:
        raise InvalidInputError(
            f"{name} has no ra, dec and phot_g_mean_flux",
            "Give a table that has them: --sources FILE",
        )
    if not isinstance(sources, SourceColumns):
        return sources(source_id)
    n_rows = len(source_id)
    return MatchedSources(np.ones(n_rows, bool), sources.values(table.floats, source_id), n_rows)


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


@contextmanager
def _opened(storage: Storage, key: str, member: str) -> Iterator[BinaryIO]:
    with storage.open(key) as stream:
        if not key.lower().endswith(".zip"):
            yield stream
            return
        name = f"{storage.url}/{key}"
        with explained(name), zipfile.ZipFile(stream) as archive:
            data = zip_member(archive, member, f"{name}/{member}")
        yield cast(BinaryIO, io.BytesIO(data))
