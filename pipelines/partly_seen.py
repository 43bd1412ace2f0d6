"""Whether posteriors of spectra that are seen in part agree with those of the whole spectra.

    python -m pipelines.partly_seen STORE MODEL

For held-out stars: the shift of the posterior mean of each latent, in units of sqrt(variance seen
in part - variance of all), by kind of loss and G magnitude.  Its width, half of the range from the
16th to the 84th percentile over stars and latents, is 1 if the posteriors are right.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

import xpscale as xps
from xpscale.columns import G_ZERO_POINT
from xpscale.model.scaling import trainable_rows
from xpscale.sampling.held_out import HeldOutSplit
from xpscale.spectra import SpectraBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.bands import Bands

EDGES = (0, 11, 13, 14, 30)


def seen_parts(n: int, bands: Bands, seed: int = 0) -> dict[str, NDArray[np.bool_]]:
    """Which elements are seen, with shape (N, C), by kind of loss.

    Parameters
    ----------
    n
        Spectra.
    bands
        Their bands.
    seed
        Of the orders and the elements that are lost.
    """
    rng, column = np.random.default_rng(seed), np.arange(bands.n_coefficients)
    in_bp = column < bands.n_bp
    order = np.where(in_bp, column, column - bands.n_bp)

    def below(highest: int) -> NDArray[np.bool_]:
        first = rng.integers(1, highest, (n, 2))
        return order < np.where(in_bp, first[:, :1], first[:, 1:])

    at_random = rng.uniform(size=(n, bands.n_coefficients)) > rng.uniform(size=(n, 1))
    return {
        "no BP": np.tile(~in_bp, (n, 1)),
        "no RP": np.tile(in_bp, (n, 1)),
        "high orders": below(max(bands.n_bp, bands.n_rp)),
        "orders from 1 to 11 on": below(12),
        "elements at random": at_random,
    }


def main(store: str, model_url: str) -> None:
    """Print the table.

    Parameters
    ----------
    store, model_url
        Addresses of spectra, and of a model that sees errors.
    """
    model = xps.load_model(model_url)
    reader, split = xps.open_spectra(store), HeldOutSplit()
    parts = [reader.read(partition) for partition in reader.partitions]
    chosen = (part.take(trainable_rows(part) & split.held_out(part)) for part in parts)
    batch = SpectraBatch.concatenate(chosen)
    x, x_err = (torch.from_numpy(values) for values in model.scaling.standardize(batch))
    magnitude = G_ZERO_POINT - 2.5 * np.log10(batch.phot_g_mean_flux)
    names = [f"{low} to {high}" for low, high in pairwise(EDGES)]
    print("| G | all |", " | ".join(names), "|\n|---" + "|---" * (len(names) + 1) + "|")
    with torch.inference_mode():
        whole = model.network.encode(x, x_err)
        for kind, seen in seen_parts(len(batch), batch.bands).items():
            part = model.network.encode(x, torch.where(torch.from_numpy(seen), x_err, torch.inf))
            lost = part.log_var.exp() - whole.log_var.exp()
            shift = ((part.mean - whole.mean) / lost.sqrt()).numpy()  # NaN where nothing is lost
            bins = np.digitize(magnitude, EDGES) - 1
            groups = [shift, *(shift[bins == i] for i in range(len(names)))]
            widths = [np.diff(np.nanpercentile(group, [16, 84]))[0] / 2 for group in groups]
            print(f"| {kind} |", " | ".join(f"{width:.2f}" for width in widths), "|")


if __name__ == "__main__":
    main(*sys.argv[1:])
