from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from xpscale.errors import InvalidInputError
from xpscale.plots.sky import HEIGHT, WIDTH, _project, sky
from xpscale.plots.style import CREDIT, save
from xpscale.sky import GALACTIC_AXES, INDEX_ORDER, healpix_29

EDGE = np.pi - 1e-6


PLACES = {
    "Sgr A*": (266.417, -29.008),
    "Large Magellanic Cloud": (80.89, -69.76),
    "near the galactic pole": (192.86, 30.0),
    "Vega": (279.23, 38.78),
}


@pytest.mark.parametrize("frame", ["galactic", "icrs"])
@pytest.mark.parametrize("name", PLACES)
def test_a_place_is_painted_where_astropy_puts_it(frame, name):
    """One coloured pixel around a known place comes out at Mollweide's coordinates of that
    place.
    """
    place = SkyCoord(*PLACES[name], unit="deg")
    order = 5
    pixel = healpix_29(np.array([place.ra.deg]), np.array([place.dec.deg])) >> 2 * (
        INDEX_ORDER - order
    )
    _, ax = sky(pixel, np.array([1.0]), order, label="here", frame=frame, raster=400)
    image = np.asarray(ax.images[0].get_array().filled(np.nan), float)
    rows, columns = np.nonzero(np.isfinite(image))
    assert 0 < len(rows) < 60
    found_x = ((columns + 0.5) / 400 * 2 - 1).mean() * WIDTH
    found_y = ((rows + 0.5) / 200 * 2 - 1).mean() * HEIGHT
    there = place.galactic if frame == "galactic" else place.icrs
    lon, lat = (there.l, there.b) if frame == "galactic" else (there.ra, there.dec)
    expected = _project(lon.wrap_at(180 * u.deg).rad, lat.rad)
    assert np.hypot(found_x - expected[0], found_y - expected[1]) < 0.12


@given(st.floats(-EDGE, EDGE), st.floats(-1.57, 1.57))
def test_projection_satisfies_mollweides_equations(lon, lat):
    x, y = (float(v) for v in _project(np.array(lon), np.array(lat)))
    t = np.arcsin(np.clip(y / HEIGHT, -1, 1))
    assert 2 * t + np.sin(2 * t) == pytest.approx(np.pi * np.sin(lat), abs=1e-6)
    assert (x / WIDTH) ** 2 + (y / HEIGHT) ** 2 <= 1 + 1e-9
    assert x == pytest.approx(
        -WIDTH / np.pi * lon * np.cos(t), abs=1e-6
    )  # longitude grows to the left


def test_galactic_axes_are_astropys():
    matrix = GALACTIC_AXES.T
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    pole = SkyCoord(0, 90, unit="deg", frame="galactic").icrs
    # astropy takes the axes from FK5, 8 mas away
    np.testing.assert_allclose(matrix[:, 2], pole.cartesian.xyz.value, atol=1e-7)


def test_counts_are_a_density_with_title_and_credit(tmp_path):
    pixels = np.arange(12 * 4**2)
    counts = np.geomspace(1, 1000, len(pixels)).astype(int)
    fig, ax = sky(
        pixels, counts, 2, provenance={"model_id": "7f3a12abcd", "snapshot": "12"}, raster=300
    )
    title = ax.get_title(loc="left")
    assert f"{counts.sum():,} sources · model 7f3a12 · snapshot 12" in title
    area = 41252.96 / len(pixels)
    assert np.nanmax(ax.images[0].get_array()) == pytest.approx(counts.max() / area, rel=1e-4)
    assert type(ax.images[0].norm).__name__ == "LogNorm"
    assert CREDIT in [text.get_text() for text in fig.texts]
    save(fig, tmp_path / "sky.png")
    assert (tmp_path / "sky.png").stat().st_size > 10_000


def test_medians_missing_values_and_given_axes():
    own, given_ax = plt.subplots()
    fig, ax = sky(
        np.array([3, 1]),
        np.array([np.nan, 1.0]),
        1,
        label="reduced chi2",
        n_rows=7,
        ax=given_ax,
        raster=300,
    )
    assert fig is own
    assert ax is given_ax
    assert "Median of reduced chi2 · 7 sources" in ax.get_title(loc="left")
    assert np.isfinite(ax.images[0].get_array().filled(np.nan)).mean() == pytest.approx(
        np.pi / 4 / 48, rel=0.1
    )
    sky(np.empty(0, int), np.empty(0), 3, raster=100)  # an empty selection is an empty sky
    with pytest.raises(InvalidInputError, match="no frame"):
        sky(np.array([1]), np.array([1]), 1, frame="ecliptic")
    with pytest.raises(InvalidInputError, match="positive"):
        sky(np.array([1, 2]), np.array([-1.0, 1]), 1, label="z", log=True)
