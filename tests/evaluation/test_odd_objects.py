"""Ordinary stars are not flagged at any magnitude, and odd objects are told from them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from xpscale.columns import G_ZERO_POINT
from xpscale.flags import Flag
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.ingest.build import build_store
from xpscale.schema import OUTPUTS
from xpscale.testing.odd_objects import hot_continua, with_emission_lines
from xpscale.testing.starlight import noiseless_coefficients
from xpscale.testing.universe import Universe
from xpscale.training.run import train
from xpscale.training.settings import TrainingSettings

EDGES = (0.0, 13.0, 15.0, 16.0, 17.0, 30.0)


def magnitude(batch):
    return G_ZERO_POINT - 2.5 * np.log10(batch.phot_g_mean_flux)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Trained on bright stars, as libraries with labels are, and applied to faint ones, too."""
    folder, stars = tmp_path_factory.mktemp("odd"), Universe(50_000, seed=1).spectra()
    bright = stars.take(magnitude(stars) < 15)
    store = build_store([("all", bright)], str(folder / "store"), attributes={"origin": "universe"})
    settings = TrainingSettings(epochs=10, network="noise_aware")
    return train(store, str(folder / "model"), settings)


@pytest.fixture(scope="module")
def ordinary():
    universe = Universe(6_000, seed=2)
    return universe.spectra(), universe.truth().labels


def by_magnitude(batch, values):
    bins = np.digitize(magnitude(batch), EDGES)
    return [values[bins == number] for number in range(1, len(EDGES))]


def hot_stars(batch, labels):
    """The stars as they would be at a temperature that none of them has."""
    hot = replace(labels, teff=np.full(len(batch), 3e4, np.float32))
    noise = np.random.default_rng(0).standard_normal(batch.coefficients.shape, np.float32)
    made = noiseless_coefficients(hot) * batch.phot_g_mean_flux[:, None]
    coefficients = made.astype(np.float32) + batch.coefficient_errors * noise
    return replace(batch, coefficients=coefficients)


def column(model, batch, name):
    return ScatterVAEEncoder(model, OUTPUTS, "cpu")(batch)[name].to_numpy()


def test_ordinary_stars_are_not_flagged_at_any_magnitude(model):
    batch = Universe(30_000, seed=3).spectra()  # at least a thousand in each bin
    flags = column(model, batch, "flags") & Flag.OUTSIDE_TRAINING_DOMAIN
    assert max((part > 0).mean() for part in by_magnitude(batch, flags)) < 0.01


def test_scores_of_ordinary_stars_are_fractions_at_every_magnitude(model, ordinary):
    for part in by_magnitude(ordinary[0], column(model, ordinary[0], "in_distribution_score")):
        assert 0.4 < np.median(part) < 0.6
        assert (part < 0.01).mean() < 0.04


@pytest.mark.parametrize("kind", ["lines", "continua", "hot"])
def test_odd_objects_are_told_from_ordinary_stars_of_like_magnitude(kind, model, ordinary):
    batch, labels = ordinary
    odd = {
        "lines": lambda: with_emission_lines(batch),
        "continua": lambda: hot_continua(batch),
        "hot": lambda: hot_stars(batch, labels),
    }[kind]()
    scores = [column(model, one, "in_distribution_score") for one in (odd, batch)]
    for low, ordinary_ones in zip(*(by_magnitude(batch, one) for one in scores), strict=True):
        pairs = len(low) * len(ordinary_ones)
        assert mannwhitneyu(ordinary_ones, low).statistic / pairs >= 0.95


def test_a_far_outlier_is_flagged_however_faint(model, ordinary):
    batch = ordinary[0].take(np.argsort(ordinary[0].phot_g_mean_flux)[:50])
    batch.coefficients[:, 0] *= 3
    assert (column(model, batch, "flags") & Flag.OUTSIDE_TRAINING_DOMAIN).all()
