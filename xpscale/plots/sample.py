"""Object density, cell by cell, and what a sample draws of it.

Where cells have a position, the density and the drawn sample are two maps: in colour and magnitude,
or on the sky.  Cells in latent space are bins of a hash and have none; there both are shown against
the rank of the cell.  A further panel shows the effect of the rule: drawn against available objects
of every cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.ticker import NullFormatter

from xpscale.plots.sky import sky
from xpscale.plots.style import BLUE, GREY, VERMILION, credit, figure_or_new, headline, style
from xpscale.sampling.cells import ColourMagnitudeCells, SkyCells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import NDArray

    from xpscale.sampling.sample import SamplePlan

__all__ = ["sample_density"]

NONE_DRAWN = "#D9D9D9"
BINS_PER_DECADE = 5
MIN_PER_PIXEL = 5
"""Least mean number of objects in a pixel of a map; coarser pixels are used otherwise."""

MAPS = {"available": "Object density", "drawn": "Drawn sample"}
"""Panels that have a map each, and their titles."""

LAYOUTS: dict[str, tuple[Any, tuple[float, float]]] = {
    ColourMagnitudeCells.by: ([["available", "drawn", "rule"]], (11.5, 4.2)),
    SkyCells.by: ([["available", "rule"], ["drawn", "rule"]], (10.5, 7.2)),
}
RANKED = [["ranks", "rule"]], (8.5, 4.0)


def sample_density(
    plan: SamplePlan, *, figure: Figure | SubFigure | None = None
) -> tuple[Figure | SubFigure, dict[str, Axes]]:
    """The density a sample was drawn by, the drawn objects, and the one against the other.

    Parameters
    ----------
    plan
        Plan of the sample, also from the card of a model trained on it (`SamplePlan.from_dict`).
    figure
        Where to draw; a new figure if not given.

    Returns
    -------
    figure, axes
        The figure, and its axes by name: ``"rule"``; ``"available"`` and ``"drawn"`` for the maps,
        or ``"ranks"``.
    """
    cell, available, drawn = (
        np.array(values, np.int64) for values in (plan.cell, plan.available, plan.drawn)
    )
    mosaic, size = LAYOUTS.get(plan.cells["by"], RANKED)
    with style():
        figure = figure_or_new(figure, figsize=size, layout="constrained")
        widths = [1.8, 1] if plan.cells["by"] == SkyCells.by else None
        axes = figure.subplot_mosaic(mosaic, width_ratios=widths)
        sizes = {name: value for name, value in plan.cells.items() if name != "by"}
        if plan.cells["by"] == ColourMagnitudeCells.by:
            _diagrams(axes, ColourMagnitudeCells(**sizes), cell, available, drawn)
        elif plan.cells["by"] == SkyCells.by:
            _skies(axes, SkyCells(**sizes), cell, available, drawn)
        else:
            _ranks(axes["ranks"], available, drawn)
        _rule(axes["rule"], available, drawn)
        title = headline(
            f"Sample, {plan.name}", int(drawn.sum()), noun=f"of {plan.n_available:,} objects"
        )
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        credit(figure, y=0.965)  # at the top, where it covers no label
    return figure, axes


def _diagrams(
    axes: dict[str, Axes],
    cells: ColourMagnitudeCells,
    cell: NDArray[np.int64],
    available: NDArray[np.int64],
    drawn: NDArray[np.int64],
) -> None:
    """Two colour-magnitude diagrams, cropped to what is occupied."""
    i, j = np.divmod(cell, cells.shape[1])
    n_colours, n_magnitudes = cells.shape
    edges = (
        cells.colours[0] + cells.colour_width * np.arange(n_colours + 1),
        cells.magnitudes[0] + cells.magnitude_width * np.arange(n_magnitudes + 1),
    )
    for (name, title), counts in zip(MAPS.items(), (available, drawn), strict=True):
        ax = axes[name]
        grid, known = (np.full(cells.shape, np.nan) for _ in range(2))
        grid[i[counts > 0], j[counts > 0]] = counts[counts > 0]
        known[i[counts == 0], j[counts == 0]] = 1
        ax.pcolormesh(*edges, known.T, cmap=ListedColormap([NONE_DRAWN]), vmin=0, vmax=1)
        image = ax.pcolormesh(*edges, grid.T, cmap="cividis", norm=_counts_norm(counts))
        label = "objects per cell" + "  (grey: none)" * bool((counts == 0).any())
        ax.figure.colorbar(image, ax=ax, orientation="horizontal", aspect=30, label=label)
        ax.set(title=title, xlabel=r"$G_\mathrm{BP} - G_\mathrm{RP}$ [mag]", ylabel="G [mag]")
        if len(cell):
            ax.set_xlim(edges[0][max(i.min() - 1, 0)], edges[0][min(i.max() + 2, n_colours)])
            bright, faint = max(j.min() - 1, 0), min(j.max() + 2, n_magnitudes)
            ax.set_ylim(edges[1][faint], edges[1][bright])  # bright stars are at the top


def _skies(
    axes: dict[str, Axes],
    cells: SkyCells,
    cell: NDArray[np.int64],
    available: NDArray[np.int64],
    drawn: NDArray[np.int64],
) -> None:
    """Two maps of the sky, in pixels coarse enough to hold some objects; held-out ones are grey in
    both.
    """
    order = cells.order
    while order and available.sum() < MIN_PER_PIXEL * len(
        np.unique(cell >> 2 * (cells.order - order))
    ):
        order -= 1
    pixels, place = np.unique(cell >> 2 * (cells.order - order), return_inverse=True)
    for (name, title), counts in zip(MAPS.items(), (available, drawn), strict=True):
        ax, totals = axes[name], np.bincount(place, counts, len(pixels))
        sky(pixels[totals > 0], totals[totals > 0], order, ax=ax)
        ax.set_title(
            f"{title} · HEALPix order {order}" + f", cells of {cells.order}" * (order < cells.order)
        )
        bar = ax.images[0].colorbar
        if bar is not None:
            bar.set_label("objects per square degree  (grey: none)")
            bar.ax.xaxis.set_minor_formatter(NullFormatter())


def _ranks(ax: Axes, available: NDArray[np.int64], drawn: NDArray[np.int64]) -> None:
    """Objects against the rank of their cell, the densest first; of those drawn the mean over cells
    of similar rank.
    """
    order = np.argsort(-available, kind="stable")
    rank = np.arange(1, len(order) + 1)
    ax.plot(rank, available[order], color=BLUE, lw=1.8, label="object density")
    ax.plot(*_means(rank, drawn[order]), color=VERMILION, lw=1.2, marker=".", label="drawn: mean")
    ax.set(
        xscale="log",
        yscale="log",
        title="Cells by rank",
        xlabel="rank, densest first",
        ylabel="objects per cell",
    )
    ax.legend()


def _rule(ax: Axes, available: NDArray[np.int64], drawn: NDArray[np.int64]) -> None:
    """Drawn against available objects: points are cells, the line is the mean over cells of similar
    density.
    """
    pairs, n_cells = np.unique(np.stack([available, drawn]), axis=1, return_counts=True)
    ax.scatter(
        pairs[0], pairs[1], s=4 + 6 * np.log10(n_cells), color=BLUE, alpha=0.45, lw=0, label="cells"
    )
    ax.plot(*_means(available, drawn), color=VERMILION, label="their mean")
    top = max(int(available.max(initial=1)), 2)
    ax.plot([1, top], [1, top], color=GREY, lw=0.8, ls="--", label="all of the cell")
    ax.set_xscale("log")
    # cells of which nothing is drawn lie on the axis
    ax.set_yscale("symlog", linthresh=1, linscale=0.5)
    ax.set(
        xlim=(0.8, 1.5 * top),
        title="The rule",
        xlabel="available objects in the cell",
        ylabel="drawn of the cell",
    )
    ax.set_ylim(-0.15, 1.5 * top)
    ax.legend(loc="upper left")


def _means(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of x and y in logarithmic bins of x, where these are above 0."""
    numbers = np.floor(BINS_PER_DECADE * np.log10(x)).astype(int)
    size = np.bincount(numbers)
    some = size > 0
    means = [np.bincount(numbers, weights=values)[some] / size[some] for values in (x, y)]
    return means[0], means[1]


def _counts_norm(counts: NDArray[np.int64]) -> LogNorm:
    """Logarithmic colours from one object to the most."""
    return LogNorm(1, max(int(counts.max(initial=1)), 2))
