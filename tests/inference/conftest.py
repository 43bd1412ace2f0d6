"""A spectra store of a small universe, an untrained model scaled on it, and a catalogue made
without disturbance.
"""

import numpy as np
import pytest
import torch

from xpscale.inference.plan import plan_inference
from xpscale.inference.run import run_inference
from xpscale.ingest.build import build_store
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import ScatterVAE
from xpscale.testing.universe import Universe
from xpscale.training.batches import Rows, standardized
from xpscale.training.typical import typicality_of

N_SOURCES, MAX_ROWS = 4_000, 400


def model_of(batches, seed=0, change=lambda network: None):
    """A model with random weights that knows its scaling and its training sample."""
    batches = list(batches)
    torch.manual_seed(seed)
    network = ScatterVAE(Architecture(batches[0].bands)).eval()
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.05, 0.5)
        change(network)
    scaling = Scaling.fit(batches)
    density = TrainingDensity.fit(
        [scaling.standardize(batch)[0] for batch in batches], scaling.bands
    )
    rows = Rows(*standardized(batches[0], scaling), batches[0].source_id)
    typicality = typicality_of(network, rows, density, seed)
    return TrainedModel.create(
        network, scaling, density, ModelCard(network.architecture), typicality
    )


@pytest.fixture(scope="session")
def make_model():
    return model_of


@pytest.fixture(scope="session")
def spectra():
    """The universe's rows; a fresh copy of their arrays for whoever spoils them."""
    return Universe(N_SOURCES, seed=6).spectra()


@pytest.fixture(scope="session")
def store(spectra, tmp_path_factory):
    url = str(tmp_path_factory.mktemp("inference") / "store")
    attributes = {"release": "synthetic", "origin": "universe"}
    return build_store([("all", spectra)], url, attributes=attributes, max_rows=MAX_ROWS)


@pytest.fixture(scope="session")
def model(spectra):
    return model_of([spectra])


@pytest.fixture(scope="session")
def reference(store, model, tmp_path_factory):
    """The report of an undisturbed serial run."""
    url = str(tmp_path_factory.mktemp("reference") / "catalog")
    return run_inference(plan_inference(store, model, url))


@pytest.fixture
def copied(spectra):
    return spectra.take(np.arange(len(spectra)))
