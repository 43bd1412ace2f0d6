"""Maps of the sky, aggregated where the rows are: only one number a pixel leaves the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError
from xpscale.query.catalog import Catalog
from xpscale.query.convert import array
from xpscale.query.engine import ARRAYS, unknown_column
from xpscale.query.selection import Selection
from xpscale.sky import INDEX_ORDER

__all__ = ["SkyMap", "sky_map"]


ROWS_A_PIXEL = 20


@dataclass(frozen=True, slots=True, eq=False)
class SkyMap:
    """One number a HEALPix pixel.

    Parameters
    ----------
    order
        HEALPix order, NESTED, ICRS.
    pixels
        Numbers of the pixels that have rows, int64, sorted, with shape (P,).
    values
        Sources, or the median of a column, with shape (P,).
    n_rows
        Sources in the map.
    """

    order: int
    pixels: NDArray[np.int64]
    values: NDArray[np.float64]
    n_rows: int


def sky_map(
    rows: Catalog | Selection, column: str | None = None, order: int | None = None
) -> SkyMap:
    """Number of sources, or the median of a column, in each HEALPix pixel.

    Parameters
    ----------
    rows
        A catalogue or a selection.
    column
        A scalar column; ``None`` counts.  NaN is left out of the median, and a pixel of only NaN is
        NaN.
    order
        HEALPix order of the map, 0 to 12; by default the deepest up to 8 with some `ROWS_A_PIXEL`
        sources a pixel, if they were spread evenly.
    """
    selection = rows.select() if isinstance(rows, Catalog) else rows
    if order is None:
        sparse = max(selection.count(), 1) / (12 * ROWS_A_PIXEL)
        order = min(max(int(np.log2(sparse) / 2) if sparse > 1 else 0, 2), 8)
    if not 0 <= order <= 12:
        raise InvalidInputError(
            f"a map of order {order} is not possible", "Choose an order from 0 to 12"
        )
    scalars = [name for name in selection.catalog.column_names if name not in ARRAYS]
    if column is not None:
        selection = selection.columns(column)
        (column, *others) = selection.names
        if others or column not in scalars:
            raise unknown_column(column, scalars)
    value = (
        "count(*)"
        if column is None
        else f'median("{column}") FILTER (NOT isnan("{column}"::DOUBLE))'
    )
    pixel = f"_healpix_29 >> {2 * (INDEX_ORDER - order)}"
    table: Any = selection.aggregate(
        f"{pixel} AS pixel, coalesce({value}::DOUBLE, 'nan') AS value, count(*) AS n", "pixel"
    )
    values, n_rows = array(table["value"]), int(array(table["n"]).sum())
    return SkyMap(order, array(table["pixel"]), values, n_rows)
