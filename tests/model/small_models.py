"""Small networks and batches of spectra."""

import numpy as np
import torch

from tests.support.memory_reader import SIX_EACH
from xpscale.bands import Bands
from xpscale.model.architectures import build
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import ScatterVAE
from xpscale.spectra import SpectraBatch

SMALL = Architecture(SIX_EACH, n_latents=3, hidden=(9, 7, 5))


def batch_of(coefficients, errors=None, flux=None):
    n = len(coefficients)
    return SpectraBatch(
        np.arange(1, n + 1),
        np.zeros(n),
        np.zeros(n),
        np.full(n, 100.0) if flux is None else flux,
        np.asarray(coefficients, np.float32),
        np.ones(np.shape(coefficients), np.float32)
        if errors is None
        else np.asarray(errors, np.float32),
        Bands(np.shape(coefficients)[1] // 2, -(-np.shape(coefficients)[1] // 2)),
    )


def random_network(architecture=SMALL, seed=0):
    """A network whose batch normalizations have seen something."""
    torch.manual_seed(seed)
    network = ScatterVAE(architecture)
    for buffer in network.buffers():
        if buffer.dtype.is_floating_point:
            buffer.uniform_(0.3, 2.0)
    return network.eval()


def small_model(name, bands, seed=0):
    """A model of an architecture, with random weights and scaling."""
    torch.manual_seed(seed)
    architecture = Architecture(bands, n_latents=4, hidden=(16, 16), name=name)
    network = build(architecture)
    for buffer in network.buffers():
        if buffer.dtype.is_floating_point:
            buffer.uniform_(0.3, 2.0)
    rng = np.random.default_rng(seed)
    scaling = Scaling(
        rng.normal(size=bands.n_coefficients), rng.uniform(0.1, 1, bands.n_coefficients), bands
    )
    density = TrainingDensity.unknown(bands)
    return TrainedModel.create(network, scaling, density, ModelCard(architecture))
