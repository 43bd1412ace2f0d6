"""Training curves."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from xpscale.errors import InvalidInputError
from xpscale.plots.style import new_axes
from xpscale.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["read_history", "training_curve"]

TERMS = {"loss": "C0", "nll": "C1", "kl": "C2"}
LABELS = {"loss": "loss = nll + KL", "nll": "negative log likelihood", "kl": "KL divergence"}


def training_curve(history: str | Path, ax: Axes | None = None) -> tuple[Figure | SubFigure, Axes]:
    """Loss and its two terms against epoch, on training rows (thin) and held-out rows (thick).

    Parameters
    ----------
    history
        A ``history.csv`` of a model folder: its path, its URL, or its text.
    ax
        Where to draw; a new figure if not given.

    Raises
    ------
    InvalidInputError
        If it is no training history, or has no epoch.
    """
    columns = read_history(str(history))
    fig, ax = new_axes(ax, figsize=(8, 4.5), layout="constrained")
    epoch = columns["epoch"]
    for term, colour in TERMS.items():
        ax.plot(epoch, columns[term], color=colour, lw=0.8, alpha=0.7)
        ax.plot(epoch, columns[f"held_out_{term}"], color=colour, lw=1.8, label=LABELS[term])
    ax.plot([], [], color="0.4", lw=1.8, label="thick: held-out stars")
    ax.plot([], [], color="0.4", lw=0.8, label="thin: training stars, as trained on")
    _frame(ax, columns)
    ax.set(xlabel="epoch", ylabel=r"nats per spectrum, without $\frac{C}{2}\ln 2\pi$")
    ax.legend(
        frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1)
    )  # outside: curves may be anywhere inside
    return fig, ax


def _frame(ax: Axes, columns: dict[str, list[float]]) -> None:
    """Limits that show where the curves end: the first epochs' fall may leave the frame at
    the top.
    """
    shown = [
        value
        for term in TERMS
        for name in (term, f"held_out_{term}")
        for value in columns[name]
        if value == value
    ]
    settled = sorted(shown)[: max(1, int(0.97 * len(shown)))]
    bottom, top = settled[0], settled[-1]
    margin = 0.05 * (top - bottom) or 1.0
    ax.set_ylim(bottom - margin, top + margin)
    ax.set_xlim(columns["epoch"][0] - 0.5, columns["epoch"][-1] + 0.5)
    ax.grid(alpha=0.25)
    ax.axhline(0, color="0.6", lw=0.6)


def read_history(history: str) -> dict[str, list[float]]:
    """The columns of a ``history.csv``, given as path, URL or text, as numbers by name."""
    if "\n" not in history:
        folder, _, name = Storage(history).url.rpartition("/")
        text, where = Storage(folder or "/").read(name).decode(), history
    else:
        text, where = history, "the history"
    try:
        rows = [
            {key: float(value) for key, value in row.items()}
            for row in csv.DictReader(io.StringIO(text))
        ]
        wanted = ["epoch", *TERMS, *(f"held_out_{term}" for term in TERMS)]
        columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else wanted)}
        if missing := [name for name in wanted if name not in columns]:
            raise KeyError(missing[0])
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidInputError(
            f"{where} is not a training history: {error}", "Give a model's history.csv"
        ) from error
    if not rows:
        raise InvalidInputError(f"{where} has no epochs yet", "Train for an epoch first")
    return columns
