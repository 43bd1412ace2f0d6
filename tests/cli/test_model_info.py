"""What ``xpscale model info`` adds to the card."""

import json
import math

import numpy as np
import pytest

from tests.commands import done
from xpscale.bands import Bands
from xpscale.model.card import ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import Architecture, ScatterVAE

BANDS = Bands(3, 4)


@pytest.mark.parametrize("width", [0.5, 2.0, None])
def test_the_loss_that_models_are_compared_by(width, tmp_path):
    network = ScatterVAE(Architecture(BANDS))
    scaling = Scaling(np.zeros(7), np.full(7, width), BANDS) if width else Scaling.unknown(BANDS)
    card = ModelCard(network.architecture, metrics={"held_out_loss": 5.0})
    density = TrainingDensity.unknown(BANDS)
    TrainedModel.create(network, scaling, density, card).save(str(tmp_path))
    metrics = json.loads(done("model", "info", tmp_path, "--json").out)["metrics"]
    assert metrics["held_out_loss"] == 5.0
    if width is None:
        assert set(metrics) == {"held_out_loss"}
    else:
        expected = 5 + 7 * math.log(width * math.sqrt(2 * math.pi))
        assert metrics["held_out_normalized_nll"] == pytest.approx(expected)
        text = done("model", "info", tmp_path).out
        assert f"held_out_normalized_nll  {expected:.6g}" in text
        assert "in_distribution_score  unknown: it will be NaN" in text
