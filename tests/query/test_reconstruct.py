from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.query.aggregate import sky_map
from xpscale.query.catalog import open_catalog
from xpscale.query.reconstruct import Spectra, reconstruct
from xpscale.query.wavelength import calibration, sample
from xpscale.release import DR3, UNSTATED, find_release
from xpscale.sky import healpix_29

DATA = Path(os.environ.get("XPSCALE_DATA", Path(__file__).parents[3] / "shared/data"))


def test_stored_and_decoded_agree(cat, latents_only):
    stored = reconstruct(cat.cone(0, 0, 3).columns("ra"))
    decoded = reconstruct(cat.cone(0, 0, 3), from_latents=True)
    elsewhere = reconstruct(open_catalog(latents_only).cone(0, 0, 3))
    for other in (decoded, elsewhere):
        np.testing.assert_array_equal(stored.source_id, other.source_id)
        np.testing.assert_allclose(stored.mean, other.mean, rtol=1e-4)
        np.testing.assert_allclose(stored.scatter, other.scatter, rtol=1e-4)
    assert stored.mean.shape == (len(stored), 110)
    assert len(stored.take(slice(0, 2))) == 2


def test_a_catalogue_of_scatter_alone(scatter_only, cat):
    cone = open_catalog(scatter_only).cone(0, 0, 3)
    assert cone.with_spectra().to_table().column_names[-1] == "scatter"
    np.testing.assert_allclose(
        reconstruct(cone).mean, reconstruct(cat.cone(0, 0, 3)).mean, rtol=1e-4
    )
    with pytest.raises(InvalidInputError, match="made without 'reconstruction'"):
        cone.columns("reconstruction")


def test_from_tables(cat, model):
    cone = cat.cone(0, 0, 3)
    both = reconstruct(cone.with_spectra().to_table())
    np.testing.assert_allclose(both.mean, reconstruct(cone.to_table(), model).mean, rtol=1e-4)
    with pytest.raises(InvalidInputError, match="no model"):
        reconstruct(cone.to_table())
    with pytest.raises(InvalidInputError, match="lacks phot_g_mean_flux"):
        reconstruct(cone.to_table().drop(["phot_g_mean_flux"]), model)


def test_another_model_is_refused(example, tmp_path, latents_only, model):
    import shutil
    from dataclasses import replace

    import torch

    copy = tmp_path / "copy"
    shutil.copytree(latents_only, copy)
    shutil.rmtree(copy / "_xpscale/model")
    torch.manual_seed(2)
    other = type(model.network)(model.network.architecture)
    type(model).create(other, model.scaling, model.density, replace(model.card)).save(
        str(copy / "_xpscale/model")
    )
    with pytest.raises(InvalidInputError, match="but the rows are of"):
        reconstruct(open_catalog(str(copy)).at([1]))


def test_flux_and_scatter_follow_the_calibration(cat):
    pytest.importorskip("gaiaxpy", reason="GaiaXPy is not installed")
    spectra = reconstruct(cat.cone(0, 0, 3)).take(slice(0, 5))
    sampled = spectra.at_wavelengths()
    matrix, grid = calibration().matrix, calibration().wavelength_nm
    assert (grid[0], grid[-1], len(grid)) == (336, 1020, 343)
    np.testing.assert_allclose(sampled.flux, spectra.mean.astype(float) @ matrix, rtol=1e-12)
    covariance = matrix.T @ np.diag(spectra.scatter[0].astype(float) ** 2) @ matrix
    np.testing.assert_allclose(sampled.scatter[0], np.sqrt(np.diag(covariance)), rtol=1e-10)
    drawn = spectra.mean[0] + spectra.scatter[0] * np.random.default_rng(0).normal(size=(4000, 110))
    np.testing.assert_allclose((drawn @ matrix).std(0), sampled.scatter[0], rtol=0.1)


