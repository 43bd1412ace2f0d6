"""The numbers of coefficients of a band are a value, and nobody halves the spectrum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.spectra import SpectraBatch

BANDS = st.builds(Bands, st.integers(1, 60), st.integers(1, 60))


@given(bands=BANDS)
def test_every_column_is_of_one_band(bands):
    columns = np.arange(bands.n_coefficients)
    assert len(columns[bands.bp]) == bands.n_bp
    assert len(columns[bands.rp]) == bands.n_rp
    labels = [bands.label(column) for column in columns]
    assert labels == [f"BP {i}" for i in range(bands.n_bp)] + [f"RP {i}" for i in range(bands.n_rp)]
    assert Bands.from_dict(bands.to_dict()) == bands
    assert Bands.parse(f"{bands.n_bp}, {bands.n_rp}") == bands


@pytest.mark.parametrize("text", ["", "110", "55;55", "55,", "a,b", "0,55", "-1,55", "1,2,3"])
def test_what_is_no_pair_of_numbers_is_refused(text):
    with pytest.raises(InvalidInputError, match="coefficients"):
        Bands.parse(text)


def spectra(n_rows, bands):
    values = np.zeros((n_rows, bands.n_coefficients), np.float32)
    rows = np.zeros(n_rows)
    return SpectraBatch(np.arange(n_rows), rows, rows, rows, values, values + 1, bands)


def test_spectra_have_the_width_of_their_bands():
    with pytest.raises(InvalidInputError, match=r"expected \(2, 106\) for 51 BP \+ 55 RP"):
        SpectraBatch(*[np.zeros(2)] * 4, np.zeros((2, 110)), None, Bands(51, 55))


def test_spectra_of_different_bands_are_not_joined():
    with pytest.raises(InvalidInputError, match=r"48 BP \+ 44 RP and 51 BP \+ 55 RP"):
        SpectraBatch.concatenate([spectra(2, Bands(51, 55)), spectra(1, Bands(48, 44))])


@pytest.mark.parametrize("bands", [Bands(51, 55), Bands(48, 44)])
def test_a_missing_band_is_missed_whole(bands):
    batch = spectra(3, bands)
    batch.coefficients[0, bands.bp] = np.nan
    batch.coefficients[1, bands.rp] = np.nan
    batch.coefficients[2, bands.n_bp] = np.nan  # RP 0 alone
    missing = batch.missing_bands()
    assert missing["missing_bp"].tolist() == [True, False, False]
    assert missing["missing_rp"].tolist() == [False, True, False]
