"""The numerics contract, on the real encoder: float32 and the exact erf stay as close to float64 as
design/007 says.

And what must not be used would break it: TF32 and bfloat16 are emulated by rounding what goes into
matrix products."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.support.exact import column_arrays, exact_columns, hostile_rows, rounded_products
from tests.support.numerics import MAX_DEVIATION, MAX_DEVIATION_HOSTILE, deviations
from xpscale.bands import Bands
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.model.architectures import ARCHITECTURES, build
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.published import import_published
from xpscale.model.scaling import Scaling, trainable_rows
from xpscale.spectra import SpectraBatch
from xpscale.testing.universe import Universe

DATA = Path(os.environ.get("XPSCALE_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
LIBRARY, WEIGHTS = DATA / "apogee_library.parquet", DATA / "published_model/weight.pt"
OUTPUTS = ("latents", "reconstruction", "scatter")


def published_on_real_rows():
    if not (LIBRARY.is_file() and WEIGHTS.is_file()):
        pytest.skip(f"no apogee_library.parquet and published_model in {DATA}")
    names = ("source_id", "phot_g_mean_flux", "coefficients", "coefficient_errors")
    table = pq.read_table(LIBRARY, columns=list(names))
    source_id, flux = (table[name].to_numpy() for name in names[:2])
    c, e = (
        table[name].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        for name in names[2:]
    )
    nowhere = np.zeros(len(table))
    batch = SpectraBatch(
        source_id,
        nowhere,
        nowhere,
        flux.astype(float),
        c.astype("f4"),
        e.astype("f4"),
        Bands(55, 55),
    )
    batch = batch.take(trainable_rows(batch))
    return import_published(WEIGHTS, Scaling.fit([batch])), batch.take(slice(0, None, 4))


def random_on_made_up_rows(name):
    """Any architecture with random weights, whose normalizations have seen something; the default
    one with its latents turned.
    """
    (batch,) = Universe(3_000, seed=4).batches()
    batch = batch.take(trainable_rows(batch))
    torch.manual_seed(2)
    widths = {"hidden": (32, 32)} if name == "transformer" else {}
    network = build(Architecture(batch.bands, name=name, **widths))
    for buffer in network.buffers():
        if buffer.dtype.is_floating_point:
            buffer.uniform_(0.3, 2.0)
    if name == "iterative":
        network.turn(torch.linalg.qr(torch.randn(6, 6).double())[0])
    scaling = Scaling.fit([batch])
    card = ModelCard(network.architecture)
    return TrainedModel.create(network, scaling, TrainingDensity.unknown(batch.bands), card), batch


@pytest.fixture(scope="module", params=["published", *ARCHITECTURES])
def case(request):
    """A model and spectra for it."""
    return (
        published_on_real_rows()
        if request.param == "published"
        else random_on_made_up_rows(request.param)
    )


def largest(model, batch, encoder):
    exact = exact_columns(model, batch)
    found = deviations(column_arrays(encoder(batch)), exact, batch.coefficient_errors)
    return {name: float(values.max()) for name, values in found.items()}


def broken(found, limits):
    assert set(limits) <= set(found)
    return {
        name: value for name, value in found.items() if name in limits and not value <= limits[name]
    }


def test_the_contract_holds(case, device):
    model, batch = case
    encoder = ScatterVAEEncoder(model, OUTPUTS, device)
    assert not broken(largest(model, batch, encoder), MAX_DEVIATION)
    n_hostile = (
        4_000 if model.network.architecture.name == "transformer" else 20_000
    )  # which takes 30 times as long a row
    assert not broken(
        largest(model, hostile_rows(batch, n_hostile), encoder), MAX_DEVIATION_HOSTILE
    )


@pytest.mark.parametrize(("n_bits", "sigmas"), [(10, 0.3), (7, 2)], ids=["TF32", "bfloat16"])
def test_fewer_bits_would_break_it(n_bits, sigmas):
    model, batch = published_on_real_rows()
    encoder = ScatterVAEEncoder(model, OUTPUTS, "cpu")
    with rounded_products(n_bits):
        found = largest(model, batch, encoder)
    assert {"latent_mean", "latent_log_var", "reconstruction", "kl"} <= set(
        broken(found, MAX_DEVIATION)
    )
    assert found["latent_mean_sigmas"] > sigmas


def assert_equal(found, expected):
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, name)


def test_what_the_caller_switched_on_is_off_in_the_encoder():
    model, batch = random_on_made_up_rows("scatter_vae")
    expected = column_arrays(ScatterVAEEncoder(model, OUTPUTS, "cpu")(batch))
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            encoder = ScatterVAEEncoder(model, OUTPUTS, "cpu")
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cuda.matmul.allow_tf32
            assert_equal(column_arrays(encoder(batch)), expected)
        with torch.autocast("cpu", torch.float16):
            assert_equal(column_arrays(encoder(batch)), expected)
    finally:
        torch.set_float32_matmul_precision(before)
