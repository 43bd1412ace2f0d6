"""Flags, scores and chi2 by magnitude, of ordinary stars and of odd objects made from them.

    python -m tests.benchmarks odd_objects MODEL SPECTRA

Odd objects: emission lines added to the same stars, and black bodies of 9,000 to 40,000 K of the
same magnitudes and errors (`xpscale.testing.odd_objects`).  A model without a count of its training
sample is given one from --training.  "Flagged before": a coefficient outside the training range
widened by a quarter at either end, whatever its error.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import mannwhitneyu

from xpscale.columns import G_ZERO_POINT
from xpscale.flags import Flag
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.model.checkpoint import TrainedModel, load_model
from xpscale.schema import OUTPUTS
from xpscale.spectra import SpectraBatch
from xpscale.store.open import open_spectra
from xpscale.testing.odd_objects import hot_continua, with_emission_lines
from xpscale.training.batches import Rows, standardized
from xpscale.training.typical import typicality_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

EDGES = (0.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 17.3, 17.65, 25.0)
HEADS = (
    "G", "n", "flagged before, %", "now, %", "chi2", "score", "below 0.01, %",
    "flagged: lines, hot, %", "AUC lines", "AUC hot",
)  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("spectra")
    parser.add_argument("--training", default="", help="what an older model was trained on")
    options = parser.parse_args()
    model, batch = load_model(options.model), _read(options.spectra)
    if options.training:
        model = _counted(model, _read(options.training))
    encode = ScatterVAEEncoder(model, OUTPUTS, "cpu")
    tables = [encode(one) for one in (batch, with_emission_lines(batch), hot_continua(batch))]
    columns = {
        name: [table[name].to_numpy() for table in tables]
        for name in ("flags", "in_distribution_score", "reduced_chi2")
    }
    before = _before(model, batch)
    magnitude = G_ZERO_POINT - 2.5 * np.log10(batch.phot_g_mean_flux)
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for low, high in pairwise(EDGES):
        rows = (magnitude >= low) & (magnitude < high)
        if rows.any():
            here = {name: [one[rows] for one in values] for name, values in columns.items()}
            print(f"| {low:g} to {high:g} | {' | '.join(_cells(before[rows], here))} |")


def _cells(before: NDArray[np.bool_], here: dict[str, list[NDArray[Any]]]) -> list[str]:
    flagged = [100 * ((one & Flag.OUTSIDE_TRAINING_DOMAIN) > 0).mean() for one in here["flags"]]
    ordinary, *odd = here["in_distribution_score"]
    auc = [mannwhitneyu(ordinary, one).statistic / len(ordinary) ** 2 for one in odd]
    return [
        f"{len(ordinary):,}",
        f"{100 * before.mean():.1f}",
        f"{flagged[0]:.1f}",
        f"{np.median(here['reduced_chi2'][0]):.2f}",
        f"{np.median(ordinary):.2f}",
        f"{100 * (ordinary < 0.01).mean():.1f}",
        f"{flagged[1]:.0f}, {flagged[2]:.0f}",
        *(f"{one:.3f}" for one in auc),
    ]


def _before(model: TrainedModel, batch: SpectraBatch) -> NDArray[np.bool_]:
    x, density = model.scaling.standardize(batch)[0], model.density
    margin = (density.upper - density.lower) / 4
    return np.asarray(((x < density.lower - margin) | (x > density.upper + margin)).any(1))


def _counted(model: TrainedModel, training: SpectraBatch) -> TrainedModel:
    rows = Rows(*standardized(training, model.scaling), training.source_id)
    typicality = typicality_of(model.network, rows, model.density, seed=0)
    return TrainedModel.create(model.network, model.scaling, model.density, model.card, typicality)


def _read(url: str) -> SpectraBatch:
    """The spectra with both bands: odd objects are made from them."""
    reader = open_spectra(url)
    batch = SpectraBatch.concatenate(reader.read(partition) for partition in reader.partitions)
    return batch.take(np.isfinite(batch.coefficients).all(1))
