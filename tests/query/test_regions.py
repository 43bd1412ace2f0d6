from __future__ import annotations

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import example as case
from hypothesis import given, settings
from hypothesis import strategies as st

from xpscale.errors import InvalidInputError, NotFoundError, PermanentError
from xpscale.query.box_polygon import Box, Polygon, parse_box, parse_polygon
from xpscale.query.coordinates import position_deg, radius_deg
from xpscale.query.pixel_region import parse_pixels, pixel_cells
from xpscale.query.region import Cone, few, parse_cone

CRAB = (83.63291666666667, 22.01444444444444)
ra_of = st.floats(0, 359.9) | st.sampled_from([0.0, 359.9999, 45.0])
dec_of = st.floats(-89.9, 89.9) | st.sampled_from([-90.0, 90.0, 0.0, 41.8103149])


def ids(rows, chosen):
    return rows["source_id"].to_numpy()[chosen]


def selected(selection):
    return selection.columns("source_id").to_table()["source_id"].to_numpy()


def positions(example):
    return example.rows["ra"].to_numpy(), example.rows["dec"].to_numpy()


@settings(max_examples=25, deadline=None)
@given(ra_of, dec_of, st.floats(0.1, 359), st.floats(0.1, 180))
@case(350.0, -5.0, 20.0, 10.0)
@case(0.0, 80.0, 359.9, 10.0)
@case(-10.0, -90.0, 20.0, 3.0)
def test_box_is_what_brute_force_finds(cat, example, west, south, width, height):
    if south >= 90:
        return
    box = Box((west, (west + width) % 360), (south, min(south + height, 90.0)))
    ra, dec = positions(example)
    expected = ((ra - west) % 360 <= width) & (dec >= south) & (dec <= box.dec[1])
    certain = np.abs((ra - west + 1e-9) % 360 - 1e-9) > 1e-9  # on the border, rounding decides
    certain &= np.abs((ra - west) % 360 - width) > 1e-9
    found = np.isin(example.rows["source_id"].to_numpy(), selected(cat.inside(box)))
    np.testing.assert_array_equal(found[certain], expected[certain])


def vectors(ra, dec):
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], -1)


def turns(points, corners):
    """How often a closed path of arcs turns about each point: the sum of the angles it is seen
    under.
    """
    total = np.zeros(len(points))
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        a, b = np.cross(points, start), np.cross(points, end)
        total += np.arctan2((np.cross(a, b) * points).sum(-1), (a * b).sum(-1))
    return np.rint(total / (2 * math.pi))


@settings(max_examples=25, deadline=None)
@given(ra_of, dec_of, st.floats(0.5, 60), st.lists(st.floats(0.2, 1), min_size=3, max_size=9))
@case(0.0, 90.0, 20.0, [1.0, 0.3, 1.0, 0.3, 1.0])
@case(0.0, -90.0, 5.0, [1.0, 1.0, 1.0])
@case(359.9999, 0.0, 10.0, [1.0, 0.2, 0.9, 0.5])
def test_polygon_is_what_its_path_turns_about(cat, example, ra, dec, size, radii):
    """Stars of any shape, convex and not, about any place, poles and the seam included."""
    middle = SkyCoord(ra, dec, unit="deg")
    angles = np.linspace(0, 360, len(radii), endpoint=False)
    corners = middle.directional_offset_by(angles * u.deg, np.array(radii) * size * u.deg)
    polygon = Polygon(tuple(zip(corners.ra.deg % 360, corners.dec.deg, strict=True)))
    points = vectors(*positions(example))
    near = (points @ vectors(ra, dec)) > 0  # what lies opposite is turned about, too
    expected = near & (turns(points, vectors(corners.ra.deg, corners.dec.deg)) != 0)
    found = np.isin(example.rows["source_id"].to_numpy(), selected(cat.inside(polygon)))
    assert (found != expected).sum() == 0


