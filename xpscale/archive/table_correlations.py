"""The correlations of coefficients in a table, as DataLink products have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from xpscale.archive.tables import Table
from xpscale.bands import Bands
from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CORRELATIONS = ("bp_coefficient_correlations", "rp_coefficient_correlations")

__all__ = ["joined_correlations", "read_correlations"]


def read_correlations(table: Table, bands: Bands, name: str) -> list[NDArray[np.float32]]:
    """BP and RP correlations of a table's N rows, each with shape (N, n (n - 1) / 2) for the n
    coefficients of its band, in the archive's order; NaN where missing.

    Parameters
    ----------
    table
        The table.
    bands
        Coefficients of its bands.
    name
        What to call it in errors.

    Raises
    ------
    InvalidInputError
        The table has none, or another number of them.
    """
    known = {column.lower(): column for column in table.names}
    if not {*CORRELATIONS} <= {*known}:
        raise InvalidInputError(
            f"{name} has no {' and '.join(CORRELATIONS)}", "Leave out --correlations"
        )
    found = [table.vectors(known[column]) for column in CORRELATIONS]
    for i, width in enumerate(bands.n_correlations):
        n_rows, n = found[i].shape
        if n not in (0, width):
            raise InvalidInputError(
                f"{name} has {n:,} {CORRELATIONS[i]} a row, not {width:,}", "Fetch it again"
            )
        found[i] = found[i] if n else np.full((n_rows, width), np.nan, np.float32)
    return found


def joined_correlations(
    tables: Sequence[Sequence[NDArray[np.float32]]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Those of several tables, one after the other; ``None`` if they were not read."""
    bp, rp = ([of_table[i] for of_table in tables if of_table] for i in range(2))
    return (np.concatenate(bp), np.concatenate(rp)) if bp else None
