"""A table of sources, whole in memory: that of one file of spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xpscale.archive.chosen_tables import has_sources, main_table
from xpscale.archive.sources import MatchedSources, SourceMatcher
from xpscale.archive.tables import Table, explained, open_tables
from xpscale.column_names import ColumnChoice, lacking_source_columns
from xpscale.columns import find_source_columns
from xpscale.errors import InvalidInputError
from xpscale.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["SourceTable", "read_source_table", "source_parts"]


@dataclass(frozen=True, slots=True, eq=False)
class SourceTable:
    """Rows of sources.

    Parameters
    ----------
    parts
        Identifiers and values, as of `SourceMatcher.add`, of one table after the other.
    """

    parts: tuple[tuple[NDArray[np.int64], Mapping[str, NDArray[np.float64]]], ...]

    def match(self, source_id: NDArray[np.int64]) -> MatchedSources:
        """The sources with these identifiers, with shape (N,), in any order."""
        matcher = SourceMatcher(source_id, list(self.parts[0][1]))
        for ids, values in self.parts:
            matcher.add(ids, values)
        return matcher.result()


def read_source_table(url: str, choice: ColumnChoice | None = None) -> SourceTable:
    """Sources from a Parquet, CSV, ECSV, FITS, VOTable or HDF5 file, whole into memory.

    Parameters
    ----------
    url
        The file.
    choice
        What the user says of the columns of sources.

    Raises
    ------
    InvalidInputError
        The file is damaged or lacks a column.
    """
    folder, _, key = Storage(url).url.rpartition("/")
    with Storage(folder).open(key) as stream:
        return SourceTable(
            tuple(source_parts(open_tables(stream, url), url, choice or ColumnChoice()))
        )


def source_parts(
    tables: Iterable[Table], where: str, choice: ColumnChoice
) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]]:
    """Identifiers and values, as of `SourceMatcher.add`, of the tables of a file that have sources.

    Parameters
    ----------
    tables
        All tables of the file.
    where
        What to call it in errors.
    choice
        What the user says of its columns.

    Raises
    ------
    InvalidInputError
        The file is damaged, or no table has all columns.
    """
    others: list[Sequence[str]] = []
    n_found = 0
    for table in tables:
        if not has_sources(table.names, choice=choice):
            others.append(table.names)
        elif columns := find_source_columns(table.names, where, choice=choice):
            n_found += 1
            with explained(where):
                source_id = table.identifiers(columns.source_id)
                values = columns.values(table.floats, source_id)
            yield source_id, values
    if not n_found:
        seen = main_table(others, choice=choice)
        find_source_columns(seen, where, choice=choice)
        raise InvalidInputError(
            lacking_source_columns(seen, where, choice=choice),
            "Select them from gaia_source, or say what they are called: --columns-map FILE",
        )