def test_ranges_of_a_small_region_open_few_parts(cat):
    assert len(cat.polygon("100 5, 101 5, 100 6").parts) == 1
    assert len(cat.box((100, 101), (5, 6)).parts) == 1
    ranges = Polygon(((100.0, 5.0), (101.0, 5.0), (100.0, 6.0))).index_ranges()
    sky = 12 * 4**29
    assert sum(stop - start for start, stop in ranges) / sky * 41253 < 3  # square degrees


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(
        st.integers(0, 29), st.lists(st.integers(0, 11), min_size=1, max_size=4), max_size=3
    )
)
def test_moc_is_the_pixels_of_its_rows(cat, example, chosen):
    from mocpy import MOC

    index = example.rows["_healpix_29"].to_numpy()
    pixels = {  # of every order some that hold sources
        order: [int(index[number * 480] >> 2 * (29 - order)) for number in numbers]
        for order, numbers in chosen.items()
    }
    cells = [(number, order) for order, numbers in pixels.items() for number in numbers]
    found, orders = np.array(cells, np.uint64).reshape(-1, 2).T
    moc = MOC.from_healpix_cells(found, orders.astype(np.uint8), 29)
    expected = np.zeros(len(index), bool)
    for order, numbers in pixels.items():
        expected |= np.isin(index >> 2 * (29 - order), numbers)
    np.testing.assert_array_equal(selected(cat.moc(moc)), ids(example.rows, expected))


@pytest.mark.parametrize("kind", ["fits", "json", "ascii"])
def test_files_of_mocs(cat, tmp_path, kind):
    from mocpy import MOC

    moc, path = MOC.from_string("1/3-5 3/700"), tmp_path / "survey"
    moc.save(str(path), format=kind)
    np.testing.assert_array_equal(selected(cat.moc(path)), selected(cat.moc(moc)))
    assert str(path) in cat.moc(str(path)).query


def test_files_that_are_no_mocs(cat, tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    for text in ("ra,dec\n1,2\n", "", "SIMPLE  =", "{", "1/99999"):
        path.write_text(text)
        if text:
            with pytest.raises(InvalidInputError, match=str(path)) as error:
                cat.moc(path)
            assert "\n" not in str(error.value)
    with pytest.raises(NotFoundError):
        cat.moc(tmp_path / "none.fits")
    with pytest.raises(InvalidInputError, match="no MOC"):
        cat.moc(5)
    monkeypatch.setitem(__import__("sys").modules, "mocpy", None)
    with pytest.raises(PermanentError, match=r"mocpy.*\n?.*xpscale\[moc\]"):
        cat.moc(path)


def test_pixels_of_an_order(cat, example):
    index = example.rows["_healpix_29"].to_numpy()
    for order, numbers in ((0, [0, 5]), (12, [int(index[7] >> 34)]), (29, [int(index[9])])):
        expected = ids(example.rows, np.isin(index >> 2 * (29 - order), numbers))
        np.testing.assert_array_equal(selected(cat.pixel(order, numbers)), expected)
    assert parse_pixels("5/1234, 7").numbers[5].tolist() == [7, 1234]
    for text in ("5", "5/", "x/1", "5/12288", "30/0", "-1/0", "5/1.5"):
        with pytest.raises(InvalidInputError):
            parse_pixels(text)


def test_large_mocs_have_few_bounds_and_all_rows(cat, example):
    """A MOC of more ranges than the query names: the bounds only skip, the pixels decide."""
    index = np.unique(example.rows["_healpix_29"].to_numpy() >> 24)
    chosen = index[::2]
    found = selected(cat.pixel(17, chosen.tolist()))
    expected = np.isin(example.rows["_healpix_29"].to_numpy() >> 24, chosen)
    np.testing.assert_array_equal(found, ids(example.rows, expected))
    ranges = pixel_cells(17, chosen.tolist()).index_ranges()
    joined = few(ranges, 10)
    assert len(ranges) > 1000
    assert len(joined) == 10
    assert (joined[0][0], joined[-1][1]) == (ranges[0][0], ranges[-1][1])
    assert all(any(a <= start and stop <= b for a, b in joined) for start, stop in ranges)


@pytest.mark.parametrize(
    "place",
    [
        ("05:34:31.9 +22:00:52", 0.5),
        ("5h34m31.9s +22d0m52s", "30 arcmin"),
        ("05 34 31.9 +22 00 52", 0.5 * u.deg),
        ("83.63291666666667 22.01444444444444", "0.5deg"),
        ("05:34:31.9", "+22:00:52", "1800arcsec"),
        (CRAB[0] * u.deg, CRAB[1] * u.deg, 30 * u.arcmin),
        (math.radians(CRAB[0]) * u.rad, CRAB[1], 0.5),
        (SkyCoord(*CRAB, unit="deg"), 0.5),
        (SkyCoord(*CRAB, unit="deg").galactic, 30 * u.arcmin),
    ],
)
def test_a_cone_as_astronomers_write_it(cat, place):
    (cone,) = cat.cone(*place).regions
    assert (cone.ra, cone.dec, cone.radius_deg) == pytest.approx((*CRAB, 0.5), abs=1e-9)
    (same,) = cat.cone(*place[:-1], radius=place[-1]).regions
    assert same == cone
    if all(isinstance(word, str) for word in place):
        assert parse_cone(",".join(place)) == cone


@pytest.mark.parametrize(
    "place",
    [
        (1,),
        (1, 2),
        (1, 2, 3, 4),
        (400, 0, 1),
        (10, 91, 1),
        (10, 10, 0),
        (10, 10, -1),
        (10, 10, "nan"),
        (float("nan"), 10, 1),
        ("M31", 1),
        ("25:00:00 99:00:00", 1),
        ("12:61:00 +10:00:00", 1),
        (10, 10, 5 * u.s),
        (10, 10, "5 parsec"),
        (SkyCoord([1, 2], [3, 4], unit="deg"), 1),
        (None, None),
        ((1, 2, 3), 1),
    ],
)
def test_cones_off_the_sky_and_no_cones(cat, place):
    with pytest.raises((InvalidInputError, TypeError)) as error:
        cat.cone(*place)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (parse_box, "1,2,3"),
        (parse_box, "1,2,3,x"),
        (parse_box, "1,2,10,5"),
        (parse_box, "1,1,0,5"),
        (parse_box, "1,400,0,5"),
        (parse_box, "1,2,-95,5"),
        (parse_box, "nan,2,0,5"),
        (parse_polygon, "1 2, 3 4"),
        (parse_polygon, "1 2, 3 4, 1 2"),
        (parse_polygon, "1,2,3,4,5"),
        (parse_polygon, ""),
        (parse_polygon, "1 2, 3 4, 5 95"),
        (parse_polygon, "0 0, 120 0, 240 0"),
        (parse_polygon, "0 0, 100 0, 200 1"),
        (parse_polygon, "1 2, 3 4, a b"),
    ],
)
def test_boxes_and_polygons_that_are_none(make, value):
    with pytest.raises(InvalidInputError) as error:
        make(value)
    assert "\n" not in str(error.value)
    assert error.value.remedy


