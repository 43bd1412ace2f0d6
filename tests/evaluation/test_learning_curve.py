"""A planted law and a planted effect of density are found, and are not found where nothing was
planted.
"""

import numpy as np
import pytest
import torch
from scipy.stats import norm

import xpscale as xps
from xpscale.errors import InvalidInputError
from xpscale.evaluation.learning_curve import (
    density_effect,
    fit_law,
    loss_of_stars,
    probe_errors,
    trimmed_mean,
)
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.distributions import LatentPosterior, Reconstruction
from xpscale.model.scaling import Scaling, normalized
from xpscale.model.scatter_vae import ScatterVAE
from xpscale.testing.universe import Universe
from xpscale.training.batches import Rows
from xpscale.training.metrics import held_out_loss
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
    data = map(torch.from_numpy, model.scaling.standardize(batch))
    once = held_out_loss(model.network, Rows(*data, batch.source_id), 0).loss
    assert loss.mean() == pytest.approx(once + normalization(model), abs=0.5)


def normalization(model):
    """What a loss in standardized units lacks to one of c / G, with all constants."""
    return model.n_coefficients / 2 * np.log(2 * np.pi) + model.scaling.log_volume


@pytest.mark.parametrize("units", [1.0, 0.01, 300.0])
def test_the_loss_of_normalized_spectra_does_not_depend_on_the_scaling(units):
    """The same distribution of c / G, through scalings of other widths: z is not looked at."""
    batch = Universe(400, seed=3).spectra()
    scaling = Scaling.fit([batch])

    class Fixed(ScatterVAE):
        """x_hat = 0 and s = 1/2 in units of one scaling, nothing known of z."""

        def encode(self, x, x_err=None):
            zero = torch.zeros(len(x), 6)
            return LatentPosterior(zero, zero)

        def decode(self, z):
            zero = torch.zeros(len(z), 110)
            return Reconstruction(zero, zero + 0.5 / units)

    network = Fixed(Architecture(batch.bands)).eval()
    scaled = Scaling(scaling.mean, scaling.std * units, batch.bands)
    card = ModelCard(network.architecture)
    model = TrainedModel.create(network, scaled, TrainingDensity.unknown(batch.bands), card)
    width = np.hypot(batch.coefficient_errors / batch.phot_g_mean_flux[:, None], scaling.std / 2)
    log_p = norm.logpdf(normalized(batch), scaling.mean, width).sum(1)
    assert loss_of_stars(model, batch) == pytest.approx(-log_p, rel=1e-4)
