"""A second architecture: absent tokens, and the same training, checkpoint and inference as the
others.
"""

import numpy as np
import pytest
import torch

import xpscale as xps
from tests.commands import done
from tests.support.memory_reader import SIX_EACH
from xpscale.errors import InvalidInputError
from xpscale.ingest.build import build_store
from xpscale.model.architectures import build
from xpscale.model.card import Architecture
from xpscale.testing.universe import Universe

SMALL = Architecture(SIX_EACH, 3, (16, 16), "transformer")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build(SMALL).eval()


def spectra(n, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 12, generator=generator), torch.rand(n, 12, generator=generator) + 0.05


def test_a_missing_coefficient_is_an_absent_token(network):
    x, x_err = spectra(5)
    whole = network.encode(x, x_err).mean
    for missing in (torch.nan, torch.inf):
        spoiled, hidden = x.clone(), x_err.clone()
        spoiled[:, 3], hidden[:, 3] = missing, torch.inf
        by_value, by_error = network.encode(spoiled, x_err).mean, network.encode(x, hidden).mean
        assert torch.equal(by_value, by_error)
        assert not torch.isclose(by_value, whole).all(1).any()
    # the token is gone, not zero: what e_3 is does not matter any more
    with torch.no_grad():
        network.which[4, 0] += 10
    assert torch.equal(network.encode(spoiled, x_err).mean, by_value)
    assert not torch.isclose(network.encode(x, x_err).mean, whole).all()
    nothing = network.encode(torch.full_like(x, torch.nan), x_err)
    assert torch.isfinite(nothing.mean).all()
    assert torch.isfinite(nothing.log_var).all()


@pytest.mark.parametrize("hidden", [(16, 32), (12, 12)])
def test_widths_it_cannot_have_are_refused(hidden):
    with pytest.raises(InvalidInputError, match="a multiple of 8"):
        build(Architecture(SIX_EACH, 3, hidden, "transformer"))


@pytest.mark.slow
def test_it_trains_is_saved_and_infers_through_the_same_commands(tmp_path):
    pieces = ((f"p{i}", batch) for i, batch in enumerate(Universe(1500, seed=3).batches()))
    build_store(pieces, str(tmp_path / "store"), attributes={"origin": "universe"}, max_rows=800)
    (tmp_path / "s.toml").write_text(
        '[training]\nnetwork = "transformer"\nhidden = [16, 16]\nbatch_size = 64\nepochs = 2\n'
    )
    done("train", tmp_path / "store", tmp_path / "model", "--settings", tmp_path / "s.toml")
    rows = (tmp_path / "model" / "history.csv").read_text().splitlines()
    held_out = [
        float(row.split(",")[rows[0].split(",").index("held_out_loss")]) for row in rows[1:]
    ]
    assert held_out[1] < held_out[0] - 1
    done("infer", tmp_path / "store", tmp_path / "model", tmp_path / "catalog", "--workers", 0)
    table = xps.open_catalog(str(tmp_path / "catalog")).select().to_pandas()
    assert len(table) == 1500
    model = xps.load_model(str(tmp_path / "model"))
    store = xps.open_store(str(tmp_path / "store"))
    batch = store.read(store.partitions[0])
    expected = dict(
        zip(batch.source_id.tolist(), model.encode(batch).mean[:, 0].tolist(), strict=True)
    )
    found = table.set_index("source_id").loc[list(expected), "latent_mean_0"]
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-4, atol=1e-4)
