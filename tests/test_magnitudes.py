"""Magnitudes of real stars, against the archive's and against GaiaXPy."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.conftest import data_path
from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.magnitudes import has_band_weights, magnitudes
from xpscale.query.reconstruct import Spectra
from xpscale.release import DR3, release_of
from xpscale.schema import OUTPUTS, TableLayout

N_STARS = 300


@pytest.fixture(scope="module")
def stars():
    names = ["coefficients", "phot_g_mean_flux"]
    names += [f"phot_{band}_mean_mag" for band in ("g", "bp", "rp")]
    table = pq.read_table(data_path("apogee_library.parquet"), columns=names).slice(0, N_STARS)
    coefficients = np.stack(table["coefficients"].to_numpy())
    return coefficients, {name: table[name].to_numpy() for name in names[1:]}


def test_magnitudes_are_the_archives(stars):
    coefficients, known = stars
    found = magnitudes(known["phot_g_mean_flux"], coefficients)
    np.testing.assert_allclose(found["phot_g_mean_mag"], known["phot_g_mean_mag"], atol=1e-5)
    for name, band, most in (("synthetic_bp_mag", "bp", 0.02), ("synthetic_rp_mag", "rp", 0.01)):
        difference = found[name] - known[f"phot_{band}_mean_mag"]
        assert abs(np.nanmedian(difference)) < most
        assert np.nanpercentile(np.abs(difference), 80) < most


def test_synthesized_magnitudes_are_gaiaxpys(stars):
    coefficients, known = stars
    coefficients = coefficients[:5]
    spectra = Spectra(np.arange(5), coefficients, coefficients * 0.01, DR3.known_bands, DR3)
    expected = spectra.photometry("gaia_dr3_vega")
    found = magnitudes(known["phot_g_mean_flux"][:5], coefficients)
    for name, band in (("synthetic_bp_mag", "BP"), ("synthetic_rp_mag", "RP")):
        theirs = expected[f"GaiaDr3Vega_mag_{band}"]
        np.testing.assert_allclose(found[name], theirs, atol=2e-5)


def test_photometry_comes_in_batches_and_names_the_systems(stars, monkeypatch):
    monkeypatch.setattr("xpscale.query.synthetic_photometry.ROWS_AT_ONCE", 2)
    coefficients = stars[0][:5]
    spectra = Spectra(np.arange(5), coefficients, coefficients * 0.01, DR3.known_bands, DR3)
    found = spectra.photometry("JKC_Std")
    assert found["source_id"].tolist() == [0, 1, 2, 3, 4]
    assert np.isfinite(found["JkcStd_mag_V"]).all()
    assert (found["JkcStd_flux_error_V"] > 0).all()
    assert str(found.to_astropy()["JkcStd_mag_V"].unit) == "mag"
    with pytest.raises(InvalidInputError, match=r"'UBV'.*Gaia_DR3_Vega"):
        spectra.photometry("UBV")


def test_what_was_not_seen_has_no_magnitude(stars):
    coefficients, _ = stars
    values = coefficients[:3].astype(float).copy()
    values[0, :55] = np.nan  # no BP
    values[1] *= -1
    found = magnitudes(np.array([0.0, -1.0, 100.0]), values)
    assert np.isfinite(found["phot_g_mean_mag"]).tolist() == [False, False, True]
    assert np.isfinite(found["synthetic_bp_mag"]).tolist() == [False, False, True]
    assert {*magnitudes(np.ones(1), np.ones((1, 102)))} == {"phot_g_mean_mag"}


def columns(**options):
    given = {"n_latents": 6, "n_coefficients": 110, "release": DR3, **options}
    return {column.name: column for column in TableLayout(**given).columns("latents")}


def test_columns_say_whose_magnitudes_they_are():
    every = columns()
    assert "synthesized" in every["synthetic_bp_mag"].description
    assert every["synthetic_rp_mag"].ucd == "phot.mag;em.opt.R;meta.modelled"
    assert every["synthetic_rp_mag"].unit == every["phot_g_mean_mag"].unit == "mag"
    companions = ("phot_g_mean_mag", "phot_bp_mean_mag")
    names = [
        column.name for column in TableLayout(6, 110, DR3, companions=companions).columns("latents")
    ]
    assert names.count("phot_g_mean_mag") == 1
    assert {"phot_bp_mean_mag", "synthetic_bp_mag"} <= {*names}
    older = tuple(output for output in OUTPUTS if output != "magnitudes")
    assert not {"phot_g_mean_mag", "synthetic_bp_mag"} & {*columns(outputs=older)}
    other = release_of("Gaia DR4", Bands(51, 59))
    assert not has_band_weights(other, 110)
    assert "synthetic_bp_mag" not in columns(release=other)
    assert "phot_g_mean_mag" in columns(release=other)
