from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.plots.spectra import spectra
from xpscale.spectra import SpectraBatch

FIFTY_FIVE_EACH = Bands(55, 55)


@dataclass
class Coefficients:
    source_id: np.ndarray
    mean: np.ndarray
    scatter: np.ndarray
    bands: Bands = FIFTY_FIVE_EACH
    posterior_error: np.ndarray | None = None


@dataclass
class Flux:
    source_id: np.ndarray
    wavelength_nm: np.ndarray
    flux: np.ndarray
    scatter: np.ndarray
    posterior_error: np.ndarray | None = None


def batch(ids, coefficients, errors, bands=None):
    zeros = np.zeros(len(ids))
    return SpectraBatch(
        np.array(ids),
        zeros,
        zeros,
        zeros + 1,
        coefficients.astype("f4"),
        errors.astype("f4"),
        bands or Bands(coefficients.shape[1] // 2, coefficients.shape[1] // 2),
    )


def test_residuals_are_in_units_of_error_and_scatter_together():
    mean = np.tile(np.geomspace(1e4, 0.1, 55), (2, 2)) * [[1], [3]]
    model = Coefficients(np.array([11, 22]), mean, mean * 0.03)
    observed = batch(
        [22, 11], mean[::-1] * 1.1, mean[::-1] * 0.04
    )  # another order: matched by source_id
    _, axes = spectra(
        model, observed, labels=["a dwarf", "a giant"], provenance={"release": "Gaia DR3"}
    )
    assert axes.shape == (2, 2)
    for i in range(2):
        residual = axes[i, 1].lines[1].get_ydata()
        np.testing.assert_allclose(residual, 0.1 / 0.05, rtol=1e-4)
    assert axes[1, 0].get_title(loc="left") == "Gaia DR3 22    a giant"
    assert axes[0, 0].get_yticks()[0] == -axes[0, 0].get_yticks()[-1]


def test_flux_panels_say_their_power_of_ten():
    grid = np.linspace(336, 1020, 343)
    flux = 3e-16 * np.exp(-(((grid - 600) / 200) ** 2))[None].repeat(7, 0)
    model = Flux(np.arange(7), grid, flux, flux * 0.1)
    fig, axes = spectra(model, Flux(np.array([0]), grid, flux[:1] * 1.2, flux[:1] * 0), max_stars=3)
    assert axes.shape == (3, 2)
    assert "10^{-16}" in axes[0, 0].get_ylabel()
    assert axes[0, 0].get_ylabel() != axes[0, 1].get_ylabel() == "residual\n[$\\sigma$]"
    assert axes[1, 1].get_ylabel() == "scatter"  # no observation of this star
    np.testing.assert_allclose(axes[0, 1].lines[1].get_ydata(), 2, rtol=1e-6)
    assert axes[-1, 1].get_xlabel() == "wavelength [nm]"
    shown = [text.get_text() for text in fig.legends[0].texts]
    assert shown == ["intrinsic scatter", "observed", "reconstruction"]
    np.testing.assert_allclose(axes[0, 0].lines[1].get_ydata(), flux[0] / 1e-16)


@pytest.mark.parametrize("kind", ["flux", "coefficients"])
def test_the_band_holds_scatter_and_posterior(kind):
    values = np.geomspace(1, 2, 110)[None]
    parts = {"scatter": values * 0.3, "posterior_error": values * 0.4}
    if kind == "flux":
        model = Flux(np.array([1]), np.arange(110.0), values, **parts)
    else:
        model = Coefficients(np.array([1]), values, **parts)
    figure, axes = spectra(model)
    (band,) = axes[0, 0].collections
    low, high = (f(band.get_paths()[0].vertices[:, 1]) for f in (np.min, np.max))
    np.testing.assert_allclose([low, high], [0.5, 3], rtol=1e-6)
    assert figure.legends[0].texts[0].get_text() == "scatter and posterior"


@pytest.mark.parametrize("bands", [Bands(51, 55), Bands(48, 44)], ids=str)
def test_ticks_start_again_where_rp_begins(bands):
    values = np.ones((1, bands.n_coefficients))
    model = Coefficients(np.array([1]), values, values, bands)
    _, axes = spectra(model, batch([1], values, values, bands))
    bottom = axes[-1, 1]
    shown = [text.get_text() for text in bottom.get_xticklabels()]
    ticks = dict(zip(bottom.get_xticks().tolist(), shown, strict=True))
    assert ticks[0] == ticks[bands.n_bp] == "0"
    assert ticks[bands.n_bp + 10] == "10"
    assert list(axes[0, 0].lines[-1].get_xdata()) == [bands.n_bp - 0.5] * 2
    assert axes[0, 0].get_title(loc="left") == "Gaia 1"


def test_mistakes():
    model = Coefficients(np.array([1]), np.ones((1, 110)), np.ones((1, 110)))
    grid = np.linspace(336, 1020, 343)
    with pytest.raises(InvalidInputError, match="not both"):
        spectra(model, Flux(np.array([1]), grid, np.ones((1, 343)), np.ones((1, 343))))
    with pytest.raises(InvalidInputError, match="104 values"):
        spectra(model, batch([1], np.ones((1, 104)), np.ones((1, 104))))
    with pytest.raises(InvalidInputError, match="no spectrum"):
        spectra(Coefficients(np.empty(0, int), np.ones((0, 110)), np.ones((0, 110))))
