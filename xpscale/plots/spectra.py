"""Spectra of a few stars: observed, reconstructed, with the error of the reconstruction as a band
(intrinsic scatter and posterior together) and the residuals below.

Against wavelength where spectra are given as flux, against the index of the coefficient where they
are given as basis coefficients; there the vertical scale is linear around zero and logarithmic
beyond (the inverse hyperbolic sine), since the first coefficients are some thousand times larger
than the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import NullLocator

from xpscale.errors import InvalidInputError
from xpscale.plots.curves import Coefficients, Curves, Sampled, curves_of
from xpscale.plots.style import BLACK, BLUE, GREY, VERMILION, credit, headline, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import NDArray

    from xpscale.bands import Bands
    from xpscale.spectra import SpectraBatch

__all__ = ["spectra"]


def spectra(
    model: Coefficients | Sampled,
    observed: SpectraBatch | Sampled | None = None,
    *,
    labels: Sequence[str] | None = None,
    provenance: dict[str, str] | None = None,
    max_stars: int = 5,
    figure: Figure | SubFigure | None = None,
) -> tuple[Figure | SubFigure, NDArray[Any]]:
    """A few stars, one below the other: the spectrum, and its residuals.

    Parameters
    ----------
    model
        Reconstructions, as coefficients or as flux.
    observed
        Observations in the same representation (flux: `xpscale.query.wavelength.sample_batch`),
        matched by source_id; a star without one is drawn without.
    labels
        A few words for each star, such as its labels, in the order of ``model``.
    provenance
        May name ``model_id`` and ``snapshot``, for the title, and the ``release`` whose
        identifiers these are.
    max_stars
        How many of ``model`` to draw, from the first.
    figure
        Where to draw; a new figure if not given.

    Returns
    -------
    figure, axes
        Axes with shape (N, 2): spectrum and residuals of each star.

    Raises
    ------
    InvalidInputError
        There is no star to draw, or model and observation are not of one kind or width.
    """
    n = min(len(model.source_id), max_stars)
    if n == 0:
        raise InvalidInputError("there is no spectrum to draw", "Select at least one source")
    with style():
        figure, axes = _empty_axes(n, figure)
        release = (provenance or {}).get("release") or "Gaia"
        for i, (above, below) in enumerate(axes):
            curves = curves_of(model, observed, i)
            draw = _flux if isinstance(model, Sampled) else _coefficients
            _residuals(below, curves, draw(above, curves))
            label = "" if labels is None else f"    {labels[i]}"
            above.set_title(f"{release} {model.source_id[i]}{label}", fontsize=8, pad=3)
        if isinstance(model, Sampled):
            ends = float(model.wavelength_nm[0]), float(model.wavelength_nm[-1])
            axes[-1, 1].set(xlabel="wavelength [nm]", xlim=ends)
        else:
            _coefficient_axis(axes, model.bands)
        _legend(figure, axes)
        shown = headline("Spectra", n, provenance, "star" if n == 1 else "stars")
        figure.suptitle(shown, x=0.01, ha="left", fontsize=10)
        credit(figure)
    return figure, axes


def _empty_axes(
    n: int, figure: Figure | SubFigure | None
) -> tuple[Figure | SubFigure, NDArray[Any]]:
    """The figure, and axes with shape (n, 2) one below the other."""
    if figure is None:
        from matplotlib.pyplot import figure as new_figure

        figure = new_figure(figsize=(7.2, 2.2 * n + 1.0))
        figure.set_layout_engine("constrained", h_pad=0.02, hspace=0.0)
    ratios = {"height_ratios": [3.0, 1.1] * n}
    rows = figure.subplots(2 * n, 1, sharex=True, squeeze=False, gridspec_kw=ratios)
    return figure, rows.reshape(n, 2)


def _legend(figure: Figure | SubFigure, axes: NDArray[Any]) -> None:
    """The legend of the star that has most entries: not every one has an observation."""
    entries = [ax.get_legend_handles_labels() for ax in axes[:, 0]]
    longest = max(entries, key=lambda handles_and_labels: len(handles_and_labels[0]))
    figure.legend(*longest, loc="outside upper right", ncols=3, fontsize=7.5)


def _flux(ax: Axes, curves: Curves) -> float:
    """Draw flux against wavelength; returns the unit, a power of ten."""
    exponent = int(np.floor(np.log10(np.nanmax(np.abs(curves.mean)))))
    unit = 10.0**exponent
    mean = curves.mean / unit
    _error_band(ax, curves, unit)
    if curves.observed is not None:
        ax.plot(curves.x, curves.observed / unit, color=BLACK, lw=1.3, label="observed")
    ax.plot(curves.x, mean, color=BLUE, lw=1.1, label="reconstruction")
    ax.set_ylabel(f"flux [$10^{{{exponent}}}$\nW m$^{{-2}}$ nm$^{{-1}}$]")
    ax.set_ylim(min(0.0, 1.05 * float(np.nanmin(mean))), None)
    return unit


def _coefficients(ax: Axes, curves: Curves) -> float:
    """Draw coefficients against their index; returns the unit, 1."""
    mean = curves.mean
    _error_band(ax, curves, 1.0, step="mid")
    if curves.observed is not None:
        points: dict[str, Any] = {"fmt": ".", "ms": 3.2, "lw": 0.7, "color": BLACK}
        ax.errorbar(curves.x, curves.observed, curves.error, label="observed", **points)
    ax.plot(curves.x, mean, color=BLUE, lw=1.0, drawstyle="steps-mid", label="reconstruction")
    noise = np.hypot(curves.scatter, 0 if curves.error is None else curves.error)
    width = max(3 * float(np.nanmedian(noise)), 1e-12)
    ax.set_yscale("asinh", linear_width=width)
    ax.set_yticks(_decades(width, float(np.nanmax(np.abs(mean)))))
    ax.yaxis.set_major_formatter(_power_of_ten)
    ax.yaxis.set_minor_locator(NullLocator())
    ax.axhline(0, color=GREY, lw=0.5, zorder=0)
    ax.set_ylabel("coefficient\n[electron s$^{-1}$]")
    return 1.0


def _error_band(ax: Axes, curves: Curves, unit: float, **options: Any) -> None:
    """One standard deviation of the truth about the reconstruction; its scatter's part alone where
    the posterior's is not known.
    """
    posterior = curves.posterior_error
    width = curves.scatter if posterior is None else np.hypot(curves.scatter, posterior)
    low, high = (curves.mean - width) / unit, (curves.mean + width) / unit
    look: dict[str, Any] = {"color": BLUE, "alpha": 0.28, "lw": 0, **options}
    label = "intrinsic scatter" if posterior is None else "scatter and posterior"
    ax.fill_between(curves.x, low, high, label=label, **look)


def _decades(width: float, largest: float) -> list[float]:
    """Zero, and up to three powers of ten on either side of it, none within the linear part of the
    scale.
    """
    first, last = int(np.ceil(np.log10(2 * width))), int(np.floor(np.log10(largest)))
    powers = range(last, first - 1, -max(1, (last - first) // 2)) if last >= first else [last]
    ticks = [10.0**k for k in powers]
    return [-t for t in ticks] + [0.0, *reversed(ticks)]


def _power_of_ten(value: float, _: float | None = None) -> str:
    sign = "-" if value < 0 else ""
    return f"${sign}10^{{{round(np.log10(abs(value)))}}}$" if value else "0"


def _residuals(ax: Axes, curves: Curves, unit: float) -> None:
    """Observed minus reconstructed in units of their standard deviation, error and scatter
    together.
    """
    if curves.observed is None or curves.error is None:
        ax.plot(curves.x, curves.scatter / unit, color=VERMILION, lw=0.9)
        ax.set_ylabel("scatter")
        ax.set_ylim(0, 1.1 * float(np.nanpercentile(curves.scatter, 99)) / unit or 1.0)
        return
    sigma = np.hypot(curves.error, curves.scatter)
    with np.errstate(divide="ignore", invalid="ignore"):
        residual = (curves.observed - curves.mean) / sigma
    ax.axhspan(-1, 1, color=GREY, alpha=0.2, lw=0)
    ax.axhline(0, color=GREY, lw=0.6)
    ax.plot(curves.x, residual, color=VERMILION, lw=0.9)
    finite = np.abs(residual[np.isfinite(residual)])
    reach = max(3.0, 1.15 * float(np.percentile(finite, 99))) if len(finite) else 3.0
    ax.set(ylim=(-reach, reach), ylabel="residual\n[$\\sigma$]")


def _coefficient_axis(axes: NDArray[Any], bands: Bands) -> None:
    """Ticks at every tenth coefficient of a band, and a line between the bands."""
    bottom, columns = axes[-1, 1], np.arange(bands.n_coefficients)
    ticks = [*columns[bands.bp][::10].tolist(), *columns[bands.rp][::10].tolist()]
    bottom.set_xticks(ticks, [bands.label(tick).split()[1] for tick in ticks])
    bottom.set_xlabel("index of the coefficient: BP, then RP")
    bottom.set_xlim(-1, bands.n_coefficients)
    for ax in axes.flat:
        ax.axvline(bands.n_bp - 0.5, color=BLACK, lw=0.6, ls=(0, (2, 2)))
