"""The encoder against the unfolded network and formulas written out in float64; every flag; what a
row costs.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from xpscale.catalog.votable import conform, product_schema
from xpscale.errors import InvalidInputError, TryAgainError
from xpscale.flags import Flag
from xpscale.inference.computed import CORRELATION_PRECISION
from xpscale.inference.device import Lane
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.model.architectures import ARCHITECTURES, build
from xpscale.model.card import ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.devices import pick_device
from xpscale.model.kernels import fit_rows
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import Architecture
from xpscale.model.typicality import oddness
from xpscale.query.posterior import latent_covariance
from xpscale.release import DR3
from xpscale.schema import (
    OUTPUTS,
    TableLayout,
    correlation_columns,
    products_of,
)
from xpscale.sky import healpix_29


def matrix(table, prefix, n=None):
    if n is None:
        return np.stack(table[prefix].to_numpy(zero_copy_only=False))
    return np.column_stack([table[f"{prefix}_{i}"].to_numpy() for i in range(n)])


def close(got, expected, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(
        np.asarray(got, float), np.asarray(expected, float), rtol=rtol, atol=atol
    )


def test_columns_are_those_of_the_equations(spectra, model):
    batch = spectra.take(
        np.random.default_rng(0).permutation(len(spectra))[:3_000]
    )  # more than one micro-batch
    table = ScatterVAEEncoder(model, OUTPUTS, "cpu")(batch)
    for product in ("latents", "spectra"):
        conform(table, product_schema(product, TableLayout(6, 110, DR3)))
    assert np.array_equal(table["_healpix_29"], healpix_29(batch.ra, batch.dec))
    for name in ("source_id", "ra", "dec", "phot_g_mean_flux"):
        assert np.array_equal(table[name], getattr(batch, name))
    assert set(table["n_coefficients"].to_pylist()) == {110}

    flux, m, d = batch.phot_g_mean_flux[:, None], model.scaling.mean, model.scaling.std
    x, sigma = (batch.coefficients / flux - m) / d, batch.coefficient_errors / flux / d
    network = model.network.double().eval()
    with torch.no_grad():
        posterior = network.encode(torch.from_numpy(x))
        decoded = network.decode(posterior.mean)
    model.network.float()
    mean, log_var = posterior.mean.numpy(), posterior.log_var.numpy()
    x_hat, s = decoded.mean.numpy(), decoded.scatter.numpy()
    close(matrix(table, "latent_mean", 6), mean)
    close(matrix(table, "latent_log_var", 6), log_var)
    close(matrix(table, "reconstruction"), (x_hat * d + m) * flux, rtol=1e-5, atol=1e-2)
    close(matrix(table, "scatter"), s * d * flux, rtol=1e-5)
    w = sigma**2 + s**2
    close(table["reduced_chi2"], ((x - x_hat) ** 2 / w).mean(1), rtol=1e-4)
    close(table["nll"], (((x - x_hat) ** 2 / w + np.log(w)) / 2).sum(1), rtol=1e-4, atol=1e-3)
    close(table["kl"], ((mean**2 + np.exp(log_var) - 1 - log_var) / 2).sum(1), rtol=1e-4)
    close(table["training_density"], model.density.at(x.astype(np.float32)))

    unfolded = model.encode(batch)
    close(matrix(table, "latent_mean", 6), unfolded.mean, atol=1e-5)


def test_the_score_is_that_of_the_spectrum_or_nan(spectra, model):
    batch = spectra.take(slice(500))
    encoder = ScatterVAEEncoder(model, OUTPUTS, "cpu")
    score = encoder(batch)["in_distribution_score"].to_numpy()
    x, x_err = model.scaling.standardize(batch)
    with torch.inference_mode():
        latents = model.network.encode(torch.from_numpy(x)).mean
        decoded = model.network.decode(latents)
    rows = (x, x_err), latents.numpy(), (decoded.mean.numpy(), decoded.scatter.numpy())
    expected = model.typicality.score(*oddness(*rows, model.density))
    close(score, expected, rtol=1e-2, atol=1e-4)
    assert 0.3 < np.median(score) < 0.7
    without_errors = replace(batch, coefficient_errors=None)
    uncounted = ScatterVAEEncoder(replace(model, typicality=None), OUTPUTS, "cpu")
    for encode, rows in ((encoder, without_errors), (uncounted, batch)):
        assert np.isnan(encode(rows)["in_distribution_score"].to_numpy()).all()


def test_rows_do_not_depend_on_their_neighbours(spectra, model):
    encoder = ScatterVAEEncoder(model, OUTPUTS, "cpu")
    whole = encoder(spectra)
    alone = pa.concat_tables([encoder(spectra.take(slice(i, i + 1))) for i in (0, 7, 2_500)])
    for name in whole.column_names:
        left, right = whole.take([0, 7, 2_500])[name], alone[name]
        if pa.types.is_nested(left.type):
            close(
                matrix(pa.table({name: left}), name),
                matrix(pa.table({name: right}), name),
                rtol=1e-4,
                atol=1e-2,
            )
        else:
            close(left, right, rtol=1e-4)
    assert len(encoder(spectra.take(slice(0)))) == 0


@pytest.mark.parametrize(
    "outputs", [OUTPUTS[:1], OUTPUTS[:2], OUTPUTS[:3], OUTPUTS[::3], OUTPUTS[:1] + OUTPUTS[2:]]
)
def test_only_what_was_chosen_is_computed_and_it_is_the_same(outputs, spectra, model):
    batch = spectra.take(slice(2_100))
    everything = ScatterVAEEncoder(model, OUTPUTS, "cpu")(batch)
    encoder = ScatterVAEEncoder(model, outputs, "cpu")
    no_errors = replace(batch, coefficient_errors=None)
    table = encoder(batch if encoder.has_fit else no_errors)
    expected = {
        name
        for product in products_of(outputs)
        for name in product_schema(product, TableLayout(6, 110, DR3, outputs)).names
    }
    assert set(table.column_names) == expected
    assert (
        encoder.has_fit == ("nll" in expected) == bool({*outputs} & {"reconstruction", "scatter"})
    )
    assert ("latent_correlation_4_5" in expected) == ("correlations" in outputs)
    for name in expected - {"flags"}:
        assert table[name].equals(everything[name]), name
    fit = int(Flag.ERRORS_UNUSABLE | Flag.SCATTER_AT_BOUND | Flag.POOR_FIT)
    if not encoder.has_fit:  # without errors, it cannot be told
        fit |= int(Flag.OUTSIDE_TRAINING_DOMAIN)
    seen = everything["flags"].to_numpy()
    assert np.array_equal(table["flags"], seen if encoder.has_fit else seen & ~fit)


def flags(model, batch):
    return ScatterVAEEncoder(model, OUTPUTS, "cpu")(batch)["flags"].to_numpy()


def test_each_flag_is_set_by_what_it_says_and_only_there(copied, model, make_model, spectra):
    before = flags(model, spectra)
    assert not (before & Flag.ERRORS_UNUSABLE).any()
    assert (before & Flag.OUTSIDE_TRAINING_DOMAIN).astype(bool).mean() < 0.005
    assert not (before[:7] & Flag.OUTSIDE_TRAINING_DOMAIN).any()
    copied.coefficient_errors[3] = 0
    copied.coefficient_errors[4] = np.nan
    copied.coefficient_errors[5] = -1
    copied.coefficients[6, 20] += 1e3 * model.scaling.std[20] * copied.phot_g_mean_flux[6]
    after = flags(model, copied)
    assert np.flatnonzero(after & Flag.ERRORS_UNUSABLE).tolist() == [3, 4, 5]
    assert (after & Flag.OUTSIDE_TRAINING_DOMAIN)[6]
    assert after[6] & Flag.POOR_FIT
    others = np.arange(len(after)) > 6
    assert np.array_equal(after[others], before[others])
    table = ScatterVAEEncoder(model, OUTPUTS, "cpu")(copied)
    for name in ("nll", "reduced_chi2"):
        assert np.flatnonzero(np.isnan(table[name].to_numpy())).tolist() == [3, 4, 5]
    assert np.array_equal((table["reduced_chi2"].to_numpy() > 10), (after & Flag.POOR_FIT) != 0)


@pytest.mark.parametrize("flag", [Flag.LATENT_VARIANCE_CLAMPED, Flag.SCATTER_AT_BOUND])
def test_flags_of_the_network_at_its_bounds(flag, spectra, model, make_model):
    def change(network):
        if flag is Flag.LATENT_VARIANCE_CLAMPED:
            network.latent_log_var.bias[2] = 100.0
        else:
            [layer for layer in network.scatter.modules() if isinstance(layer, torch.nn.Linear)][
                -1
            ].bias[40] = 100.0

    batch = spectra.take(slice(20))
    assert not (flags(model, batch) & flag).any()
    assert (flags(make_model([spectra], change=change), batch) & flag).all()


def test_devices_that_are_not_there_are_named():
    with pytest.raises(InvalidInputError, match="no device 'abacus'"):
        pick_device("abacus")
    assert pick_device("cpu").type == "cpu"


def test_a_full_device_gets_fewer_rows_at_once_and_the_numbers_stay(spectra, model, caplog):
    expected = ScatterVAEEncoder(model, OUTPUTS, "cpu")(spectra)
    encoder = ScatterVAEEncoder(model, OUTPUTS, "cpu")
    encoder.micro_batch = 2048
    network, seen = encoder.lanes.on_device.network, []
    encode = network.encode

    def encode_few(x, x_err=None):
        seen.append(len(x))
        if len(x) > 600:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return encode(x, x_err)

    network.encode = encode_few
    table = encoder(spectra)
    assert seen[:3] == [2048, 1024, 512]
    assert encoder.micro_batch == 512
    assert sum(n for n in seen if n <= 512) == len(spectra)
    assert "out of memory with 1024 rows at once: now 512" in caplog.text
    for name in ("source_id", "flags"):
        assert table[name].equals(expected[name])
    close(matrix(table, "latent_mean", 6), matrix(expected, "latent_mean", 6))
    network.encode = lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(TryAgainError, match="cpu has no memory left, not even for 256 rows"):
        encoder(spectra)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_micro_batch_of_any_network_takes_bounded_memory(model, name):
    hidden = {"hidden": (32, 32)} if name == "transformer" else {}
    network = build(Architecture(model.bands, name=name, **hidden)).eval()
    card = ModelCard(network.architecture)
    other = TrainedModel.create(network, model.scaling, model.density, card)
    encoder = ScatterVAEEncoder(other, ("latents",), "cpu")
    assert encoder.micro_batch == (256 if name == "transformer" else 4096)
    assert encoder.micro_batch * network.encoding_bytes <= 2**28


def test_micro_batches_on_their_way_come_back_in_order(spectra, model, monkeypatch):
    monkeypatch.setattr("xpscale.inference.encoder.CPU_MICRO_BATCH", 1000)
    expected = ScatterVAEEncoder(model, OUTPUTS, "cpu")(spectra)
    monkeypatch.setattr(Lane, "depth", 1)
    encoder = ScatterVAEEncoder(model, OUTPUTS, "cpu")
    with ThreadPoolExecutor(3) as threads:
        tables = list(threads.map(encoder, [spectra] * 4))
    assert all(table.equals(expected) for table in tables)


def test_a_fit_with_wild_errors_is_the_formula(spectra, model):
    batch = spectra.take(slice(200))
    x, x_err = model.scaling.standardize(batch)
    x_err *= np.float32(10) ** np.random.default_rng(1).integers(-14, 12, x_err.shape).astype(
        np.float32
    )
    s = np.random.default_rng(2).uniform(0, 1, x.shape).astype(np.float32) ** 40
    nll, chi2 = np.empty((2, len(x)), np.float32)
    n_seen, at_bound = np.empty(len(x), np.int16), np.empty(len(x), bool)
    fit_rows(x, x_err, np.zeros_like(x), s, nll, chi2, n_seen, np.float32(0.5), at_bound)
    w = x_err.astype(float) ** 2 + s.astype(float) ** 2
    z2 = x.astype(float) ** 2 / w
    np.testing.assert_allclose(nll, (z2 + np.log(w)).sum(1) / 2, rtol=2e-7)
    np.testing.assert_allclose(chi2, z2.mean(1), rtol=2e-7)
    assert (n_seen == x.shape[1]).all()
    assert np.array_equal(at_bound, (s > np.float32(0.5)).any(1))


def turned_model(spectra, seed=0):
    """A model of the default network, with correlations that differ from row to row."""
    scaling = Scaling.fit([spectra])
    torch.manual_seed(seed)
    network = build(Architecture(spectra.bands, hidden=(24, 24), name="iterative")).eval()
    with torch.no_grad():
        network.correction.weight *= 50
    network.turn(torch.linalg.qr(torch.randn(6, 6))[0])
    card = ModelCard(network.architecture)
    return TrainedModel.create(network, scaling, TrainingDensity.unknown(spectra.bands), card)


def test_correlations_are_the_posteriors_to_what_matters(spectra):
    """Rounded, they still make a positive definite matrix that is the same distribution."""
    model, batch = turned_model(spectra), spectra.take(slice(1_000))
    table = ScatterVAEEncoder(model, OUTPUTS, "cpu")(batch)
    exact = model.encode(batch)
    published = np.stack([table[name].to_numpy() for name in correlation_columns(6)], 1)
    off = np.abs(published - exact.correlations().numpy()) / exact.correlation_widths().numpy()
    assert off.max() <= CORRELATION_PRECISION * 1.01
    root, covariance = exact.root().double().numpy(), latent_covariance(table)
    inverse = np.linalg.inv(root)
    ratio = np.linalg.eigvalsh(inverse @ covariance @ inverse.transpose(0, 2, 1))
    assert np.abs(ratio - 1).max() < CORRELATION_PRECISION * np.sqrt(30)
    assert published.std() > 0.1  # there was something to round
    few = [len(np.unique(column * 2**12 % 1)) for column in published.T]
    assert max(few) < 50  # and few digits are left


LOSSES = {
    "no BP": (slice(0, 55), np.nan, None),
    "no RP": (slice(55, 110), np.nan, None),
    "infinite": (slice(7, 9), np.inf, None),
    "error of 0": (slice(20, 30), None, 0),
    "error of NaN": (slice(20, 110), None, np.nan),
    "error infinite": (slice(0, 54), None, np.inf),
    "truncated, errors kept": (slice(80, 110), 0, None),
    "truncated in BP": (slice(30, 55), 0, None),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_what_is_lost_is_not_seen_and_said(loss, spectra):
    """Whatever says that elements are missing, the rest alone decides, and the row says so."""
    model, batch = turned_model(spectra), spectra.take(np.arange(40))
    where, value, error = loss
    expected = spectra.take(np.arange(40))
    expected.coefficients[20:, where] = np.nan
    if value is not None:
        batch.coefficients[20:, where] = value
    if error is not None:
        batch.coefficient_errors[20:, where] = error
    encoder = ScatterVAEEncoder(model, OUTPUTS, "cpu")
    table, whole, other = encoder(batch), encoder(spectra.take(np.arange(40))), encoder(expected)
    n_lost = where.stop - where.start
    assert table["n_coefficients"].to_pylist() == [110] * 20 + [110 - n_lost] * 20
    partly = (table["flags"].to_numpy() & Flag.PARTLY_SEEN) > 0
    assert partly.tolist() == [False] * 20 + [True] * 20
    for name in ("latent_mean_0", "latent_log_var_3", "kl", "nll", "reduced_chi2"):
        found, same = table[name].to_numpy(), whole[name].to_numpy()
        close(found[20:], other[name].to_numpy()[20:], rtol=1e-4, atol=1e-4)
        assert np.array_equal(found[:20], same[:20])
        assert (found[20:] != same[20:]).all()
    assert np.isfinite(table["nll"].to_numpy()).all()


def test_nothing_seen_gives_the_prior(spectra):
    model, batch = turned_model(spectra), spectra.take(np.arange(3))
    batch.coefficient_errors[:] = np.nan
    table = ScatterVAEEncoder(model, OUTPUTS, "cpu")(batch)
    for i in range(6):
        np.testing.assert_allclose(table[f"latent_mean_{i}"].to_numpy(), 0, atol=1e-6)
        np.testing.assert_allclose(table[f"latent_log_var_{i}"].to_numpy(), 0, atol=1e-5)
    for name in (*correlation_columns(6), "kl"):
        np.testing.assert_allclose(table[name].to_numpy(), 0, atol=1e-5)
    assert table["n_coefficients"].to_pylist() == [0, 0, 0]
    assert (table["flags"].to_numpy() & Flag.ERRORS_UNUSABLE).all()
    assert np.isnan(table["reduced_chi2"].to_numpy()).all()


def test_a_network_without_correlations_publishes_zeros(spectra, model):
    table = ScatterVAEEncoder(model, OUTPUTS[:2], "cpu")(spectra.take(slice(20)))
    assert not any(table[name].to_numpy().any() for name in correlation_columns(6))
