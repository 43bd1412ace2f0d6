import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import batch_of

from tests.support.memory_reader import SIX_EACH
from xpscale.bands import Bands
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.model.scaling import Scaling, trainable_rows


@given(
    cuts=st.lists(st.integers(0, 60), max_size=5),
    offset=st.sampled_from([0.0, 1.0, 1e6]),
    seed=st.integers(0, 100),
)
def test_fit_in_batches_is_fit_at_once(cuts, offset, seed):
    rng = np.random.default_rng(seed)
    flux = 10 ** rng.uniform(1, 4, 60)
    spectra = batch_of(flux[:, None] * (offset + rng.normal(size=(60, 4))), flux=flux)
    edges = [0, *sorted(cuts), 60]
    scaling = Scaling.fit(spectra.take(slice(a, b)) for a, b in itertools.pairwise(edges))
    values = spectra.coefficients / flux[:, None]
    np.testing.assert_allclose(scaling.mean, values.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(scaling.std, values.std(0), rtol=1e-9)


def test_standardize_and_back(spectra):
    scaling = Scaling.fit([spectra])
    x, x_err = scaling.standardize(spectra)
    assert x.dtype == x_err.dtype == np.float32
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(0), 1, rtol=1e-6)
    flux = spectra.phot_g_mean_flux
    np.testing.assert_allclose(scaling.coefficients(x, flux), spectra.coefficients, rtol=1e-5)
    np.testing.assert_allclose(scaling.widths(x_err, flux), spectra.coefficient_errors, rtol=1e-5)
    some, _ = scaling.standardize(spectra, slice(10, 20))
    assert np.array_equal(some, x[10:20])


def test_bad_rows_stay_out_of_the_fit(spectra):
    coefficients, errors, flux = (
        spectra.coefficients.copy(),
        spectra.coefficient_errors.copy(),
        spectra.phot_g_mean_flux,
    )
    good = Scaling.fit([spectra.take(slice(5, None))])
    coefficients[0, 3], coefficients[1, 0], errors[3, 2], errors[4, 1] = np.nan, np.inf, 0, np.nan
    flux = flux.copy()
    flux[1], flux[2] = np.nan, 0
    bad = batch_of(coefficients, errors, flux)
    assert np.flatnonzero(~trainable_rows(bad)).tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(Scaling.fit([bad]).mean, good.mean, rtol=1e-12)


def test_a_scaling_that_cannot_be_used_is_refused(spectra, tmp_path):
    constant = spectra.coefficients.copy()
    constant[:, 7] = 0
    with pytest.raises(InvalidInputError, match="coefficient 7"):
        Scaling.fit([batch_of(constant, flux=spectra.phot_g_mean_flux)])
    with pytest.raises(InvalidInputError, match="only 0 usable rows"):
        Scaling.fit([batch_of(spectra.coefficients * np.nan)])
    with pytest.raises(
        InvalidInputError, match=r"takes 5 BP \+ 7 RP coefficients, the spectra have 6 BP \+ 6 RP"
    ):
        Scaling(np.zeros(12), np.ones(12), Bands(5, 7)).standardize(spectra)
    with pytest.raises(InvalidInputError, match="no scaling"):
        Scaling.unknown(SIX_EACH).standardize(spectra)

    np.savez(tmp_path / "norm.npz", mu=np.zeros(12), sig=np.ones(12))
    assert Scaling.from_npz(tmp_path / "norm.npz", SIX_EACH).is_known
    with pytest.raises(InvalidInputError, match=r"5 BP \+ 6 RP coefficients has mean"):
        Scaling.from_npz(tmp_path / "norm.npz", Bands(5, 6))
    np.savez(tmp_path / "other.npz", mean=np.zeros(12))
    (tmp_path / "text.npz").write_text("mu, sig")
    for name in ("other.npz", "text.npz"):
        with pytest.raises(InvalidInputError, match="mu and sig"):
            Scaling.from_npz(tmp_path / name, SIX_EACH)
    with pytest.raises(NotFoundError):
        Scaling.from_npz(tmp_path / "none.npz", SIX_EACH)
