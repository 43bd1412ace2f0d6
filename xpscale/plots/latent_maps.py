"""Medians of latents over the sky, a small map each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xpscale.plots.sky import sky
from xpscale.plots.style import credit_below, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["latent_maps"]

LEAST_STARS = 5


def latent_maps(pixels: NDArray[np.int64], latents: NDArray[np.float64], order: int) -> Figure:
    """A map of every latent, in galactic coordinates.

    Parameters
    ----------
    pixels
        HEALPix pixel of each star (NESTED, ICRS), with shape (N,).
    latents
        With shape (N, L).
    order
        Of the pixels; those with fewer than five stars stay grey.
    """
    there, number, counts = np.unique(pixels, return_inverse=True, return_counts=True)
    rows = np.split(np.argsort(number, kind="stable"), np.cumsum(counts)[:-1])
    filled = np.flatnonzero(counts >= LEAST_STARS)
    median = np.array([np.median(latents[rows[i]], axis=0) for i in filled])
    n_latents = latents.shape[1]
    n_lines = -(-n_latents // 3)
    with style():
        fig, axes = new_figure(n_lines, 3, (8.4, 2.3 * n_lines))
        for k, ax in enumerate(np.ravel(axes)):
            if k >= n_latents or not len(filled):
                ax.set_axis_off()
                continue
            sky(there[filled], median[:, k], order, label="median", ax=ax, raster=600)
            ax.set_title(f"latent {k}", pad=6)
        for text in [t for ax in np.ravel(axes) for t in ax.texts]:
            text.set_fontsize(5)
        credit_below(fig)
    return fig
