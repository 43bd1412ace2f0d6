"""Models side by side: training curves, what each latent holds, calibration of the predicted
errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xpscale.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT_BLUE,
    ORANGE,
    VERMILION,
    credit,
    new_axes,
    style,
)
from xpscale.plots.training import read_history

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import NDArray

__all__ = ["calibration_by", "held_out_curves", "kl_per_latent"]

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, LIGHT_BLUE, GREY)
FREE = (0.9, 1.1)
SHOWN = 0.6
"""Share of the epochs, counted from the end, whose losses all lie inside the frame."""


def held_out_curves(
    histories: Mapping[str, str], title: str = ""
) -> tuple[Figure | SubFigure, Axes]:
    """The held-out loss (thick) and its median over stars (thin) against epoch, a colour for each
    model; the legend gives the lowest losses.

    Parameters
    ----------
    histories
        ``history.csv`` of each model, as text, path or URL, by its name.
    title
        Title of the axes.
    """
    with style():
        fig, ax = new_axes(None, figsize=(6.2, 3.6), layout="constrained")
        settled = []
        for colour, (name, history) in zip(COLOURS, histories.items(), strict=False):
            columns = read_history(history)
            epoch, loss, median = (
                np.array(columns[key]) for key in ("epoch", "held_out_loss", "held_out_median_loss")
            )
            ax.plot(epoch, loss, color=colour, lw=1.8, label=f"{name}: {_signed(loss.min())}")
            ax.plot(epoch, median, color=colour, lw=0.8)
            last = slice(int((1 - SHOWN) * len(epoch)), None)
            settled += [loss[last], median[last]]
        low, high = np.min(np.concatenate(settled)), np.max(np.concatenate(settled))
        margin = 0.1 * (high - low) or 1.0
        ax.set(
            ylim=(low - margin, high + margin),
            xlabel="epoch",
            ylabel=r"held-out loss [nats], without $\frac{C}{2}\ln 2\pi$",
            title=title,
        )
        ax.margins(x=0.02)
        ax.plot([], [], color=BLACK, lw=1.8, label="thick: mean over the stars")
        ax.plot([], [], color=BLACK, lw=0.8, label="thin: median")
        ax.legend(loc="best", ncols=2)
        credit(fig)
    return fig, ax


def kl_per_latent(
    kl: Mapping[str, Sequence[float]], alive: float, title: str = ""
) -> tuple[Figure | SubFigure, Axes]:
    """The information in each latent in nats, in descending order, a colour for each model.

    Parameters
    ----------
    kl
        Mean KL divergence of every latent, by the model's name.
    alive
        The line above which a latent counts as alive, nats.
    title
        Title of the axes.
    """
    with style():
        fig, ax = new_axes(None, figsize=(6.2, 3.2), layout="constrained")
        width = 0.8 / len(kl)
        for i, (colour, (name, values)) in enumerate(zip(COLOURS, kl.items(), strict=False)):
            heights = np.sort(np.array(values))[::-1]
            at = np.arange(len(heights)) + (i - (len(kl) - 1) / 2) * width
            ax.bar(
                at,
                heights,
                0.9 * width,
                color=colour,
                label=f"{name}: {(heights >= alive).sum()} alive",
            )
        ax.axhline(alive, color=BLACK, lw=0.8, ls=":")
        n_latents = max(map(len, kl.values()))
        ax.set_xlim(-0.6, n_latents)
        ax.annotate(
            f"alive:\n{alive:g} nats",
            (n_latents - 0.5, alive),
            (0, 2),
            textcoords="offset points",
            fontsize=7,
        )
        ax.set_xticks(range(n_latents), [str(k + 1) for k in range(n_latents)])
        ax.tick_params(axis="x", length=0)
        ax.set(
            xlabel="latent, most to least informative",
            ylabel="KL from the prior [nats]",
            title=title,
        )
        ax.legend()
        credit(fig)
    return fig, ax


def calibration_by(
    quantity: str,
    found: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    title: str = "",
) -> tuple[Figure | SubFigure, Axes]:
    """Width of the standardized residuals against a quantity; 1 is calibrated, the band is within a
    tenth of it.

    Parameters
    ----------
    quantity
        The label of the abscissa, with its unit.
    found
        Edges of the bins (M + 1,) and standard deviations in them (M,), NaN where not judged, by
        the model's name.
    title
        Title of the axes.
    """
    with style():
        fig, ax = new_axes(None, figsize=(6.2, 3.4), layout="constrained")
        ax.axhspan(*FREE, color=GREY, alpha=0.18, lw=0)
        ax.axhline(1, color=GREY, lw=0.8)
        largest = 1.0
        for colour, (name, (edges, std)) in zip(COLOURS, found.items(), strict=False):
            ax.stairs(std, edges, baseline=None, color=colour, lw=1.6, label=name)
            largest = max(largest, float(np.nanmax(np.abs(std - 1), initial=0.0)) + 1)
        ax.set(xlabel=quantity, ylabel=r"std of $(x-\hat{x})/\sqrt{\sigma^2+s^2}$", title=title)
        reach = max(0.2, 1.2 * (largest - 1))
        ax.set_ylim(max(0, 1 - reach), 1 + reach)
        ax.legend(ncols=3)
        credit(fig)
    return fig, ax


def _signed(value: float) -> str:
    """With a minus sign as it is printed."""
    return f"{value:.1f}".replace("-", "\u2212")
