"""What a spectrum needs from a table of sources: position, mean G flux and companions, by
``source_id``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from xpscale.archive.ecsv import EcsvReader
from xpscale.column_names import ColumnChoice
from xpscale.columns import SourceColumns
from xpscale.companions import COMPANIONS
from xpscale.release import DR3, Release

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MatchedSources", "SourceMatcher", "match_sources"]

NEEDED = ("ra", "dec", "phot_g_mean_flux")


@dataclass(frozen=True, slots=True, eq=False)
class MatchedSources:
    """Columns of a table of sources for given identifiers, row by row.

    Parameters
    ----------
    found
        Whether the table has the source, with shape (N,).
    values
        ``ra``, ``dec`` in degrees (ICRS), ``phot_g_mean_flux`` in electron/s, and companions;
        float64, each with shape (N,), NaN where not found or missing.
    n_rows
        Rows that were looked through.
    """

    found: NDArray[np.bool_]
    values: Mapping[str, NDArray[np.float64]]
    n_rows: int

    @property
    def companions(self) -> dict[str, NDArray[np.float64]]:
        """The companions among the values."""
        return {name: values for name, values in self.values.items() if name in COMPANIONS}


class SourceMatcher:
    """Picks wanted sources out of rows that pass by in any order; of a source that comes twice the
    first row counts.

    Parameters
    ----------
    source_id
        The wanted identifiers, with shape (N,), in any order, repeated or not.
    names
        Values to pick.
    """

    def __init__(self, source_id: NDArray[np.int64], names: Sequence[str]) -> None:
        self._wanted, self._back = np.unique(source_id, return_inverse=True)
        self._found = np.zeros(len(self._wanted), bool)
        self._values = {name: np.full(len(self._wanted), np.nan) for name in names}
        self._n_rows = 0

    @property
    def missing(self) -> NDArray[np.int64]:
        """Identifiers that have not come yet, ascending."""
        return self._wanted[~self._found]

    def add(self, source_id: NDArray[np.int64], values: Mapping[str, NDArray[np.float64]]) -> None:
        """Let rows pass by.

        Parameters
        ----------
        source_id
            Their identifiers, with shape (M,).
        values
            Their values by name, each with shape (M,).
        """
        self._n_rows += len(source_id)
        slots = np.searchsorted(self._wanted, source_id)
        inside = np.flatnonzero(slots < len(self._wanted))
        rows = inside[self._wanted[slots[inside]] == source_id[inside]]
        rows = rows[~self._found[slots[rows]]]
        fresh, first = np.unique(slots[rows], return_index=True)
        for name, column in self._values.items():
            column[fresh] = values[name][rows[first]]
        self._found[fresh] = True

    def result(self) -> MatchedSources:
        """The wanted sources in the order in which they were asked for."""
        values = {name: column[self._back] for name, column in self._values.items()}
        return MatchedSources(self._found[self._back], values, self._n_rows)


def match_sources(
    stream: BinaryIO,
    name: str,
    source_id: NDArray[np.int64],
    *,
    release: Release = DR3,
    choice: ColumnChoice | None = None,
) -> MatchedSources:
    """Look up sources in one source file of the archive, in one pass and without holding the file.

    Parameters
    ----------
    stream
        The ``.csv.gz`` file, open for reading.
    name
        What to call it in errors.
    source_id
        Gaia identifiers to look up, with shape (N,), in any order.
    release
        What the columns are called.
    choice
        Which companions to take, where the file has them, and where to place sources.

    Raises
    ------
    InvalidInputError
        The file is damaged or of another table.
    """
    choice = choice or ColumnChoice()
    floats = [release.column(column) for column in (*NEEDED, *choice.companions)]
    reader = EcsvReader(
        stream,
        name,
        integers=[release.column("source_id")],
        floats=floats,
        optional=floats[len(NEEDED) :],
        only=np.unique(source_id),
    )
    matcher = SourceMatcher(source_id, (*NEEDED, *choice.companions))
    ra, dec, g = floats[: len(NEEDED)]
    companions = tuple(zip(choice.companions, floats[len(NEEDED) :], strict=True))
    at = ("", "") if choice.pixel_positions else (ra, dec)
    columns = SourceColumns(release.column("source_id"), *at, g, False, companions)
    for chunk in reader.chunks():
        ids, by_name = chunk.integers[:, 0], dict(zip(floats, chunk.floats.T, strict=True))
        matcher.add(ids, columns.values(by_name.__getitem__, ids))
    found = matcher.result()
    absent = {its for its, column in companions if column in reader.absent}
    there = {name: values for name, values in found.values.items() if name not in absent}
    return MatchedSources(found.found, there, reader.n_rows)
