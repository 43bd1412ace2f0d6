"""The colour-magnitude diagram as a histogram: bright above, blue to the left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LogNorm

from xpscale.errors import InvalidInputError
from xpscale.plots.style import GREY, credit, headline, new_axes, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import NDArray

__all__ = ["colour_magnitude"]

SHARE_OUTSIDE = 2e-4
"""Of the sources, at each end of each axis, that may lie outside the figure."""


def colour_magnitude(
    counts: NDArray[np.int64],
    colour_edges: NDArray[np.float64],
    magnitude_edges: NDArray[np.float64],
    *,
    colour: str = "BP − RP",
    magnitude: str = "G",
    n_left_out: int = 0,
    provenance: dict[str, str] | None = None,
    ax: Axes | None = None,
) -> tuple[Figure | SubFigure, Axes]:
    """Counts of sources by colour and magnitude.

    Parameters
    ----------
    counts
        Sources in each cell, with shape (M, K): magnitudes, colours.
    colour_edges, magnitude_edges
        Borders of the cells in magnitudes, with shapes (K + 1,) and (M + 1,).
    colour, magnitude
        What they are, in words.
    n_left_out
        Sources that are not in the counts.
    provenance
        May name ``model_id`` and ``snapshot``, for the title.
    ax
        Axes to draw on.

    Raises
    ------
    InvalidInputError
        The shapes do not fit, or there is no source.
    """
    if counts.shape != (len(magnitude_edges) - 1, len(colour_edges) - 1) or not counts.any():
        raise InvalidInputError(
            f"counts have shape {counts.shape} and sum {counts.sum()}, the edges"
            f" {len(magnitude_edges)} magnitudes and {len(colour_edges)} colours",
            "Give the fields of one xpscale.query.colour_counts.ColourMagnitude",
        )
    n_rows = int(counts.sum())
    with style():
        fig, ax = new_axes(ax, figsize=(5.6, 6.6), layout="constrained")
        shown = np.ma.masked_equal(counts, 0)
        mesh = ax.pcolormesh(
            colour_edges,
            magnitude_edges,
            shown,
            cmap="cividis",
            norm=LogNorm(1, max(int(counts.max()), 2)),
            rasterized=True,
        )
        faint, bright = _limits(counts.sum(1), magnitude_edges)[::-1]
        ax.set(xlim=_limits(counts.sum(0), colour_edges), ylim=(faint, bright))
        ax.set(xlabel=f"{colour} [mag]", ylabel=f"{magnitude} [mag]")
        fig.colorbar(mesh, ax=ax, pad=0.02, aspect=40).set_label("sources per cell")
        title = headline("Colour and magnitude", n_rows, provenance)
        ax.set_title(title, pad=10, fontsize=9)
        if n_left_out:
            note = f"{n_left_out:,} sources are left out: no colour, or no good parallax"
            fig.supxlabel(note, x=0.01, ha="left", fontsize=7, color=GREY)
        credit(fig)
    return fig, ax


def _limits(counts: NDArray[np.int64], edges: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of an axis that leave out few sources at each."""
    share = np.cumsum(counts) / counts.sum()
    first = int(np.searchsorted(share, SHARE_OUTSIDE))
    last = int(np.searchsorted(share, 1 - SHARE_OUTSIDE))
    margin = 3 * (edges[1] - edges[0])
    return float(edges[first] - margin), float(edges[last + 1] + margin)
