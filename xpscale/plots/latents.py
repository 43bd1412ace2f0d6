"""The latent space as a grid of projections, below the diagonal in one colour quantity, above it in
another.

A latent is *active* if its posterior mean varies over the sources; a collapsed one has the prior as
its posterior for every source and its mean does not move.  The threshold of 0.01 on that variance
is that of Burda, Grosse & Salakhutdinov 2016 (*Importance Weighted Autoencoders*, ICLR, section 5),
who find the two kinds well apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import Normalize, TwoSlopeNorm

from xpscale.errors import InvalidInputError
from xpscale.plots.style import BLACK, BLUE, GREY, credit, headline, style

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes
    from matplotlib.collections import Collection
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import NDArray

__all__ = ["ACTIVE_VARIANCE", "Colour", "latents"]

ACTIVE_VARIANCE = 0.01
TWIN_CORRELATION = 0.9  # of the means, beyond which two latents count as one
MANY = 100_000  # from here on points would hide one another, and cells show their median


@dataclass(frozen=True, slots=True, eq=False)
class Colour:
    """A quantity to colour sources by.

    Parameters
    ----------
    values
        With shape (N,); NaN where unknown.
    label
        Name and unit, such as ``"Teff [K]"``.
    source_id
        Whose values they are, with shape (N,); without it, those of the table's rows in their
        order.
    cmap
        Colour map.
    """

    values: NDArray[Any]
    label: str
    source_id: NDArray[np.int64] | None = None
    cmap: str = "viridis"

    def of(self, source_id: NDArray[np.int64]) -> NDArray[np.float64]:
        """The values of some sources, with shape (M,); NaN where there is none."""
        values = np.asarray(self.values, np.float64)
        if self.source_id is None:
            if len(values) != len(source_id):
                raise InvalidInputError(
                    f"{self.label} has {len(values)} values for {len(source_id)} rows",
                    "Give Colour its source_id",
                )
            return values
        order = np.argsort(self.source_id)
        place = np.searchsorted(self.source_id, source_id, sorter=order)
        row = (
            order[np.minimum(place, len(order) - 1)]
            if len(order)
            else np.zeros(len(source_id), int)
        )
        found = self.source_id[row] == source_id if len(order) else np.zeros(len(source_id), bool)
        return np.where(found, values[row] if len(order) else np.nan, np.nan)


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
        Where to draw.

    Returns
    -------
    figure, axes
        Axes with shape (K, K) for K active latents, or (1, P) for P pairs.
    """
    names = [name for name in table.column_names if name.startswith("latent_mean_")]
    if not names or table.num_rows < 2:
        raise InvalidInputError(
            f"the table has {table.num_rows} rows and {len(names)} latents",
            "Select some rows with all latent_mean_*",
        )
    means = np.stack([np.asarray(table[name], np.float64) for name in names], 1)  # (N, L)
    source_id = np.asarray(table["source_id"])
    index = [int(name.rsplit("_", 1)[1]) for name in names]
    variance = np.nanvar(np.where(np.isfinite(means), means, np.nan), axis=0)
    active = [index[j] for j in np.flatnonzero(variance > ACTIVE_VARIANCE)]
    columns = {i: means[:, j] for j, i in enumerate(index)}
    with style():
        if pairs is not None:
            fig, axes = _figure(figure, (1, len(pairs)), (3.1 * len(pairs) + 0.8, 3.3))
            panels = [(axes[0, k], x, y, color) for k, (x, y) in enumerate(pairs)]
            for ax, x, y, _ in panels:
                ax.set(xlabel=f"latent {x}", ylabel=f"latent {y}")
        else:
            size = 1.9 * max(len(active), 2) + 1.2
            fig, axes = _figure(figure, (max(len(active), 1),) * 2, (size + 0.6, size))
            panels = _grid(axes, active, columns, color, color_above)
        drawn = [
            (quantity, _panel(ax, columns, x, y, quantity, source_id))
            for ax, x, y, quantity in panels
        ]
        _colour_bars(fig, axes, drawn)
        fig.suptitle(
            headline("Latents", table.num_rows, provenance), x=0.01, ha="left", fontsize=10
        )
        collapsed = [
            f"{i} (variance {variance[index.index(i)]:.1g})" for i in index if i not in active
        ]
        note = f"{len(active)} of {len(index)} latents are active{_twins(active, columns)}"
        fig.supxlabel(
            note + (f"; collapsed and left out: {', '.join(collapsed)}" if collapsed else ""),
            x=0.01, ha="left", fontsize=7.5, color=GREY,
        )  # fmt: skip
        credit(fig)
    return fig, axes


def _twins(active: list[int], columns: dict[int, NDArray[Any]]) -> str:
    """Names the pairs of active latents that tell the same: a latent that copies another is no
    further dimension.
    """
    found = []
    for i, x in enumerate(active):
        for y in active[i + 1 :]:
            known = np.isfinite(columns[x]) & np.isfinite(columns[y])
            r = np.corrcoef(columns[x][known], columns[y][known])[0, 1]
            if abs(r) > TWIN_CORRELATION:
                found.append(f"{x} and {y} (r = {r:.2f})")
    return f"; telling the same: {', '.join(found)}" if found else ""


