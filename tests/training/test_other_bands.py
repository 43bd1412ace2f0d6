"""Training on spectra whose bands are not of one width, as those behind Gaia DR4."""

import json

import numpy as np
import pytest
import torch

from tests.support.memory_reader import MemoryReader, planted
from xpscale.bands import Bands
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.model.card import Architecture
from xpscale.model.checkpoint import load_model
from xpscale.model.density import cell_of
from xpscale.model.export import export_program
from xpscale.model.portable import open_portable
from xpscale.model.published import import_published
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import ScatterVAE
from xpscale.release import find_release
from xpscale.testing.universe import Universe
from xpscale.training.loader import load_training_data
from xpscale.training.run import train
from xpscale.training.settings import TrainingSettings

SETTINGS = TrainingSettings(epochs=2, batch_size=64, n_latents=3, hidden=(16, 16))
both = pytest.mark.parametrize("bands", [Bands(51, 55), Bands(48, 44)], ids=str)


@both
def test_the_density_is_over_the_first_coefficient_of_each_band(bands):
    reader = MemoryReader(planted(500, bands))
    data = load_training_data(reader, SETTINGS)
    x = data.training.x.numpy()
    leading = x[:, [0, bands.n_bp]]
    wanted = np.histogram2d(*leading.T, bins=64, range=[[-6, 6]] * 2)[0]
    np.testing.assert_array_equal(data.density.counts, wanted)
    moved = x.copy()
    moved[:, bands.n_bp] += 1
    assert (cell_of(moved, bands) != cell_of(x, bands)).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    reader = MemoryReader(Universe(2_000, seed=1, bands=Bands(51, 55)).spectra())
    folder = tmp_path_factory.mktemp("models") / "dr4"
    return reader, folder, train(reader, str(folder), SETTINGS)


def test_a_model_of_51_and_55_coefficients_says_so_everywhere(trained):
    reader, folder, model = trained
    metrics = model.card.metrics
    assert all(np.isfinite(metrics[name]) for name in ("loss", "held_out_loss", "held_out_nll"))
    card = json.loads((folder / "card.json").read_text())
    assert card["architecture"]["bands"] == {"n_bp": 51, "n_rp": 55}
    assert card["release"] == reader.release.name
    loaded = load_model(str(folder))
    assert loaded.bands == loaded.scaling.bands == loaded.density.bands == Bands(51, 55)
    assert loaded.release == reader.release
    assert open_portable(folder).bands == Bands(51, 55)
    program, _ = export_program(loaded)
    assert b"51 BP + 55 RP" in program


class OfRelease(MemoryReader):
    """The same spectra, said to be of DR4."""

    release = find_release("dr4")


def test_a_run_goes_on_with_the_same_release_only(trained):
    reader, folder, _ = trained
    with pytest.raises(
        ConflictError, match=r"release Gaia .release not stated. there, Gaia DR4 here"
    ):
        train(OfRelease(reader.batch), str(folder), SETTINGS)


def test_published_weights_are_of_a_release(tmp_path):
    """Their number of coefficients must be that of the scaling, or of the release."""
    network = ScatterVAE(Architecture(Bands(51, 55)))
    names = {"latent_mean": "mu", "latent_log_var": "log_var", "mean": "decoder"}
    state = {}
    for name, values in network.state_dict().items():
        part, _, rest = name.partition(".")
        last = f"{len(network.architecture.hidden)}."
        if part in ("mean", "scatter") and rest.startswith(last):
            rest = f"{last}0.{rest.removeprefix(last)}"
        state[f"{names.get(part, part)}.{rest}"] = values
    torch.save({"model_state_dict": state}, tmp_path / "weight.pt")
    with pytest.raises(InvalidInputError, match=r"takes 106 coefficients, not 55 BP \+ 55 RP"):
        import_published(tmp_path / "weight.pt")
    scaling = Scaling(np.zeros(106), np.ones(106), Bands(51, 55))
    found = import_published(tmp_path / "weight.pt", scaling, release=find_release("dr4"))
    assert found.bands == Bands(51, 55)
    assert found.release == find_release("dr4")
