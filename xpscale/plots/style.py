"""How all figures look: type, colours, credit line.

Colour maps are perceptually uniform and readable with any colour vision: sequential *cividis* for
counts and quality, *viridis* and *plasma* for physical quantities, the colours of Okabe and Ito for
categories.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from xpscale.errors import InvalidInputError
from xpscale.storage.single_file import put_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = [
    "BLACK",
    "BLUE",
    "CREDIT",
    "GREY",
    "ORANGE",
    "VERMILION",
    "credit",
    "credit_below",
    "figure_or_new",
    "headline",
    "new_axes",
    "new_figure",
    "save",
    "style",
]

CREDIT = "Gaia data: ESA/Gaia/DPAC"

# Okabe & Ito (2008), Color Universal Design
BLUE, ORANGE, VERMILION, GREEN = "#0072B2", "#E69F00", "#D55E00", "#009E73"
LIGHT_BLUE, YELLOW = "#56B4E9", "#F0E442"
BLACK, DARK_GREY, GREY = "#222222", "#555555", "#8A8A8A"

STRIP_INCH = 0.16

SETTINGS: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.edgecolor": BLACK,
    "axes.labelcolor": BLACK,
    "text.color": BLACK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.color": BLACK,
    "ytick.color": BLACK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.2,
    "figure.dpi": 120,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "savefig.facecolor": "white",
    "axes.formatter.useoffset": False,
    "text.usetex": False,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Our settings for what is drawn inside the block; the reader's own stay as they are."""
    with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
        yield


def save(fig: Figure, out: str | Path, *, overwrite: bool = True) -> None:
    """Write a figure in our settings, and close it in pyplot, which would keep it otherwise.

    Parameters
    ----------
    fig
        The figure.
    out
        Path or URL of the file; its ending says the format.
    overwrite
        Replace what is there.

    Raises
    ------
    InvalidInputError
        There is no format of this ending.
    ConflictError
        Another file is there, and ``overwrite`` is false.
    """
    from matplotlib.pyplot import close

    ending, known = Path(out).suffix[1:].lower(), fig.canvas.get_supported_filetypes()
    if ending not in known:
        raise InvalidInputError(
            f"a figure cannot be written to {out}", f"End the name on one of {', '.join(known)}"
        )
    buffer = io.BytesIO()
    with style():
        fig.savefig(buffer, format=ending)
    close(fig)
    put_file(out, buffer.getvalue(), overwrite=overwrite)


def new_axes(ax: Axes | None, **options: Any) -> tuple[Figure | SubFigure, Axes]:
    """The axes to draw on and their figure.

    Parameters
    ----------
    ax
        The axes; new ones if not given.
    options
        Arguments of ``matplotlib.pyplot.subplots`` for new axes.
    """
    if ax is not None:
        return ax.figure, ax
    from matplotlib.pyplot import subplots

    return subplots(**options)


def figure_or_new(figure: Figure | SubFigure | None, **options: Any) -> Figure | SubFigure:
    """The figure to draw on.

    Parameters
    ----------
    figure
        The figure; a new one of pyplot's if not given.
    options
        Arguments of ``matplotlib.pyplot.figure`` for a new one.
    """
    if figure is not None:
        return figure
    from matplotlib.pyplot import figure as new

    return new(**options)


def new_figure(
    n_rows: int, n_columns: int, size_inch: tuple[float, float], sharey: bool = False
) -> tuple[Figure, Any]:
    """A figure that pyplot does not keep, and its axes, all in one array if there are several.

    Parameters
    ----------
    n_rows, n_columns
        Panels.
    size_inch
        Width and height.
    sharey
        One ordinate for all.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=size_inch, layout="constrained")
    return fig, fig.subplots(n_rows, n_columns, sharey=sharey)


def credit(fig: Figure | SubFigure, y: float = 0.005) -> None:
    """Write the credit line that Gaia asks for, once in each figure, at the lower right.

    Parameters
    ----------
    fig
        The figure.
    y
        Where the text begins, as a fraction of the figure's height.
    """
    if not any(text.get_text() == CREDIT for text in fig.texts):
        fig.text(0.995, y, CREDIT, ha="right", va="bottom", fontsize=6.5, color=GREY)


def credit_below(fig: Figure | SubFigure) -> None:
    """The credit line, in a strip of its own below a figure of constrained layout."""
    engine: Any = fig.get_layout_engine()
    if engine is not None:
        share = STRIP_INCH / (fig.bbox.height / fig.dpi)
        engine.set(rect=(0, share, 1, 1 - share))
    credit(fig)


def headline(
    what: str, n: int, provenance: dict[str, str] | None = None, noun: str = "sources"
) -> str:
    """``what · 219,197,643 sources · model 7f3a12 · snapshot 12``, as far as it is known.

    Parameters
    ----------
    what
        What the figure shows.
    n
        Number of sources.
    provenance
        May name ``model_id`` and ``snapshot``.
    noun
        What is counted.
    """
    words = [what, f"{n:,} {noun}"]
    if provenance and "model_id" in provenance:
        words.append(f"model {provenance['model_id'][:6]}")
    if provenance and "snapshot" in provenance:
        words.append(f"snapshot {provenance['snapshot']}")
    return " · ".join(words)