def _figure(
    figure: Figure | SubFigure | None, shape: tuple[int, int], size: tuple[float, float]
) -> tuple[Figure | SubFigure, NDArray[Any]]:
    if figure is None:
        from matplotlib.pyplot import figure as new_figure

        figure = new_figure(figsize=size, layout="constrained")
    return figure, figure.subplots(*shape, squeeze=False)


def _grid(
    axes: NDArray[Any],
    active: list[int],
    columns: dict[int, NDArray[Any]],
    below: Colour | None,
    above: Colour | None,
) -> list[tuple[Axes, int, int, Colour | None]]:
    """Histograms on the diagonal, labels outside; the panels that remain, with what they show."""
    panels = []
    if not active:
        axes[0, 0].set_axis_off()
    for row, y in enumerate(active):
        for column, x in enumerate(active):
            ax = axes[row, column]
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
            elif row > column or above is not None:
                panels.append((ax, x, y, below if row > column else above))
            else:
                ax.set_axis_off()
            ax.tick_params(labelbottom=row == len(active) - 1, labelleft=column == 0 and row > 0)
            if row == len(active) - 1:
                ax.set_xlabel(f"latent {x}")
            if column == 0 and row > 0:
                ax.set_ylabel(f"latent {y}")
    return panels


def _limits(values: NDArray[Any]) -> tuple[float, float]:
    """From the 0.1th to the 99.9th percentile, a little widened."""
    low, high = np.nanpercentile(np.where(np.isfinite(values), values, np.nan), [0.1, 99.9])
    margin = 0.06 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _panel(
    ax: Axes,
    columns: dict[int, NDArray[Any]],
    x: int,
    y: int,
    quantity: Colour | None,
    ids: NDArray[np.int64],
) -> Collection:
    """One projection: density, points, or the median of a quantity in cells."""
    if missing := {x, y} - columns.keys():
        raise InvalidInputError(
            f"there is no latent {min(missing)}", f"Latents are {', '.join(map(str, columns))}"
        )
    ax.set(xlim=_limits(columns[x]), ylim=_limits(columns[y]))
    extent = (*ax.get_xlim(), *ax.get_ylim())
    if quantity is None:
        return ax.hexbin(
            columns[x],
            columns[y],
            gridsize=55,
            extent=extent,
            mincnt=1,
            bins="log",
            cmap="cividis",
            lw=0,
        )
    values = quantity.of(ids)
    known = np.isfinite(values)
    if not known.any():
        raise InvalidInputError(
            f"no row has a value of {quantity.label}", "Check that the source_ids are the same"
        )
    norm = _norm(values[known])
    data = columns[x][known], columns[y][known]
    if known.sum() >= MANY:
        return ax.hexbin(*data, values[known], reduce_C_function=np.median, gridsize=70, extent=extent, mincnt=1,
                         cmap=quantity.cmap, norm=norm, lw=0)  # fmt: skip
    ax.plot(
        columns[x][~known],
        columns[y][~known],
        ".",
        ms=1,
        color="#D5D5D5",
        rasterized=True,
        zorder=0,
    )
    shuffled = np.random.default_rng(0).permutation(
        known.sum()
    )  # no value is drawn over another by the order of rows
    size = float(np.clip(12_000 / known.sum(), 0.8, 12))
    return ax.scatter(data[0][shuffled], data[1][shuffled], c=values[known][shuffled], s=size, cmap=quantity.cmap, norm=norm,
                      lw=0, rasterized=True)  # fmt: skip


def _norm(values: NDArray[np.float64]) -> Normalize:
    """From the 2nd to the 98th percentile with the median in the middle, so that a long tail leaves
    colours to the rest.
    """
    low, middle, high = (float(v) for v in np.percentile(values, [2, 50, 98]))
    return TwoSlopeNorm(middle, low, high) if low < middle < high else Normalize(low, high)


def _colour_bars(
    fig: Figure | SubFigure, axes: NDArray[Any], drawn: list[tuple[Colour | None, Collection]]
) -> None:
    first: dict[int, tuple[Colour | None, Collection]] = {}
    for quantity, artist in drawn:
        first.setdefault(id(quantity), (quantity, artist))
    middle = len(axes) // 2
    for quantity, artist in first.values():
        above = len(first) > 1 and any(
            artist.axes is ax for ax in axes[np.triu_indices(len(axes), 1)]
        )
        where = (
            ""
            if len(first) == 1
            else "  (above the diagonal)"
            if above
            else "  (below the diagonal)"
        )
        rows = axes[:middle] if above else axes[middle:]
        bar = fig.colorbar(
            artist, ax=[*rows.flat], aspect=22, pad=0.02, extend="both" if quantity else "neither"
        )
        bar.set_label((quantity.label if quantity else "sources in a cell") + where, color=BLACK)
