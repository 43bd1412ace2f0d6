"""Spectra on any grid, with covariances, as frames, figures and spectra of specutils."""

import numpy as np
import pytest
from astropy import units

from xpscale.errors import InvalidInputError
from xpscale.query.catalog import open_catalog
from xpscale.query.reconstruct import reconstruct
from xpscale.query.wavelength import calibration, calibration_at


@pytest.fixture(scope="module")
def some(cat, example):
    return reconstruct(cat.at(example.rows["source_id"].to_numpy()[:3]))


def test_covariances_have_the_errors_on_their_diagonals(some):
    variance = np.diagonal(some.covariance(), axis1=1, axis2=2)
    np.testing.assert_allclose(np.sqrt(variance), some.total_error, rtol=1e-5)
    sampled = some.at_wavelengths([400, 500.5, 900], covariance=True)
    assert sampled.covariance.shape == (3, 3, 3)
    variance = np.diagonal(sampled.covariance, axis1=1, axis2=2)
    np.testing.assert_allclose(np.sqrt(variance), sampled.total_error, rtol=1e-6)
    assert some.at_wavelengths().covariance is None


def test_a_posterior_that_is_not_known_has_no_covariance(latents_only):
    blind = reconstruct(open_catalog(latents_only).where("kl > 1e9"))
    with pytest.raises(InvalidInputError, match="posterior of these spectra is not known"):
        blind.covariance()


def test_grids_of_ones_own_agree_with_the_default(some):
    known = calibration()
    again = calibration_at(known.wavelength_nm)
    np.testing.assert_allclose(again.matrix, known.matrix, atol=5e-3 * abs(known.matrix).max())
    coarse = some.at_wavelengths(np.arange(400, 1000, 50))
    assert coarse.flux.shape == (3, 12)
    whole = some.at_wavelengths()
    for i in range(3):
        expected = np.interp(coarse.wavelength_nm, whole.wavelength_nm, whole.flux[i])
        np.testing.assert_allclose(coarse.flux[i], expected, atol=0.02 * abs(whole.flux[i]).max())


@pytest.mark.parametrize(
    "grid", [[], [500, 400], [300, 400], [400, 1200], [[400, 500]], [400, np.nan]]
)
def test_wavelengths_that_have_no_calibration_are_refused(some, grid):
    with pytest.raises(InvalidInputError, match="increasing list from 330 to 1050"):
        some.at_wavelengths(grid)


def test_frames_hold_a_row_for_each_source_and_coefficient(some):
    frame = some.to_pandas()
    assert len(frame) == some.mean.size
    again = frame["mean"].to_numpy().reshape(some.mean.shape)
    np.testing.assert_array_equal(again, some.mean)
    assert frame["source_id"].iloc[110] == some.source_id[1]
    flux = some.at_wavelengths([450, 600]).to_pandas()
    assert list(flux) == [
        "source_id", "wavelength_nm", "flux", "scatter", "posterior_error", "total_error"
    ]  # fmt: skip
    assert flux["wavelength_nm"].tolist() == [450, 600] * 3


def test_spectra_draw_themselves(some):
    figure, _ = some.take(slice(0, 1)).plot()
    assert figure.axes
    figure, _ = some.take(slice(0, 1)).at_wavelengths().plot()
    assert figure.axes


def test_specutils_gets_flux_error_and_identifier(some):
    sampled = some.at_wavelengths()
    found = sampled.to_specutils()
    assert [one.meta["source_id"] for one in found] == some.source_id.tolist()
    assert found[0].spectral_axis.unit == units.nm
    assert found[1].flux.unit.is_equivalent("W m-2 nm-1")
    np.testing.assert_allclose(found[1].flux.value, sampled.flux[1])
    np.testing.assert_allclose(found[1].uncertainty.array, sampled.total_error[1])
