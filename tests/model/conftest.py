import numpy as np
import pytest
from small_models import SMALL, batch_of, random_network

from xpscale.model.card import ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling


@pytest.fixture
def network():
    return random_network()


@pytest.fixture
def spectra():
    rng = np.random.default_rng(5)
    flux = 10 ** rng.uniform(2, 5, 300)
    coefficients = flux[:, None] * rng.normal(0.05, 0.01, (300, 12))
    return batch_of(coefficients, np.abs(coefficients) * 0.02 + 1e-3, flux)


@pytest.fixture
def model(network, spectra):
    scaling = Scaling.fit([spectra])
    density = TrainingDensity.fit([scaling.standardize(spectra)[0]], scaling.bands)
    return TrainedModel.create(network, scaling, density, ModelCard(SMALL))
