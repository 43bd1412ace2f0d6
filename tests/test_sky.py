"""Pixels as integers, against cdshealpix, hats and brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpscale.errors import InvalidInputError
from xpscale.sky import (
    INDEX_ORDER,
    MAX_ORDER,
    Pixel,
    cone_pixels,
    healpix_29,
    rough_pixels,
    separation_deg,
    source_id_pixel,
)

PIXELS = st.integers(0, INDEX_ORDER).flatmap(
    lambda order: st.builds(Pixel, st.just(order), st.integers(0, 12 * 4**order - 1))
)
POSITIONS = st.lists(st.tuples(st.floats(0, 360), st.floats(-90, 90)), min_size=1, max_size=50)


@given(PIXELS, PIXELS)
def test_a_pixel_contains_what_lies_in_its_range(a, b):
    deepest = max(a.order, b.order)
    (a_low, a_high), (b_low, b_high) = a.range_at(deepest), b.range_at(deepest)
    assert a.contains(b) == (a.order <= b.order and a_low <= b_low < b_high <= a_high)
    assert a.contains(a)
    low, high = a.index_range
    assert (low, high) == a.range_at(INDEX_ORDER)
    assert high - low == 4 ** (INDEX_ORDER - a.order)
    children = (
        [Pixel(a.order + 1, 4 * a.number + i) for i in range(4)] if a.order < INDEX_ORDER else []
    )
    assert all(a.contains(child) and not child.contains(a) for child in children)
    assert sum(child.area_sq_deg for child in children) == pytest.approx(
        a.area_sq_deg if children else 0
    )


@pytest.mark.parametrize(("order", "number"), [(-1, 0), (30, 0), (0, 12), (3, -1), (5, 12 * 4**5)])
def test_pixels_that_do_not_exist_are_refused(order, number):
    with pytest.raises(InvalidInputError, match="no HEALPix pixel"):
        Pixel(order, number)


@given(st.integers(0, 12 * 4**12 - 1), st.integers(0, 2**35 - 1), st.integers(0, MAX_ORDER))
def test_source_id_carries_its_pixel_at_every_order(number, rest, order):
    source_id = np.array([(number << 35) + rest])
    assert source_id_pixel(source_id, order)[0] == number >> 2 * (MAX_ORDER - order)
    assert source_id_pixel(source_id, 8)[0] == source_id[0] >> 43
    with pytest.raises(InvalidInputError):
        source_id_pixel(source_id, 13)


@given(POSITIONS)
def test_the_index_is_that_of_hats(positions):
    from hats.pixel_math.spatial_index import compute_spatial_index

    ra, dec = np.array(positions).T
    assert np.array_equal(healpix_29(ra, dec), compute_spatial_index(ra, dec))


def test_no_position_has_no_index():
    assert healpix_29(np.empty(0), np.empty(0)).dtype == np.int64


@given(
    st.one_of(st.floats(0, 360), st.sampled_from([0.0, 359.999999, 360.0, 45.0])),
    st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 90.0, 89.9999, 0.0, 41.8103])),
    st.one_of(st.floats(1e-4, 5), st.floats(5, 180)),
    st.integers(0, 8),
    st.integers(0, 2**32 - 1),
)
def test_cones_leave_out_no_pixel(ra, dec, radius_deg, order, seed):
    """Brute force: points drawn inside the cone and on its rim lie in the pixels found."""
    rng = np.random.default_rng(seed)
    distance = np.radians(radius_deg) * np.concatenate(
        [np.sqrt(rng.random(200)), np.full(200, 1 - 1e-9)]
    )
    angle = rng.uniform(0, 2 * np.pi, 400)
    d0 = np.radians(dec)
    sin_dec = np.sin(d0) * np.cos(distance) + np.cos(d0) * np.sin(distance) * np.cos(angle)
    dec_in = np.arcsin(np.clip(sin_dec, -1, 1))
    east = np.sin(angle) * np.sin(distance) * np.cos(d0)
    ra_in = np.radians(ra) + np.arctan2(east, np.cos(distance) - np.sin(d0) * sin_dec)
    ra_deg, dec_deg = np.degrees(ra_in) % 360, np.degrees(dec_in)
    inside = separation_deg(ra_deg, dec_deg, ra, dec) <= radius_deg
    assert inside.mean() > 0.4
    touched = set((healpix_29(ra_deg, dec_deg)[inside] >> 2 * (INDEX_ORDER - order)).tolist())
    assert touched <= cone_pixels(ra, dec, radius_deg, order)


def test_cones_do_not_answer_the_whole_sky():
    assert len(cone_pixels(10.0, 20.0, 0.1, 5)) <= 4
    assert len(cone_pixels(0.0, 90.0, 30.0, 3)) < 12 * 4**3 / 8
    assert separation_deg(np.array([359.0]), np.array([0.0]), 1.0, 0.0)[0] == pytest.approx(2)
    assert separation_deg(np.array([0.0]), np.array([-90.0]), 123.0, 90.0)[0] == pytest.approx(180)


@given(POSITIONS, st.integers(0, 12))
def test_rough_pixels_are_those_of_the_index_but_at_borders(positions, order):
    ra, dec = np.array(positions).T
    found, exact = rough_pixels(ra, dec, order), healpix_29(ra, dec) >> 2 * (INDEX_ORDER - order)
    for i in np.flatnonzero(found != exact):
        assert found[i] in cone_pixels(ra[i], dec[i], 1e-9, order)
    middle = ra + 0.123456789, dec * 0.987654321  # hypothesis likes borders
    exact = healpix_29(*middle) >> 2 * (INDEX_ORDER - order)
    assert np.mean(rough_pixels(*middle, order) == exact) > 0.9
