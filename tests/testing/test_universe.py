"""The synthetic sky: same for the same seed, in any chunking, with the statistics it promises."""

import numpy as np
import pytest

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.sky import healpix_29, source_id_pixel
from xpscale.testing.sky_density import galactic_deg
from xpscale.testing.universe import Truth, Universe


@pytest.fixture(scope="module")
def universe():
    return Universe(20_000, seed=7)


@pytest.fixture(scope="module")
def spectra(universe):
    return universe.spectra()


@pytest.fixture(scope="module")
def truth(universe):
    return universe.truth()


def test_identifiers_are_unique_ascending_and_carry_the_pixel(spectra, truth):
    assert len(spectra) == len(truth) == 20_000
    assert np.all(np.diff(spectra.source_id) > 0)
    assert np.array_equal(spectra.source_id, truth.source_id)
    moved = healpix_29(spectra.ra, spectra.dec) >> 2 * (29 - 12) != source_id_pixel(
        spectra.source_id, 12
    )
    assert np.array_equal(moved, truth.is_mover)
    assert 0.003 < moved.mean() < 0.007


def test_rows_do_not_depend_on_chunking(universe, spectra):
    batches = list(universe.batches(rows=1_234))
    assert [len(b) for b in batches] == [1_234] * 16 + [256]
    for name in (
        "source_id",
        "ra",
        "dec",
        "phot_g_mean_flux",
        "coefficients",
        "coefficient_errors",
    ):
        joined = np.concatenate([getattr(b, name) for b in batches])
        assert np.array_equal(joined, getattr(spectra, name)), name
    again = Universe(20_000, seed=7).chunk(int(universe.cells[-1])).batch
    assert np.array_equal(again.coefficients, spectra.coefficients[-len(again) :])
    other = Universe(20_000, seed=8).spectra()
    assert not np.isin(other.source_id, spectra.source_id).any()


@pytest.mark.parametrize("bands", [Bands(51, 55), Bands(48, 44)], ids=str)
def test_fewer_coefficients_are_the_first_ones_of_the_same_stars(bands):
    whole = Universe(500, seed=7).spectra()
    narrow = Universe(500, seed=7, bands=bands).spectra()
    for name in ("coefficients", "coefficient_errors"):
        kept, full = getattr(narrow, name), getattr(whole, name)
        np.testing.assert_array_equal(kept[:, bands.bp], full[:, : bands.n_bp])
        rp = full[:, whole.bands.rp]
        np.testing.assert_array_equal(kept[:, bands.rp], rp[:, : bands.n_rp])


def test_spectra_scatter_about_the_truth_as_their_errors_and_scatter_say(spectra, truth):
    z = (spectra.coefficients - truth.coefficients) / np.hypot(
        spectra.coefficient_errors, truth.scatter
    )
    assert abs(z.mean()) < 0.005
    # 20,000 draws a coefficient: the standard deviation is known to 0.5 %
    assert np.all(np.abs(z.std(axis=0) - 1) < 0.03)
    bright = (
        truth.labels.phot_g_mean_mag < 13
    )  # there the scatter shows: without it z would be far from 1
    residual = (spectra.coefficients - truth.coefficients)[bright, 0] / spectra.coefficient_errors[
        bright, 0
    ]
    assert residual.std() > 2


def test_signal_to_noise_is_that_of_real_spectra(spectra, truth):
    # medians of 2,051 genuine DR3 spectra in bins of one magnitude
    magnitude = truth.labels.phot_g_mean_mag
    ratio = spectra.coefficients / spectra.coefficient_errors
    for faintest, bp, rp in ((14, 1054, 1933), (15, 753, 1263), (16, 483, 810), (17, 293, 498)):
        inside = (magnitude > faintest - 1) & (magnitude <= faintest)
        assert np.median(ratio[inside, 0]) == pytest.approx(bp, rel=0.3)
        assert np.median(ratio[inside, 55]) == pytest.approx(rp, rel=0.3)
    errors = spectra.coefficient_errors
    assert np.median(errors[:, 54] / errors[:, 0]) == pytest.approx(0.035, rel=0.1)
    assert errors.dtype == spectra.coefficients.dtype == np.float32


def test_sky_and_magnitudes_have_the_promised_shape(spectra, truth):
    latitude = galactic_deg(spectra.ra, spectra.dec)[1]
    assert (np.abs(latitude) < 10).mean() > 0.4  # 17 % if it were uniform
    assert (truth.labels.phot_g_mean_mag <= 15).mean() == pytest.approx(0.157, abs=0.01)
    labels = truth.labels
    distance_modulus = 10 - 5 * np.log10(labels.parallax)
    assert np.allclose(
        labels.phot_g_mean_mag,
        labels.absolute_magnitude + labels.extinction + distance_modulus,
        atol=1e-3,
    )
    assert (
        np.corrcoef(5040 / labels.teff, truth.coefficients[:, 55] / spectra.phot_g_mean_flux)[0, 1]
        > 0.5
    )


def test_galactic_coordinates_agree_with_astropy():
    from astropy.coordinates import SkyCoord

    ra, dec = (
        np.array([0.0, 266.405, 192.85948, 83.6, 310.0]),
        np.array([0.0, -28.936, 27.12825, -5.4, 88.0]),
    )
    expected = SkyCoord(ra, dec, unit="deg").galactic
    longitude, latitude = galactic_deg(ra, dec)
    assert np.allclose(latitude, expected.b.deg, atol=1e-4)
    away_from_pole = np.abs(latitude) < 89
    assert np.allclose(longitude[away_from_pole], expected.l.deg[away_from_pole], atol=1e-4)


def test_truth_of_parts_joins_to_the_truth(universe, truth):
    joined = Truth.concatenate([chunk.truth for chunk in universe.chunks()])
    assert np.array_equal(joined.scatter, truth.scatter)
    assert np.array_equal(joined.labels.teff, truth.labels.teff)


@pytest.mark.parametrize("arguments", [(0,), (10, -1), (10, 0, 1.5)])
def test_impossible_universes_are_refused(arguments):
    with pytest.raises(InvalidInputError, match="no universe"):
        Universe(*arguments)
