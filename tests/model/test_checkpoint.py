import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import SMALL, random_network

from xpscale.bands import Bands
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.model.card import ModelCard
from xpscale.model.checkpoint import TrainedModel, load_model
from xpscale.model.folder import CARD, DECODER, WEIGHTS
from xpscale.model.portable import open_portable
from xpscale.model.published import import_published
from xpscale.model.scaling import Scaling
from xpscale.model.typicality import LEVELS, Typicality

DATA = Path(os.environ.get("XPSCALE_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
WEIGHT = DATA / "published_model/weight.pt"


def test_a_saved_model_is_the_same_model(model, spectra, tmp_path):
    model.save(str(tmp_path / "m"))
    back = load_model(str(tmp_path / "m"))
    assert back.model_id == model.model_id
    assert back.card == model.card
    assert torch.equal(back.encode(spectra).mean, model.encode(spectra).mean)
    model.save(str(tmp_path / "m"))  # again: nothing to do
    assert sorted(os.listdir(tmp_path / "m")) == [CARD, DECODER, WEIGHTS]


def test_the_id_is_of_the_content_alone(model):
    told_otherwise = TrainedModel.create(
        model.network, model.scaling, model.density, replace(model.card, notes="x")
    )
    assert told_otherwise.model_id == model.model_id
    shifted = replace(model.scaling, mean=model.scaling.mean + 1e-12)
    other_density = replace(model.density, n_rows=model.density.n_rows + 1)
    for parts in (
        (random_network(seed=1), model.scaling, model.density),
        (model.network, shifted, model.density),
        (model.network, model.scaling, other_density),
    ):
        assert TrainedModel.create(*parts, ModelCard(SMALL)).model_id != model.model_id
    typicality = Typicality(np.arange(2.0), np.zeros((4, 2, len(LEVELS))))
    parts = model.network, model.scaling, model.density, ModelCard(SMALL), typicality
    assert TrainedModel.create(*parts).model_id != model.model_id


def test_decode_gives_the_archives_units(model, spectra):
    z = model.encode(spectra).mean
    found = model.decode(z, spectra.phot_g_mean_flux)
    with torch.no_grad():
        standardized = model.network.decode(z)
    flux = spectra.phot_g_mean_flux[:, None]
    expected = (standardized.mean.numpy() * model.scaling.std + model.scaling.mean) * flux
    np.testing.assert_allclose(found.mean.numpy(), expected)
    np.testing.assert_allclose(
        found.scatter.numpy(), standardized.scatter.numpy() * model.scaling.std * flux
    )


def test_another_model_is_not_overwritten(model, tmp_path):
    model.save(str(tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = TrainedModel.create(
        random_network(seed=1), model.scaling, model.density, ModelCard(SMALL)
    )
    with pytest.raises(ConflictError, match="already holds another model"):
        other.save(str(tmp_path))
    (tmp_path / CARD).unlink()  # the rest of a broken save counts too
    with pytest.raises(ConflictError):
        other.save(str(tmp_path))
    assert (tmp_path / WEIGHTS).read_bytes() == before[WEIGHTS]


def test_what_is_no_sound_model_is_refused_by_name(model, tmp_path):
    with pytest.raises(NotFoundError, match="no model"):
        load_model(str(tmp_path / "nowhere"))
    model.save(str(tmp_path))
    card, weights = (tmp_path / CARD).read_text(), (tmp_path / WEIGHTS).read_bytes()
    flipped = bytearray(weights)
    flipped[-3] ^= 1
    for content, message in (
        (bytes(flipped), "not the model its card names"),
        (weights[:-9], "damaged"),
    ):
        (tmp_path / WEIGHTS).write_bytes(content)
        with pytest.raises(InvalidInputError, match=message):
            load_model(str(tmp_path))
    (tmp_path / WEIGHTS).write_bytes(weights)
    for text in ("{}", "not json", json.dumps({**json.loads(card), "format": 99})):
        (tmp_path / CARD).write_text(text)
        with pytest.raises(InvalidInputError, match=r"card\.json"):
            load_model(str(tmp_path))


@pytest.mark.skipif(not WEIGHT.is_file(), reason=f"no published weights at {WEIGHT}")
def test_published_weights_become_a_model(spectra, tmp_path):
    model = import_published(WEIGHT)
    model.save(str(tmp_path / "m"))
    assert load_model(str(tmp_path / "m")).model_id == model.model_id
    assert "without a scaling" in model.card.notes
    with pytest.raises(InvalidInputError, match=r"takes 55 BP \+ 55 RP coefficients"):
        model.encode(spectra)
    state = torch.load(WEIGHT, weights_only=True, map_location="cpu")
    state["model_state_dict"]["decoder.2.0.weight"] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "off.pt")
    with pytest.raises(InvalidInputError, match="size mismatch"):
        import_published(tmp_path / "off.pt")


def test_files_that_are_not_the_published_weights_are_refused(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pt")
    torch.save({"model_state_dict": {"a": torch.zeros(3)}}, tmp_path / "net.pt")
    torch.save(Path, tmp_path / "code.pt")
    (tmp_path / "text.pt").write_text("weights")
    for name in ("other", "net", "code", "text"):
        with pytest.raises(InvalidInputError, match=f"{name}.pt"):
            import_published(tmp_path / f"{name}.pt")
    with pytest.raises(NotFoundError):
        import_published(tmp_path / "none.pt")


def test_a_folder_of_an_older_format_is_refused_with_a_remedy(model, tmp_path):
    model.save(str(tmp_path))
    card = json.loads((tmp_path / CARD).read_text())
    for version, remedy in ((1, "Train or import the model again"), (3, "Update xpscale")):
        (tmp_path / CARD).write_text(json.dumps({**card, "format": version}))
        for read in (load_model, open_portable):
            with pytest.raises(InvalidInputError, match=f"has format {version}, .* reads 2") as e:
                read(str(tmp_path))
            assert remedy in str(e.value)


def test_parts_of_different_bands_make_no_model(model):
    other = Scaling(model.scaling.mean, model.scaling.std, Bands(5, 7))
    with pytest.raises(InvalidInputError, match=r"takes 6 BP \+ 6 RP .* scaling has 5 BP \+ 7 RP"):
        TrainedModel.create(model.network, other, model.density, model.card)
