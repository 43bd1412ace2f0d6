"""The latent space as a grid of projections, coloured by one quantity below the diagonal and by
another above it.

A latent is *active* if its posterior mean varies over the sources; a collapsed one has the prior as
its posterior for every source and its mean does not move.  The threshold of 0.01 on that variance
is that of Burda, Grosse & Salakhutdinov 2016 (*Importance Weighted Autoencoders*, ICLR, section 5),
who find the two kinds clearly separated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.plots.panel_cells import counts, draw_cells, medians
from xpscale.plots.style import BLACK, BLUE, GREY, credit, figure_or_new, headline, style

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import NDArray

    from xpscale.plots.colour import Colour

__all__ = ["ACTIVE_VARIANCE", "latents"]

ACTIVE_VARIANCE = 0.01
TWIN_CORRELATION = 0.9  # of the means: beyond it two latents carry the same information
MANY = 100_000  # from here on points would hide each other, and cells show the median
PANEL_INCH = 1.9
SIDES_INCH, ENDS_INCH = (0.75, 1.0), (0.5, 0.75)  # left and right; top and bottom


def latents(
    table: pa.Table,
    color: Colour | None = None,
    color_above: Colour | None = None,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    provenance: dict[str, str] | None = None,
    figure: Figure | SubFigure | None = None,
) -> tuple[Figure | SubFigure, NDArray[Any]]:
    """Projections of the active latents.

    Parameters
    ----------
    table
        Rows of the catalogue: ``source_id`` and all ``latent_mean_*``.
    color
        What colours the panels below the diagonal; without it they show density.
    color_above
        What colours the panels above the diagonal, which stay empty without it.
    pairs
        Only these pairs of latents (horizontal, vertical), in one row, coloured by ``color``.
    provenance
        May name ``model_id`` and ``snapshot``, for the title.
    figure
        Where to draw; a new figure if not given.

    Returns
    -------
    figure, axes
        Axes with shape (K, K) for K active latents, ``None`` where nothing is drawn, or (1, P) for
        P pairs.

    Raises
    ------
    InvalidInputError
        The table has no latents or fewer than two rows, a pair names a latent that is not there,
        or no row has a value of a colour.
    """
    columns, source_id = _means(table), _values(table["source_id"])
    variance = {i: float(np.nanvar(values)) for i, values in columns.items()}
    active = [i for i in columns if variance[i] > ACTIVE_VARIANCE]
    with style():
        if pairs is not None:
            fig, axes, bars = _row(figure, len(pairs))
            panels = [(axes[0, k], x, y, color) for k, (x, y) in enumerate(pairs)]
            for ax, x, y, _ in panels:
                ax.set(xlabel=f"latent {x}", ylabel=f"latent {y}")
        else:
            is_full = color_above is not None
            fig, axes, bars = _square(figure, max(len(active), 1), is_full=is_full)
            panels = _grid(axes, active, columns, color, color_above)
        drawn = [
            (quantity, _panel(ax, columns, x, y, quantity, source_id))
            for ax, x, y, quantity in panels
        ]
        _share_norm([artist for quantity, artist in drawn if quantity is None])
        # the first panel that is drawn lies above the diagonal, if any does
        _colour_bars(fig, bars, sorted(drawn, key=lambda each: each[0] is not color))
        title = headline("Latents", table.num_rows, provenance)
        fig.suptitle(title, x=0.01, ha="left", fontsize=10)
        note = _note(active, columns, variance)
        fig.supxlabel(note, x=0.01, ha="left", fontsize=7.5, color=GREY)
        credit(fig)
    return fig, axes


def _means(table: pa.Table) -> dict[int, NDArray[np.float64]]:
    """Posterior means by number of the latent, each with shape (N,); NaN where not finite."""
    names = [name for name in table.column_names if name.startswith("latent_mean_")]
    if not names or table.num_rows < 2:
        raise InvalidInputError(
            f"the table has {table.num_rows} rows and {len(names)} latents",
            "Select some rows with all latent_mean_*",
        )
    columns = {
        int(name.rsplit("_", 1)[1]): _values(table[name]).astype(np.float64) for name in names
    }
    return {i: np.where(np.isfinite(values), values, np.nan) for i, values in columns.items()}


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    if column.null_count:
        return np.asarray(column)
    # np.asarray would import pandas
    return np.concatenate([np.from_dlpack(chunk) for chunk in column.chunks])


def _note(active: list[int], columns: dict[int, NDArray[Any]], variance: dict[int, float]) -> str:
    """Which latents are active, which of them agree, which are not shown."""
    note = f"{len(active)} of {len(columns)} latents are active{_twins(active, columns)}"
    collapsed = [f"{i} (variance {variance[i]:.1g})" for i in columns if i not in active]
    return note + (f"; collapsed and left out: {', '.join(collapsed)}" if collapsed else "")


def _twins(active: list[int], columns: dict[int, NDArray[Any]]) -> str:
    """The pairs of active latents that carry the same information: a copy adds no dimension."""
    found = []
    for i, x in enumerate(active):
        for y in active[i + 1 :]:
            known = np.isfinite(columns[x]) & np.isfinite(columns[y])
            r = np.corrcoef(columns[x][known], columns[y][known])[0, 1]
            if abs(r) > TWIN_CORRELATION:
                found.append(f"{x} and {y} (r = {r:.2f})")
    return f"; strongly correlated: {', '.join(found)}" if found else ""


def _row(
    figure: Figure | SubFigure | None, n: int
) -> tuple[Figure | SubFigure, NDArray[Any], list[Axes]]:
    """Panels next to each other, and the axes of a colour bar."""
    figure = figure_or_new(figure, figsize=(3.1 * n + 0.8, 3.3), layout="constrained")
    axes = figure.subplots(1, n + 1, squeeze=False, width_ratios=[*[1] * n, 0.06])
    return figure, axes[:, :n], [axes[0, n]]


def _square(
    figure: Figure | SubFigure | None, n: int, *, is_full: bool
) -> tuple[Figure | SubFigure, NDArray[Any], list[Axes]]:
    """Panels in a square, ``None`` above the diagonal unless it is full; and the axes of the colour
    bars, the lower one first.  Their places are given: to find room for each label takes longer
    than to draw the panels.
    """
    size = PANEL_INCH * n
    figure = figure_or_new(figure, figsize=(size + sum(SIDES_INCH), size + sum(ENDS_INCH)))
    width, height = (float(side) / figure.dpi for side in figure.bbox.size)
    (left, right), (top, bottom) = SIDES_INCH, ENDS_INCH
    edges = {"left": left / width, "right": 1 - right / width}
    edges |= {"top": 1 - top / height, "bottom": bottom / height}
    cells = figure.add_gridspec(n, n, wspace=0.04, hspace=0.04, **edges)
    axes = np.full((n, n), None, object)
    for row, column in np.ndindex(n, n):
        if is_full or row >= column:
            axes[row, column] = figure.add_subplot(cells[row, column])
    half, x = (edges["top"] - edges["bottom"]) / 2, 1 - (right - 0.2) / width
    starts = [edges["bottom"], edges["bottom"] + half * 1.04] if is_full else [edges["bottom"]]
    places = [(x, start, 0.22 / width, half * 0.96) for start in starts]
    return figure, axes, [figure.add_axes(place) for place in places]


def _grid(
    axes: NDArray[Any],
    active: list[int],
    columns: dict[int, NDArray[Any]],
    below: Colour | None,
    above: Colour | None,
) -> list[tuple[Axes, int, int, Colour | None]]:
    """Draw histograms on the diagonal; returns the other panels, with the latents and the colour of
    each.
    """
    panels = []
    if not active:
        axes[0, 0].set_axis_off()
    for row, y in enumerate(active):
        for column, x in enumerate(active):
            ax = axes[row, column]
            if ax is None:
                continue
            if row == column:
                low, high = _limits(columns[x])
                ax.hist(
                    columns[x],
                    bins=60,
                    range=(low, high),
                    histtype="stepfilled",
                    color=BLUE,
                    alpha=0.35,
                )
                ax.set(xlim=(low, high), yticks=[])
                ax.text(0.06, 0.92, f"latent {x}", transform=ax.transAxes, va="top", fontsize=8)
            else:
                panels.append((ax, x, y, below if row > column else above))
            ax.tick_params(labelbottom=row == len(active) - 1, labelleft=column == 0 and row > 0)
            if row == len(active) - 1:
                ax.set_xlabel(f"latent {x}")
            if column == 0 and row > 0:
                ax.set_ylabel(f"latent {y}")
    return panels


def _limits(values: NDArray[Any]) -> tuple[float, float]:
    """From the 0.1th to the 99.9th percentile, with a margin."""
    low, high = np.nanpercentile(values, [0.1, 99.9])
    margin = 0.06 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _panel(
    ax: Axes,
    columns: dict[int, NDArray[Any]],
    x: int,
    y: int,
    quantity: Colour | None,
    ids: NDArray[np.int64],
) -> ScalarMappable:
    """One projection: density, points, or the median of a quantity in cells."""
    if missing := {x, y} - columns.keys():
        raise InvalidInputError(
            f"there is no latent {min(missing)}", f"Latents are {', '.join(map(str, columns))}"
        )
    extent = (*_limits(columns[x]), *_limits(columns[y]))
    ax.set(xlim=extent[:2], ylim=extent[2:])
    if quantity is None:
        return draw_cells(ax, counts(columns[x], columns[y], extent), extent, cmap="cividis")
    values = quantity.of(ids)
    known = np.isfinite(values)
    if not known.any():
        raise InvalidInputError(
            f"no row has a value of {quantity.label}", "Check that the source_ids are the same"
        )
    look: dict[str, Any] = {"cmap": quantity.cmap, "norm": quantity.norm(values[known])}
    data = columns[x][known], columns[y][known]
    if known.sum() >= MANY:
        return draw_cells(ax, medians(*data, values[known], extent), extent, **look)
    grey: dict[str, Any] = {"ms": 1, "color": "#D5D5D5", "rasterized": True, "zorder": 0}
    ax.plot(columns[x][~known], columns[y][~known], ".", **grey)
    # in random order, so that the order of rows does not decide which value is drawn on top
    shuffled = np.random.default_rng(0).permutation(known.sum())
    size = float(np.clip(12_000 / known.sum(), 0.8, 12))
    points = data[0][shuffled], data[1][shuffled]
    return ax.scatter(
        points[0], points[1], c=values[known][shuffled], s=size, lw=0, rasterized=True, **look
    )


def _share_norm(artists: list[ScalarMappable]) -> None:
    """One scale of densities for all panels: there is one bar."""
    from matplotlib.colors import LogNorm

    if artists:
        most = max(float(np.ma.max(np.ma.asarray(artist.get_array()))) for artist in artists)
        norm = LogNorm(1, max(most, 2))
        for artist in artists:
            artist.set_norm(norm)


def _colour_bars(
    fig: Figure | SubFigure, bars: list[Axes], drawn: list[tuple[Colour | None, ScalarMappable]]
) -> None:
    """A bar for each quantity, in the order in which they are drawn: below the diagonal first."""
    first: dict[int, tuple[Colour | None, ScalarMappable]] = {}
    for quantity, artist in drawn:
        first.setdefault(id(quantity), (quantity, artist))
    both = len(first) > 1
    for bar_axes, (quantity, artist), where in zip(
        bars, first.values(), ("below", "above"), strict=False
    ):
        bar = fig.colorbar(artist, cax=bar_axes, extend="both" if quantity else "neither")
        name = quantity.label if quantity else "sources in a cell"
        bar.set_label(f"{name}  ({where} the diagonal)" if both else name, color=BLACK)
    for unused in bars[len(first) :]:
        unused.remove()
