"""A model elsewhere: with torch and safetensors alone, and as an exported program."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_models import SMALL, batch_of, random_network

from tests.commands import done, xpscale
from tests.support.memory_reader import SIX_EACH
from xpscale.errors import InvalidInputError, NotFoundError, PermanentError
from xpscale.model import export
from xpscale.model.architectures import ARCHITECTURES, build
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.folder import CARD, WEIGHTS
from xpscale.model.portable import open_portable
from xpscale.model.scaling import Scaling

ALONE = """
import importlib.abc, json, sys

ALLOWED = {"torch", "torchgen", "functorch", "safetensors", "xpscale", "typing_extensions"}

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {name!r}: it is blocked", name=name)

import warnings
warnings.simplefilter("ignore")
sys.meta_path.insert(0, Blocked())
from xpscale.model.portable import open_portable
import torch

model = open_portable(sys.argv[1])
c, e, g = (torch.tensor(values) for values in json.loads(sys.argv[2]))
print(json.dumps([values.tolist() for values in model(c, e, g)]))
assert "numpy" not in sys.modules and "zarr" not in sys.modules
"""


def model_of(name):
    hidden = (16, 16) if name == "transformer" else (9, 7, 5)
    torch.manual_seed(3)
    network = (
        random_network()
        if name == "scatter_vae"
        else build(Architecture(SIX_EACH, 3, hidden, name))
    )
    rng = np.random.default_rng(5)
    scaling = Scaling(rng.normal(0.05, 0.01, 12), rng.uniform(1e-3, 1e-2, 12), SIX_EACH)
    return TrainedModel.create(
        network, scaling, TrainingDensity.unknown(SIX_EACH), ModelCard(network.architecture)
    )


def spectra(n=6):
    rng = np.random.default_rng(1)
    flux = 10 ** rng.uniform(2, 5, n)
    coefficients = flux[:, None] * rng.normal(0.05, 0.01, (n, 12))
    return batch_of(coefficients, np.abs(coefficients) * 0.02 + 1e-3, flux)


def tensors(batch):
    return (
        torch.tensor(batch.coefficients),
        torch.tensor(batch.coefficient_errors),
        torch.tensor(batch.phot_g_mean_flux),
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_loads_and_runs_with_torch_and_safetensors_alone(name, tmp_path):
    model, batch = model_of(name), spectra()
    model.save(str(tmp_path / "m"))
    words = json.dumps([values.tolist() for values in tensors(batch)])
    ended = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path / "m"), words],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    mean, log_var, reconstruction, scatter = map(np.array, json.loads(ended.stdout))
    posterior = model.encode(batch)
    decoded = model.decode(posterior.mean, batch.phot_g_mean_flux)
    np.testing.assert_allclose(mean, posterior.mean.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(log_var, posterior.log_var.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(reconstruction, decoded.mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(scatter, decoded.scatter.numpy(), rtol=1e-4)


def test_it_checks_the_hash(tmp_path):
    with pytest.raises(NotFoundError, match="no model at"):
        open_portable(tmp_path / "nowhere")
    model_of("scatter_vae").save(str(tmp_path))
    weights, card = (tmp_path / WEIGHTS).read_bytes(), json.loads((tmp_path / CARD).read_text())
    flipped = bytearray(weights)
    flipped[-3] ^= 1
    (tmp_path / WEIGHTS).write_bytes(bytes(flipped))
    with pytest.raises(InvalidInputError, match="not the model its card names"):
        open_portable(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(weights[:-9])
    with pytest.raises(InvalidInputError, match="damaged"):
        open_portable(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(weights)
    card["architecture"]["n_latents"] = 2
    (tmp_path / CARD).write_text(json.dumps(card))
    with pytest.raises(InvalidInputError, match="not the model its card names"):
        open_portable(tmp_path)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_exported_program_is_the_model_for_any_number_of_rows(name, tmp_path):
    model = model_of(name)
    model.save(str(tmp_path / "m"))
    said = done("model", "export", tmp_path / "m", "-o", tmp_path / "model.pt2").err
    assert "differs from the model by" in said
    extra = {"model_id": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=extra).module()
    assert extra["model_id"] in (model.model_id, model.model_id.encode())
    for n in (1, 3, 40):
        batch = spectra(n)
        mean, _, reconstruction, _ = program(*tensors(batch))
        posterior = model.encode(batch)
        torch.testing.assert_close(mean, posterior.mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            reconstruction,
            model.decode(posterior.mean, batch.phot_g_mean_flux).mean,
            rtol=1e-5,
            atol=0,
        )


def test_an_export_that_would_differ_is_refused(tmp_path, monkeypatch):
    model = model_of("noise_aware")
    monkeypatch.setattr(export, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(PermanentError, match="latent_mean differs from the model's by"):
        export.export_program(model)
    bare = TrainedModel.create(
        random_network(),
        Scaling.unknown(SIX_EACH),
        TrainingDensity.unknown(SIX_EACH),
        ModelCard(SMALL),
    )
    bare.save(str(tmp_path / "bare"))
    result = xpscale("model", "export", tmp_path / "bare", "-o", tmp_path / "x.pt2")
    assert result.code == InvalidInputError.exit_code
    assert "has no scaling" in result.err
    assert not (tmp_path / "x.pt2").exists()
