"""Many points in a panel as square cells: how many there are in each, or the median of a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

__all__ = ["N_CELLS", "counts", "draw_cells", "medians"]

N_CELLS = 70
"""Across a panel."""


def _cell_numbers(
    x: NDArray[Any], y: NDArray[Any], extent: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The cell of each point inside a panel, and which points these are."""
    left, right, low, high = extent
    column = (x - left) * (N_CELLS / (right - left))
    row = (y - low) * (N_CELLS / (high - low))
    inside = (column >= 0) & (column < N_CELLS) & (row >= 0) & (row < N_CELLS)
    return row[inside].astype(np.int64) * N_CELLS + column[inside].astype(np.int64), inside


def counts(x: NDArray[Any], y: NDArray[Any], extent: Sequence[float]) -> NDArray[np.float64]:
    """Points in each cell, with shape (`N_CELLS` ** 2,); NaN for none.

    Parameters
    ----------
    x, y
        Of the points, with shape (N,).
    extent
        Left, right, lower and upper edge of the panel.
    """
    found = np.bincount(_cell_numbers(x, y, extent)[0], minlength=N_CELLS**2)
    return np.where(found, found, np.nan)


def medians(
    x: NDArray[Any], y: NDArray[Any], values: NDArray[Any], extent: Sequence[float]
) -> NDArray[np.float64]:
    """Median of the values in each cell, with shape (`N_CELLS` ** 2,); NaN where there are none.

    Parameters
    ----------
    x, y, values
        Of the points, with shape (N,).
    extent
        As of `counts`.
    """
    number, inside = _cell_numbers(x, y, extent)
    order = np.argsort(values[inside])
    # by cell, then by value: numbers of 16 bits are sorted far faster than others
    order = order[np.argsort(number[order].astype(np.uint16), kind="stable")]
    ranked = values[inside][order].astype(np.float64)
    cells, first, n = np.unique(number[order], return_index=True, return_counts=True)
    found = np.full(N_CELLS**2, np.nan)
    found[cells] = (ranked[first + (n - 1 >> 1)] + ranked[first + (n >> 1)]) / 2
    return found


def draw_cells(ax: Axes, values: NDArray[Any], extent: Sequence[float], **look: Any) -> AxesImage:
    """Draw one colour for each cell; what is NaN stays empty.

    Parameters
    ----------
    ax
        The panel.
    values
        From `counts` or `medians`.
    extent
        As of `counts`.
    look
        Of ``Axes.imshow``.
    """
    image = values.reshape(N_CELLS, N_CELLS)
    place: dict[str, Any] = {"extent": (*extent,), "origin": "lower", "aspect": "auto"}
    return ax.imshow(np.ma.masked_invalid(image), interpolation="nearest", **place, **look)
