import pytest
import torch

from xpscale.bands import Bands
from xpscale.catalog.manifest import RunIdentity
from xpscale.model.architectures import build
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.schema import OUTPUTS, SCHEMA_VERSION


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory):
    """The folder of a small model."""
    bands = Bands(6, 6)
    torch.manual_seed(0)
    architecture = Architecture(bands, n_latents=2, hidden=(5,))
    model = TrainedModel.create(
        build(architecture),
        Scaling(torch.zeros(12).double().numpy(), torch.ones(12).double().numpy(), bands),
        TrainingDensity.unknown(bands),
        ModelCard(architecture),
    )
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save(str(folder))
    return folder


@pytest.fixture
def identity():
    """What a catalogue is made of."""
    return RunIdentity(
        *("in-1", "model-1", 6, 55, 55, "Gaia DR3", 4, OUTPUTS, SCHEMA_VERSION, "xpscale 0.1.0")
    )
