"""Which tables hold spectra, and which sources: of files in a folder, or of one file that holds
several, such as the HDUs of a FITS file.
"""

from __future__ import annotations

from collections.abc import Sequence

from xpscale.column_names import ColumnChoice
from xpscale.columns import find_source_columns, find_xp_columns
from xpscale.errors import InvalidInputError
from xpscale.release import DR3, Release

__all__ = ["has_sources", "has_spectra", "main_table", "require_spectra"]

MOST_NAMES = 5
"""Columns of a table that a message names."""


def has_spectra(
    names: Sequence[str], release: Release = DR3, choice: ColumnChoice | None = None
) -> bool:
    """Whether there are coefficients, be they such as are refused.

    Parameters
    ----------
    names
        Columns of a table.
    release, choice
        As of `xpscale.columns.find_xp_columns`.
    """
    try:
        find_xp_columns(names, "", release, choice)
    except InvalidInputError:
        return any("coef" in name.lower() for name in names)
    return True


def has_sources(
    names: Sequence[str], release: Release = DR3, choice: ColumnChoice | None = None
) -> bool:
    """Whether there are identifiers, positions and the G flux.

    Parameters
    ----------
    names, release, choice
        As of `has_spectra`.
    """
    try:
        return find_source_columns(names, "", release, choice) is not None
    except InvalidInputError:
        return False


def main_table(
    tables: Sequence[Sequence[str]], release: Release = DR3, choice: ColumnChoice | None = None
) -> Sequence[str]:
    """The columns of the first table of spectra, else of the first of sources, else of the first.

    Parameters
    ----------
    tables
        The columns of each table of a file.
    release, choice
        As of `has_spectra`.
    """
    for holds in (has_spectra, has_sources):
        for names in tables:
            if holds(names, release, choice):
                return names
    return next(iter(tables), ())


def require_spectra(
    tables: Sequence[Sequence[str]],
    where: str,
    release: Release = DR3,
    choice: ColumnChoice | None = None,
) -> None:
    """Refuse a file none of whose tables holds spectra.

    Parameters
    ----------
    tables
        The columns of each.
    where
        What to call the file.
    release, choice
        As of `has_spectra`.

    Raises
    ------
    InvalidInputError
        The message names the columns that were seen.
    """
    if len(tables) > 1 and not any(has_spectra(names, release, choice) for names in tables):
        seen = [
            ", ".join(names[:MOST_NAMES]) + " ..." * (len(names) > MOST_NAMES) for names in tables
        ]
        listed = "; ".join(f"table {number}: {names}" for number, names in enumerate(seen, 1))
        raise InvalidInputError(
            f"{where} has {len(seen)} tables, none with XP coefficients: {listed}",
            "If one has them under other names, say so: --columns-map FILE",
        )
    find_xp_columns(main_table(tables, release, choice), where, release, choice)
