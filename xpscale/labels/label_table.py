"""The labels in a user's table: which columns, and which hold their errors."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError
from xpscale.query.user_table import known_numbers

__all__ = ["error_column", "label_columns", "values_and_errors"]

ERROR_NAMES = ("{}_err", "{}_error", "e_{}", "err_{}", "{}err", "sigma_{}")


def error_column(name: str, names: Sequence[str]) -> str:
    """The column with the errors of another, by its usual names; empty if there is none.

    >>> error_column("teff", ["source_id", "teff", "TEFF_ERR"])
    'TEFF_ERR'

    Parameters
    ----------
    name
        The other column.
    names
        All columns.
    """
    by_lower = {each.lower(): each for each in names}
    found = (by_lower.get(pattern.format(name.lower())) for pattern in ERROR_NAMES)
    return next((each for each in found if each), "")


def label_columns(table: pa.Table, asked: Sequence[str], where: str) -> dict[str, str]:
    """The columns of labels, each with that of its errors or an empty name.

    Parameters
    ----------
    table
        The user's table.
    asked
        Columns that the user names; if none, those that have a column of errors.
    where
        What to call the table in errors.

    Raises
    ------
    InvalidInputError
        A column is not there, holds no numbers, or none is named and none has errors.
    """
    kinds = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal)
    numbers = [field.name for field in table.schema if any(kind(field.type) for kind in kinds)]
    for name in asked:
        if name not in numbers:
            problem = "holds no numbers" if name in table.column_names else "is not there"
            raise InvalidInputError(
                f"{where}: the column {name!r} {problem}",
                f"Columns of numbers: {', '.join(numbers)}",
            )
    is_position = re.compile(r"(ra|dec|parallax|pm|pmra|pmdec|source_id)(_?icrs|j2000)?", re.I)
    chosen = asked or [
        name for name in numbers if error_column(name, numbers) and not is_position.fullmatch(name)
    ]
    if not chosen:
        raise InvalidInputError(
            f"{where} does not say which columns are labels: none has a column of errors",
            f"Name them: --columns A,B of {', '.join(numbers)}",
        )
    return {name: error_column(name, numbers) for name in chosen}


def values_and_errors(
    table: pa.Table, name: str, errors: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A label and its errors, each with shape (N,); NaN where the label is not known or its error
    no error; errors 0 if there are none.

    Parameters
    ----------
    table
        N rows.
    name, errors
        Columns; ``errors`` may be empty.
    """
    values = known_numbers(table, name)
    if not errors:
        return values, np.zeros(len(values))
    found = known_numbers(table, errors)
    values[~(found >= 0)] = np.nan
    return values, np.where(found >= 0, found, np.nan)
