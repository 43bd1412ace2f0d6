"""A planted law and a planted effect of density are found, and are not found where nothing was
planted.
"""

import numpy as np
import pytest

import xpscale as xps
from xpscale.errors import InvalidInputError
from xpscale.evaluation.learning_curve import (
    density_effect,
    fit_law,
    interval,
    loss_of_stars,
    probe_errors,
    trimmed_mean,
)
from xpscale.evaluation.scores import score
from xpscale.testing.universe import Universe
from xpscale.training.settings import TrainingSettings


@pytest.mark.parametrize("exponent", [0.2, 0.5, 1.1])
def test_planted_law_is_found(exponent):
    rng = np.random.default_rng(1)
    n = np.repeat(np.geomspace(100, 100_000, 7), 3)
    law = fit_law(n, -850 + 400 * n**-exponent + rng.normal(0, 1e-3, len(n)))
    assert law.floor == pytest.approx(-850, abs=0.5)
    assert law.exponent == pytest.approx(exponent, abs=0.03)
    assert law.at(1e9) == pytest.approx(law.floor + law.amplitude * 1e9**-law.exponent)


def test_three_sizes_are_no_law():
    with pytest.raises(InvalidInputError, match="3 sizes"):
        fit_law(np.array([1e2, 1e3, 1e4, 1e4]), np.array([3.0, 2.0, 1.0, 1.0]))


@pytest.mark.parametrize("planted", [-1.5, 0.0])
def test_density_is_told_from_hard_stars_and_good_runs(planted):
    rng = np.random.default_rng(2)
    hardness, luck = rng.normal(0, 50, 4000), rng.normal(0, 5, (4, 1))
    around = rng.poisson(10 ** rng.uniform(0, 3, (4, 1)) * 10 ** rng.uniform(-1, 1, (1, 4000)))
    # hard stars are rare, as on the sky: the plain correlation says that density helps
    hardness -= 30 * np.log10(1 + around.mean(0))
    loss = hardness + luck + planted * np.log10(1 + around) + rng.normal(0, 0.3, around.shape)
    assert density_effect(loss, around) == pytest.approx(planted, abs=0.1)


def test_interval_of_a_mean_is_its_standard_error():
    rng = np.random.default_rng(3)
    values, pixel = rng.normal(0, 1, 4000), np.repeat(np.arange(400), 10)
    low, high = interval(lambda rows: float(values[rows].mean()), pixel, 400)
    assert high - low == pytest.approx(2 / np.sqrt(4000), rel=0.2)
    # stars of a pixel that share their value count once
    shared = np.repeat(rng.normal(0, 1, 400), 10)
    low, high = interval(lambda rows: float(shared[rows].mean()), pixel, 400)
    assert high - low == pytest.approx(2 / np.sqrt(400), rel=0.2)


def test_trimmed_mean_leaves_out_the_worst_hundredth():
    assert trimmed_mean(np.r_[np.zeros(990), np.full(10, 1e10)]) == 0
    assert trimmed_mean(np.r_[np.zeros(989), np.full(11, 1e10)]) > 0


def test_probe_reads_a_planted_label_and_none_from_noise():
    rng = np.random.default_rng(4)
    known, latents = rng.normal(size=(3000, 3)), rng.normal(size=(500, 3))
    label, truth = known @ [1.0, 2.0, 0.0], latents @ [1.0, 2.0, 0.0]
    label[0] = truth[0] = np.nan  # a star without a label
    assert probe_errors(known, label, latents, truth) < 0.5
    assert probe_errors(rng.permutation(known), label, latents, truth) > 1.5


def test_loss_is_that_of_training_in_units_of_no_scaling(tmp_path):
    batch = Universe(1_200, seed=5).spectra()
    store = xps.build_store([("stars", batch)], str(tmp_path / "store"), attributes={})
    model = xps.train(store, str(tmp_path / "model"), TrainingSettings(epochs=1, hidden=(8,)))
    loss = loss_of_stars(model, batch)
    assert loss.shape == (len(batch),)
    assert np.array_equal(loss, loss_of_stars(model, batch))
    one = score("model", model, batch)
    assert loss.mean() == pytest.approx(one.normalized_nll, abs=0.5)
