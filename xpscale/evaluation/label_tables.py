"""A user's table of labels: which of its columns are what, and the labels of given stars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.query.user_table import known_numbers, known_rows, name_of, read_table

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["LEAST_STARS", "LabelTable", "read_labels"]

LEAST_STARS = 50
"""Fewer stars with labels tell nothing."""

USUAL_NAMES = {
    "teff": ("teff", "t_eff", "teff_k"),
    "logg": ("logg", "log_g"),
    "fe_h": ("fe_h", "feh", "mh", "m_h", "mh_xgboost"),
    "alpha_m": ("alpha_m", "alpha_fe", "alpham", "alphafe", "a_m", "alpha"),
    "extinction": ("extinction", "a_g", "a_v", "av", "ag_gspphot", "ebv"),
}
"""What the columns of labels are often called, small letters, best first."""

SOURCE_IDS = ("source_id", "dr3_source_id", "gaia_source_id", "gaiaedr3_source_id", "gaia_id")
TRUE_SCATTER = "true_scatter"


@dataclass(frozen=True, slots=True, eq=False)
class LabelTable:
    """Labels of stars.

    Parameters
    ----------
    name
        Where they come from, for messages.
    source_id
        Ascending, distinct, with shape (M,).
    labels
        By name, float64, with shape (M,), NaN where not known.
    true_scatter
        Of a synthetic universe: the planted intrinsic scatter in electron/s, with shape (M, C).
    """

    name: str
    source_id: NDArray[np.int64]
    labels: Mapping[str, NDArray[np.float64]]
    true_scatter: NDArray[np.float32] | None = None

    def rows_of(self, source_id: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of stars, with shape (N,); -1 where there is none."""
        rows = np.searchsorted(self.source_id, source_id).clip(max=len(self.source_id) - 1)
        return np.where(self.source_id[rows] == source_id, rows, -1)

    def of(self, source_id: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """The labels of stars by name, with shape (N,), NaN where not known."""
        rows = self.rows_of(source_id)
        return {
            name: np.where(rows >= 0, values[rows], np.nan) for name, values in self.labels.items()
        }


def read_labels(source: Any, columns: Mapping[str, str] | None = None) -> LabelTable:
    """Read a table of labels.

    Parameters
    ----------
    source
        A Parquet, CSV, FITS, VOTable or ECSV file, or a table in memory, with ``source_id``; of a
        source that comes twice the first row with the label counts.
    columns
        The column of a label, by the label's name, where it is not one of the usual names; a name
        that is not usual adds a label.

    Raises
    ------
    NotFoundError
        There is no such file.
    InvalidInputError
        It has no ``source_id`` or no label, a column that is named is missing or no number, or a
        label is the same for all stars.
    """
    table, name = read_table(source), name_of(source)
    by_name = {column.lower(): column for column in reversed(table.column_names)}
    key = next((by_name[known] for known in SOURCE_IDS if known in by_name), None)
    if key is None:
        raise InvalidInputError(
            f"{name} has no column source_id, only {_listed(table.column_names)}",
            "Give a table of labels with Gaia identifiers",
        )
    chosen = {
        label: by_name[next(filter(by_name.__contains__, usual))]
        for label, usual in USUAL_NAMES.items()
        if not set(usual).isdisjoint(by_name)
    } | dict(columns or {})
    if not chosen:
        raise InvalidInputError(
            f"{name} has no label: none of its columns {_listed(table.column_names)} is called"
            f" {', '.join(USUAL_NAMES)}",
            "Name them with --label teff=COLUMN",
        )
    source_id = _integers(table, key, name)
    ids, first = np.unique(source_id, return_index=True)
    every = {label: _numbers(table, column, name) for label, column in chosen.items()}
    labels = {label: values[known_rows(source_id, values)] for label, values in every.items()}
    planted = None
    if TRUE_SCATTER in table.column_names:
        flat = table[TRUE_SCATTER].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        planted = flat.reshape(len(table), -1).astype(np.float32)[first]
    return LabelTable(name, ids, labels, planted)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + " ..." * (len(names) > 8)


def _integers(table: pa.Table, column: str, name: str) -> NDArray[np.int64]:
    import pyarrow as pa

    try:
        values = table[column].cast(pa.int64()).combine_chunks()
    except pa.ArrowInvalid as error:
        raise InvalidInputError(
            f"{name}: column {column} holds no whole numbers", "Give Gaia identifiers, int64"
        ) from error
    if values.null_count:
        raise InvalidInputError(
            f"{name}: {values.null_count:,} rows have no {column}", "Leave these rows out"
        )
    return np.asarray(values.to_numpy(zero_copy_only=False), np.int64)


def _numbers(table: pa.Table, column: str, name: str) -> NDArray[np.float64]:
    import pyarrow as pa

    if column not in table.column_names:
        raise InvalidInputError(
            f"{name} has no column {column}, only {_listed(table.column_names)}",
            "Correct --label",
        )
    try:
        return known_numbers(table, column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidInputError(
            f"{name}: column {column} holds no numbers", "Choose another one with --label"
        ) from error
