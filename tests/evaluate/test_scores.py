import numpy as np
import pytest

from xpscale.bands import Bands
from xpscale.evaluate.scores import score
from xpscale.model.card import ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import Architecture, ScatterVAE
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