def test_words_of_boxes_and_polygons(cat):
    assert parse_box("-5,5,0,10") == Box((-5.0, 5.0), (0.0, 10.0))
    (box,) = cat.box((350 * u.deg, "00:40:00"), (0, 10)).regions
    assert (*box.ra, *box.dec) == pytest.approx((350, 10, 0, 10))
    expected = Polygon(((10.0, 20.0), (12.0, 20.0), (11.0, 22.0)))
    for text in ("10 20, 12 20, 11 22", "10,20,12,20,11,22", "10 20; 12 20; 11 22"):
        assert parse_polygon(text) == expected
    (polygon,) = cat.polygon(SkyCoord([10, 12, 11], [20, 20, 22], unit="deg")).regions
    np.testing.assert_allclose(polygon.corners, expected.corners)
    assert cat.polygon([(10, 20), (12, 20), (11, 22)]).regions == (expected,)
    both = cat.box((0, 180), (-90, 90)).cone(0, 0, 30)
    assert both.query == "box(ra 0 to 180, dec -90 to 90 deg).cone(0, 0, 30 deg)"
    assert len(both) == sum(1 for ra in cat.cone(0, 0, 30)["ra"] if ra <= 180)


def test_positions_and_radii():
    assert position_deg("05:34:31.9 −22:00:52") == pytest.approx((CRAB[0], -CRAB[1]))
    assert position_deg("83d38m1s -00d30m00s")[1] == -0.5
    assert radius_deg('5"') == pytest.approx(5 / 3600)
    assert radius_deg("2'") == pytest.approx(2 / 60)
    assert Cone(1, 2, 3) == parse_cone("1 2,3")


@pytest.mark.parametrize(
    "text", ["M 67", "M67,0.5", "NGC 188, 10arcmin", "47 Tuc 1", "3C 273,1", "Barnard's star,1"]
)
def test_the_name_of_an_object_gets_a_line_that_says_what_to_give(text):
    with pytest.raises(InvalidInputError, match="holds a name") as caught:
        parse_cone(text)
    assert "RA,DEC,RADIUS" in caught.value.remedy
    assert "SkyCoord.from_name" in caught.value.remedy


@pytest.mark.parametrize("text", ["1,x,2", "1,2", "05:34 +22:00 1,1", "1h 95d 1", "1,2,3parsec"])
def test_a_place_that_is_wrong_is_not_taken_for_a_name(text):
    with pytest.raises(InvalidInputError) as caught:
        parse_cone(text)
    assert "name" not in caught.value.message