@pytest.mark.parametrize(
    ("bands", "release"),
    [
        (Bands(51, 55), find_release("dr4")),
        (Bands(48, 44), UNSTATED),
        (Bands(54, 56), UNSTATED),
        (Bands(55, 55), find_release("dr4")),
    ],
)
def test_bases_that_gaiaxpy_lacks_are_refused_with_both_named(bands, release):
    pytest.importorskip("gaiaxpy", reason="GaiaXPy is not installed")
    spectra = np.ones((2, bands.n_coefficients))
    both = rf"55 BP \+ 55 RP .*Gaia DR3.*{re.escape(f'{bands}')}.*{re.escape(release.name)}"
    message = rf"GaiaXPy [\d.]+ .* {both}"
    with pytest.raises(InvalidInputError, match=message):
        Spectra(np.arange(2), spectra, spectra, bands, release).at_wavelengths()
    with pytest.raises(InvalidInputError, match=message):
        sample(np.arange(2), spectra, spectra, bands, release)


def test_design_matrix_is_gaiaxpys(capsys):
    pytest.importorskip("gaiaxpy", reason="GaiaXPy is not installed")
    known = DATA / "xp_design_matrix_343.npy"
    if not known.is_file():
        pytest.skip(f"no real data at {DATA}")
    calibration.cache_clear()
    np.testing.assert_allclose(calibration().matrix, np.load(known), rtol=1e-10, atol=1e-24)
    assert capsys.readouterr().out == ""


def test_spectra_refuse_shapes_that_do_not_fit():
    for mean, scatter in (((2, 110), (2, 55)), ((3, 110), (2, 110)), ((2, 106), (2, 106))):
        with pytest.raises(InvalidInputError, match=r"expected \(2, 110\).*55 BP"):
            Spectra(np.arange(2), np.zeros(mean), np.zeros(scatter), Bands(55, 55), DR3)


def test_spectra_say_their_bands_and_their_release(wide, model):
    bands, release = Bands(51, 59), find_release("dr4")
    opened = open_catalog(wide)
    assert (opened.bands, opened.release) == (bands, release)
    for spectra in (
        reconstruct(opened),
        reconstruct(opened, from_latents=True),
        reconstruct(opened.with_spectra().to_table()),
        reconstruct(opened.select().to_table(), model).take(slice(0, 3)),
    ):
        assert (spectra.bands, spectra.release) == (bands, release)
    bare = opened.with_spectra().to_table().replace_schema_metadata(None)
    assert reconstruct(bare).bands == DR3.bands == reconstruct(bare, model).bands
    narrow = bare.slice(0, 1).set_column(
        bare.schema.get_field_index("reconstruction"), "reconstruction", pa.array([[1.0] * 106])
    )
    with pytest.raises(InvalidInputError, match="how many of its coefficients are BP"):
        reconstruct(narrow)


def test_sky_map(cat, example):
    ra, dec = example.rows["ra"].to_numpy(), example.rows["dec"].to_numpy()
    pixels = healpix_29(ra, dec) >> (58 - 6)
    chi2 = example.rows["reduced_chi2"].to_numpy()
    counts, medians = sky_map(cat, order=3), sky_map(cat, "reduced_chi2", order=3)
    np.testing.assert_array_equal(counts.pixels, np.unique(pixels))
    np.testing.assert_array_equal(counts.values, np.bincount(pixels)[counts.pixels])
    expected = [np.nanmedian(chi2[pixels == pixel]) for pixel in medians.pixels]
    np.testing.assert_allclose(medians.values, expected, rtol=1e-6)
    assert counts.n_rows == medians.n_rows == 6000
    assert sky_map(cat).order == 2
    assert np.isnan(sky_map(cat.where("isnan(reduced_chi2)"), "reduced_chi2").values).all()
    assert sky_map(cat.where("dec > 0"), order=0).n_rows == (dec > 0).sum()
    for bad in ("scatter", "reduced"):
        with pytest.raises(InvalidInputError, match="no column"):
            sky_map(cat, bad)
    with pytest.raises(InvalidInputError, match="0 to 12"):
        sky_map(cat, order=13)
