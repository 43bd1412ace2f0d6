"""The decoder in numpy agrees with torch's, for every architecture."""

import json

import numpy as np
import pytest
import torch

from tests.model.small_models import small_model
from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.model.architectures import ARCHITECTURES
from xpscale.model.decoder import DECODERS, load_decoder
from xpscale.model.folder import CARD, DECODER, WEIGHTS
from xpscale.model.gelu import gelu


def test_every_architecture_has_one():
    ours = {
        n for n, network in ARCHITECTURES.items() if network.__module__.startswith("xpscale.model.")
    }
    assert DECODERS.keys() == ours


def test_gelu_is_that_of_torch():
    x = np.linspace(-9, 9, 100_001, dtype=np.float32)
    exact = torch.nn.functional.gelu(torch.from_numpy(x).double()).numpy()
    assert (np.abs(gelu(x) - exact) <= 2e-7 * (1 + np.abs(x))).all()


@pytest.mark.parametrize("bands", [Bands(55, 55), Bands(51, 55)], ids=str)
@pytest.mark.parametrize("name", [*ARCHITECTURES, "turned"])
def test_it_agrees_with_torch(name, bands, tmp_path):
    model = small_model(name.replace("turned", "iterative"), bands)
    if name == "turned":
        model.network.turn(torch.linalg.qr(torch.randn(model.n_latents, model.n_latents))[0])
        model = type(model).create(model.network, model.scaling, model.density, model.card)
    model.save(str(tmp_path))
    z = np.random.default_rng(1).normal(size=(500, model.n_latents)).astype(np.float32)
    flux = np.random.default_rng(2).uniform(1e2, 1e6, 500)
    decoder = load_decoder(str(tmp_path))
    mean, scatter = decoder.decode(z, flux)
    expected = model.decode(torch.from_numpy(z), flux)
    width = decoder.scaling_std * flux[:, None]  # rounding is relative to standardized units
    size = 1 + np.abs(expected.mean.numpy() / width)
    assert np.abs((mean - expected.mean.numpy()) / width / size).max() < 1e-5
    assert np.abs(scatter / expected.scatter.numpy() - 1).max() < 1e-4
    assert (decoder.model_id, decoder.bands) == (model.model_id, bands)


def test_a_model_holds_its_decoder():
    model = small_model("iterative", Bands(55, 55))
    z, flux = np.zeros((1, model.n_latents), np.float32), np.ones(1)
    mean, _ = model.decoder.decode(z, flux)
    assert np.allclose(mean, model.decode(torch.from_numpy(z), flux).mean.numpy(), rtol=1e-4)


def test_other_weights_than_the_card_says_are_refused(tmp_path):
    model = small_model("iterative", Bands(55, 55))
    model.save(str(tmp_path))
    content = bytearray((tmp_path / DECODER).read_bytes())
    assert len(content) < (tmp_path / WEIGHTS).stat().st_size / 2
    content[-5] ^= 1
    (tmp_path / DECODER).write_bytes(content)
    with pytest.raises(InvalidInputError, match="is not what the model's card names"):
        load_decoder(str(tmp_path))


def test_models_without_a_decoder_apart_are_read(tmp_path):
    model = small_model("iterative", Bands(55, 55))
    model.save(str(tmp_path))
    (tmp_path / DECODER).unlink()
    card = json.loads((tmp_path / CARD).read_text())
    del card["decoder_sha256"]
    (tmp_path / CARD).write_text(json.dumps(card))
    assert load_decoder(str(tmp_path)).model_id == model.model_id
