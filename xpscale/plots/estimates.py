"""Numbers with intervals: curves with bands, marks with whiskers, matrices, histograms.

Every function takes ``(value, low, high)`` arrays, so that it can draw any estimate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.plots.models import COLOURS
from xpscale.plots.style import GREY, credit_below, new_figure, style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Parts = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

__all__ = ["binned", "curves", "matrix", "whiskers"]


def binned(
    panels: Mapping[str, tuple[Sequence[float], Mapping[str, Parts]]],
    ylabel: str,
    reference: float | None = None,
) -> Figure:
    """Estimates in bins of several quantities, a panel each: marks with whiskers in the middle of
    every bin.

    Parameters
    ----------
    panels
        Edges of the bins with shape (M + 1,), open at both ends, and the estimates with shape (M,)
        by name, by the label of the quantity.
    ylabel
        What is estimated.
    reference
        Where a line is drawn.
    """
    with style():
        fig, axes = new_figure(1, len(panels), (8.4, 3.1), sharey=True)
        for ax, (quantity, (edges, found)) in zip(np.ravel(axes), panels.items(), strict=True):
            inner = np.asarray(edges[1:-1], float)
            if reference is not None:
                ax.axhline(reference, color=GREY, lw=0.8)
            for i, (colour, (name, parts)) in enumerate(zip(COLOURS, found.items(), strict=False)):
                at = np.arange(len(inner) + 1.0) + 0.14 * (i - (len(found) - 1) / 2)
                _whiskers(ax, at, parts, colour, name)
            ax.set_xticks(np.arange(len(inner)) + 0.5, [f"{edge:g}" for edge in inner], rotation=45)
            there = np.flatnonzero(np.isfinite([parts[0] for parts in found.values()]).any(0))
            first, last = (there[0], there[-1]) if len(there) else (0, len(inner))
            ax.set_xlim(first - 0.6, last + 0.6)
            ax.tick_params(axis="x", top=False)
            ax.set_xlabel(quantity)
        axes = np.ravel(axes)
        axes[0].set_ylabel(ylabel)
        if len(next(iter(panels.values()))[1]) > 1:
            axes[-1].legend()
        credit_below(fig)
    return fig


def _whiskers(ax: Axes, at: NDArray[Any], parts: Parts, colour: str, name: str) -> None:
    value, low, high = (np.atleast_1d(part) for part in parts)
    known = np.isfinite(value)
    reach = np.nan_to_num(np.stack([value - low, high - value])).clip(0)
    ax.errorbar(
        at[known],
        value[known],
        reach[:, known],
        fmt="o",
        ms=3.5,
        lw=1.3,
        color=colour,
        label=name,
    )


def curves(
    x: NDArray[Any],
    found: Mapping[str, Parts],
    labels: tuple[str, str],
    *,
    reference: float | None = None,
    log: bool = False,
    steps: bool = False,
) -> Figure:
    """Estimates along a quantity, with their intervals as bands.

    Parameters
    ----------
    x
        The quantity, with shape (M,); edges, one more, for ``steps``.
    found
        The estimates, with shape (M,), by name.
    labels
        Of both axes.
    reference
        Where a horizontal line is drawn.
    log
        Logarithmic ordinate.
    steps
        Draw bins.
    """
    with style():
        fig, ax = new_figure(1, 1, (7.2, 3.2))
        if reference is not None:
            ax.axhline(reference, color=GREY, lw=0.8)
        for colour, (name, (value, low, high)) in zip(COLOURS, found.items(), strict=False):
            if steps:
                ax.stairs(value, x, baseline=None, color=colour, lw=1.4, label=name)
                ax.stairs(high, x, baseline=low, fill=True, color=colour, alpha=0.22, lw=0)
            else:
                ax.plot(x, value, color=colour, lw=1.4, label=name)
                ax.fill_between(x, low, high, color=colour, alpha=0.22, lw=0)
        ax.set(xlabel=labels[0], ylabel=labels[1], yscale="log" if log else "linear")
        ax.margins(x=0.01)
        if len(found) > 1:
            ax.legend(ncols=2)
        credit_below(fig)
    return fig


def whiskers(panels: Mapping[str, Mapping[str, Parts]]) -> Figure:
    """One estimate a line, a panel for each quantity.

    Parameters
    ----------
    panels
        Scalar estimates by the name of their line, by the label of the quantity; all panels have
        the same lines.
    """
    names = list(next(iter(panels.values())))
    with style():
        fig, axes = new_figure(1, len(panels), (8.4, 0.7 + 0.24 * len(names)), sharey=True)
        for ax, (quantity, found) in zip(np.ravel(axes), panels.items(), strict=True):
            for i, parts in enumerate(found.values()):
                value, low, high = (float(part) for part in parts)
                ax.plot([low, high], [i, i], color=COLOURS[0], lw=1.6)
                ax.plot([value], [i], "o", ms=4.5, color=COLOURS[0])
            ax.set_yticks(range(len(names)), names)
            ax.set_xlabel(quantity)
            ax.tick_params(axis="y", length=0)
            ax.grid(axis="x", color=GREY, alpha=0.25, lw=0.5)
        np.ravel(axes)[0].invert_yaxis()
        credit_below(fig)
    return fig


def matrix(
    values: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    *,
    limits: tuple[float, float],
    printed: bool = True,
    diverging: bool = False,
) -> Figure:
    """A matrix as colours, with its numbers printed if there are few.

    Parameters
    ----------
    values
        With shape (R, K); NaN is left out.
    rows, columns
        Their names.
    label
        What the values are.
    limits
        Values of the ends of the colours.
    printed
        Whether to print the numbers, and all names.
    diverging
        Colours that differ on both sides of the middle of the limits.
    """
    with style():
        n_rows, n_columns = values.shape
        height = 1.2 + 0.33 * n_rows if printed else 3.2
        width = min(8.4, 2.4 + 0.75 * n_columns) if printed else 8.4
        if not printed and n_rows == n_columns:
            width, height = 6.6, 5.6
        fig, ax = new_figure(1, 1, (width, height))
        cmap = "RdBu_r" if diverging else "cividis"
        image = ax.imshow(values, cmap=cmap, vmin=limits[0], vmax=limits[1], aspect="auto")
        ax.set_yticks(range(n_rows), rows)
        shown = range(n_columns) if printed else range(0, n_columns, 5)
        ax.set_xticks(shown, [columns[j] for j in shown], rotation=0 if printed else 90)
        ax.tick_params(length=0)
        bar = fig.colorbar(image, ax=ax, pad=0.01)
        bar.set_label(label)
        if printed:
            for i, j in np.argwhere(np.isfinite(values)).tolist():
                red, green, blue, _ = image.cmap(image.norm(values[i, j]))
                dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
                text = f"{values[i, j]:.2f}".replace("-", "\u2212")
                ax.text(j, i, text, ha="center", va="center", color="white" if dark else "black")
        credit_below(fig)
    return fig
