"""The encoder against the unfolded network and formulas written out in float64; every flag; what a row costs."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from xpscale.catalog.votable import product_schema
from xpscale.errors import InvalidInputError
from xpscale.inference.device import pick_device
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.schema import OUTPUTS, Flag, conform, products_of
from xpscale.sky import healpix_29


def matrix(table, prefix, n=None):
    if n is None:
        return np.stack(table[prefix].to_numpy(zero_copy_only=False))
    return np.column_stack([table[f"{prefix}_{i}"].to_numpy() for i in range(n)])


def close(got, expected, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(np.asarray(got, float), np.asarray(expected, float), rtol=rtol, atol=atol)


def test_columns_are_those_of_the_equations(spectra, model):
    batch = spectra.take(np.random.default_rng(0).permutation(len(spectra))[:3_000])  # more than one micro-batch
    table = ScatterVAEEncoder(model, OUTPUTS, "cpu")(batch)
    for product in ("latents", "spectra"):
        conform(table, product_schema(product, 6, 110))
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


def test_rows_do_not_depend_on_their_neighbours(spectra, model):
    encoder = ScatterVAEEncoder(model, OUTPUTS, "cpu")
    whole = encoder(spectra)
    alone = pa.concat_tables([encoder(spectra.take(slice(i, i + 1))) for i in (0, 7, 2_500)])
    for name in whole.column_names:
        left, right = whole.take([0, 7, 2_500])[name], alone[name]
        if pa.types.is_nested(left.type):
            close(matrix(pa.table({name: left}), name), matrix(pa.table({name: right}), name), rtol=1e-4, atol=1e-2)
        else:
            close(left, right, rtol=1e-4)
    assert len(encoder(spectra.take(slice(0)))) == 0


@pytest.mark.parametrize("outputs", [OUTPUTS[:1], OUTPUTS[:2], OUTPUTS[::2]])
def test_only_what_was_chosen_is_computed_and_it_is_the_same(outputs, spectra, model):
    batch = spectra.take(slice(2_100))
    everything = ScatterVAEEncoder(model, OUTPUTS, "cpu")(batch)
    encoder = ScatterVAEEncoder(model, outputs, "cpu")
    table = encoder(replace(batch, coefficient_errors=None) if outputs == ("latents",) else batch)
    expected = {name for product in products_of(outputs) for name in product_schema(product, 6, 110, outputs).names}
    assert set(table.column_names) == expected
    assert encoder.has_fit == ("nll" in expected) == (len(outputs) > 1)
    for name in expected - {"flags"}:
        assert table[name].equals(everything[name]), name
    fit = int(Flag.ERRORS_UNUSABLE | Flag.SCATTER_AT_BOUND | Flag.POOR_FIT)
    seen = everything["flags"].to_numpy()
    assert np.array_equal(table["flags"], seen if encoder.has_fit else seen & ~fit)


def flags(model, batch):
    return ScatterVAEEncoder(model, OUTPUTS, "cpu")(batch)["flags"].to_numpy()


def test_each_flag_is_set_by_what_it_says_and_only_there(copied, model, make_model, spectra):
    before = flags(model, spectra)
    assert not (before & (Flag.ERRORS_UNUSABLE | Flag.OUTSIDE_TRAINING_DOMAIN)).any()
    copied.coefficient_errors[3, 10] = 0
    copied.coefficient_errors[4, 10] = np.nan
    copied.coefficient_errors[5, 10] = -1
    copied.coefficients[6, 20] += 1e3 * model.scaling.std[20] * copied.phot_g_mean_flux[6]
    after = flags(model, copied)
    assert np.flatnonzero(after & Flag.ERRORS_UNUSABLE).tolist() == [3, 4, 5]
    assert np.flatnonzero(after & Flag.OUTSIDE_TRAINING_DOMAIN).tolist() == [6]
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
            [layer for layer in network.scatter.modules() if isinstance(layer, torch.nn.Linear)][-1].bias[40] = 100.0

    batch = spectra.take(slice(20))
    assert not (flags(model, batch) & flag).any()
    assert (flags(make_model([spectra], change=change), batch) & flag).all()


def test_devices_that_are_not_there_are_named():
    with pytest.raises(InvalidInputError, match="no device 'abacus'"):
        pick_device("abacus")
    assert pick_device("cpu").type == "cpu"
