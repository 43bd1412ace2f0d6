"""The posterior from the catalogue's columns, and the two parts of a reconstruction's error."""

import numpy as np
import pyarrow as pa
import pytest
import torch

import xpscale as xps
from xpscale.errors import InvalidInputError
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.model.architectures import build
from xpscale.model.card import ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import Architecture
from xpscale.query.catalog import open_catalog
from xpscale.query.posterior import latent_covariance, posterior_columns
from xpscale.query.reconstruct import reconstruct
from xpscale.query.wavelength import calibration
from xpscale.schema import OUTPUTS
from xpscale.testing.universe import Universe


@pytest.fixture(scope="module")
def batch():
    return Universe(60, seed=8).spectra()


@pytest.fixture(scope="module")
def correlated(batch):
    """A model whose posteriors are correlated, each in its own way."""
    torch.manual_seed(4)
    network = build(Architecture(batch.bands, hidden=(24, 24), name="iterative")).eval()
    with torch.no_grad():
        network.correction.weight *= 50
        network.posterior.bias[6:] = -4.0  # narrow ones: a random decoder bends sharply
    network.turn(torch.linalg.qr(torch.randn(6, 6))[0])
    card, density = ModelCard(network.architecture), TrainingDensity.unknown(batch.bands)
    return TrainedModel.create(network, Scaling.fit([batch]), density, card)


@pytest.fixture(scope="module")
def table(correlated, batch):
    return ScatterVAEEncoder(correlated, OUTPUTS, "cpu")(batch)


def test_the_covariance_is_the_models_own(table, correlated, batch):
    root = correlated.encode(batch).root().double().numpy()
    expected = root @ root.transpose(0, 2, 1)
    widths = np.sqrt(np.einsum("nii->ni", expected))
    off = (latent_covariance(table) - expected) / widths[:, :, None] / widths[:, None]
    assert np.abs(off).max() < 0.02
    correlations = expected / widths[:, :, None] / widths[:, None]
    assert np.abs(correlations[:, 0, 1]).max() > 0.3  # or there was nothing to find


def test_flux_errors_from_columns_alone_are_those_of_the_models_own_posterior(
    table, correlated, batch
):
    pytest.importorskip("gaiaxpy", reason="GaiaXPy is not installed")
    posterior, generator = correlated.encode(batch), torch.Generator().manual_seed(1)
    drawn = np.stack(
        [
            correlated.decode(posterior.sample(generator), batch.phot_g_mean_flux).mean.numpy()
            @ calibration().matrix
            for _ in range(600)
        ]
    )
    latents = table.drop(["reconstruction", "scatter"])
    ratio = reconstruct(latents, correlated).at_wavelengths().posterior_error / drawn.std(0)
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    assert np.quantile(ratio, [0.05, 0.95]) == pytest.approx([1, 1], abs=0.15)
    blind = latents
    for name in posterior_columns(6)[12:]:
        at = blind.column_names.index(name)
        blind = blind.set_column(at, name, pa.array(np.zeros(len(blind), np.float32)))
    without = reconstruct(blind, correlated).at_wavelengths().posterior_error / drawn.std(0)
    assert abs(np.log(without)).mean() > 3 * abs(np.log(ratio)).mean()


def test_errors_of_coefficients_come_in_parts_and_together(table, correlated, batch):
    stored, decoded = (
        reconstruct(table, correlated),
        reconstruct(table, correlated, from_latents=True),
    )
    posterior, generator = correlated.encode(batch), torch.Generator().manual_seed(2)
    drawn = [
        correlated.decode(posterior.sample(generator), batch.phot_g_mean_flux).mean.numpy()
        for _ in range(600)
    ]
    for found in (stored, decoded, stored.take(np.arange(60))):
        ratio = found.posterior_error / np.std(drawn, 0)
        assert np.median(ratio) == pytest.approx(1, abs=0.03)
        np.testing.assert_allclose(
            found.total_error**2, found.posterior_error**2 + found.scatter**2, rtol=1e-5
        )
    few = stored.take(slice(3, 5))
    np.testing.assert_allclose(few.posterior_error, stored.posterior_error[3:5], rtol=1e-4)


def test_in_blocks_and_of_no_rows(table, correlated, monkeypatch):
    whole = reconstruct(table, correlated).posterior_error
    monkeypatch.setattr("xpscale.query.posterior.ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(reconstruct(table, correlated).posterior_error, whole, rtol=1e-3)
    assert reconstruct(table.slice(0, 0), correlated).posterior_error.shape == (0, 110)


def test_what_is_not_known_is_said_and_not_guessed(table, correlated, latents_only):
    lacking = table.drop(["latent_correlation_0_1", "latent_correlation_2_5"])
    for found in (
        reconstruct(lacking, correlated),
        reconstruct(table),  # stored spectra, and no model
        reconstruct(open_catalog(latents_only)),  # made without correlations
    ):
        assert found.posterior_error is None
        with pytest.raises(InvalidInputError, match="posterior of these spectra is not known"):
            found.total_error  # noqa: B018
    with pytest.raises(InvalidInputError, match="correlation_0_1, latent_correlation_2_5"):
        latent_covariance(lacking)


def test_a_selection_brings_its_posterior(cat, model):
    selection = cat.cone(0, 0, 3).columns("ra")
    found = xps.reconstruct(selection)
    expected = xps.reconstruct(cat.cone(0, 0, 3).to_table(), model, from_latents=True)
    np.testing.assert_allclose(found.posterior_error, expected.posterior_error, rtol=1e-4)
    assert (found.posterior_error > 0).all()
