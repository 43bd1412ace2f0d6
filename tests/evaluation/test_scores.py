import numpy as np
import pytest
import torch
from scipy.stats import norm

from xpscale.bands import Bands
from xpscale.evaluation.scores import score
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.distributions import LatentPosterior, Reconstruction
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import ScatterVAE
from xpscale.testing.universe import Universe


@pytest.mark.parametrize("bands", [Bands(51, 55), Bands(48, 44)], ids=str)
def test_coefficients_are_named_by_their_band(bands):
    universe = Universe(400, seed=3, bands=bands)
    batch, n = universe.spectra(), bands.n_coefficients
    network = ScatterVAE(Architecture(bands))
    density = TrainingDensity.unknown(bands)
    model = TrainedModel.create(
        network, Scaling.fit([batch]), density, ModelCard(network.architecture)
    )
    planted = np.full((len(batch), n), 1e9)  # above every error: no ratio is unknown
    names = list(score("untrained", model, batch, planted_scatter=planted).scatter_ratios)
    assert names[bands.n_bp - 1 : bands.n_bp + 1] == [f"BP {bands.n_bp - 1}", "RP 0"]
    assert names[-1] == f"RP {bands.n_rp - 1}"


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
    found = score("fixed", model, batch)
    flux = batch.phot_g_mean_flux[:, None]
    width = np.hypot(batch.coefficient_errors / flux, scaling.std / 2)
    log_p = norm.logpdf(batch.coefficients / flux, scaling.mean, width).sum(1)
    assert found.normalized_nll == pytest.approx(-log_p.mean(), rel=1e-5)
