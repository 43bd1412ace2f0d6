"""Learning curves: the loss against the number of training objects, and against their density."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.plots.style import BLUE, GREEN, GREY, ORANGE, VERMILION, credit_below, new_axes, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["density_figure", "learning_curves"]

COLOURS = {"density": VERMILION, "flattened": GREEN, "cut": ORANGE}


def learning_curves(found: Mapping[str, Any], title: str = "") -> tuple[Figure | SubFigure, Axes]:
    """Loss on judged stars against the number of training objects, a point a run, with the fitted
    laws.

    Parameters
    ----------
    found
        ``fixed`` and ``matched``, each with ``points`` (``n, loss, low, high``) and ``law``
        (``floor, amplitude, exponent``, each with ``value``; or none), and ``judged``.
    title
        Title of the axes.
    """
    with style():
        fig, ax = new_axes(None, figsize=(6.2, 3.8), layout="constrained")
        for kind, colour, shift in (("fixed", BLUE, 1.0), ("matched", VERMILION, 1.06)):
            points, law = found[kind]["points"], found[kind]["law"]
            if not points:
                continue
            n, loss = (np.array([one[name] for one in points]) for name in ("n", "loss"))
            bars = np.abs(np.array([[one["low"], one["high"]] for one in points]).T - loss)
            words = "network of one size" if kind == "fixed" else "network grows with N"
            if law:
                floor, a, b = (law[name]["value"] for name in ("floor", "amplitude", "exponent"))
                grid = np.geomspace(n.min(), n.max())
                ax.plot(grid, floor + a * grid**-b, color=colour, lw=1)
                words += f": {floor:.1f} + {a:,.0f} N$^{{-{b:.2f}}}$"
            ax.errorbar(n * shift, loss, bars, color=colour, fmt="o", ms=4, lw=1, label=words)
        ax.set_xscale("log")
        ax.set_xlabel("training objects N")
        ax.set_ylabel("loss of stars never seen [nats of c/G]")
        ax.set_title(f"{title}: {found['judged']:,} stars judged" if title else "")
        ax.legend()
        credit_below(fig)
    return fig, ax


def density_figure(found: Mapping[str, Any], title: str = "") -> tuple[Figure | SubFigure, Axes]:
    """How the loss of a star changes with the number of training objects around it, at a fixed
    number in all.

    Parameters
    ----------
    found
        ``density``: ``binned`` (``rule, more, gain, error``) and ``effect`` (``value, low, high``).
    title
        Title of the axes.
    """
    with style():
        fig, ax = new_axes(None, figsize=(6.2, 3.8), layout="constrained")
        for rule, colour in COLOURS.items():
            points = [one for one in found["density"]["binned"] if one["rule"] == rule]
            if points:
                x, y, bars = ([one[name] for one in points] for name in ("more", "gain", "error"))
                ax.errorbar(x, y, bars, color=colour, fmt="o-", ms=4, lw=1, label=rule)
        effect = found["density"]["effect"]
        ax.axhline(0, color=GREY, lw=0.8)
        ax.axvline(0, color=GREY, lw=0.8)
        ax.set_xlabel("objects around a star, against the uniform sample [log$_{10}$]")
        ax.set_ylabel("change of its loss [nats]")
        words = f"{effect['value']:.2f} ({effect['low']:.2f} to {effect['high']:.2f}) nats a decade"
        ax.set_title(f"{title}: {words}")
        ax.legend(title="sampling rule")
        credit_below(fig)
    return fig, ax
