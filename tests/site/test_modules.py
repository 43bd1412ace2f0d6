"""Modules of the page, run by node: HEALPix as in cdshealpix, positions as astropy reads them."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from cdshealpix.nested import healpix_to_lonlat, lonlat_to_healpix

from tests.debian import debian_command
from xpscale import site

WEB = Path(site.__file__).parent / "web"


def run(module, expression, given):
    """The value of an expression of a module's names (``m``) and of what is given (``g``)."""
    code = f"""
        import {{ readFileSync }} from 'node:fs'
        import * as m from '{WEB}/src/{module}'
        const g = JSON.parse(readFileSync(0, 'utf8'))
        const text = (_, v) => (typeof v === 'bigint' ? String(v) : v)
        console.log(JSON.stringify({expression}, text))"""
    node = debian_command("node", "nodejs")
    done = subprocess.run(
        [node, "--input-type=module", "-e", code],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def places():
    """Longitudes and latitudes: everywhere, at the poles, at the borders of the polar caps."""
    rng = np.random.default_rng(1)
    latitude = np.degrees(np.arcsin(rng.uniform(-1, 1, 3000)))
    latitude[:200] = 90 - 10.0 ** rng.uniform(-6, 0, 200)
    latitude[200:400] = -latitude[:200]
    latitude[400:600] = np.degrees(np.arcsin(2 / 3)) + rng.normal(0, 1e-4, 200)
    return rng.uniform(0, 360, 3000), latitude


@pytest.mark.parametrize("order", [0, 1, 6, 12])
def test_pixels_are_those_of_cdshealpix(places, order):
    given = {"order": order, "places": np.stack(places, 1).tolist()}
    pixels = run("healpix.js", "g.places.map((p) => m.pixelOf(g.order, ...m.vector(...p)))", given)
    expected = lonlat_to_healpix(*(_angle(v) for v in places), order)
    assert pixels == expected.tolist()
    centres = run("healpix.js", "g.map((p) => m.degrees(m.centreOf(12, p)))", pixels[:500])
    if order == 12:
        there = SkyCoord(*healpix_to_lonlat(expected[:500], 12))
        assert SkyCoord(centres, unit="deg").separation(there).arcsec.max() < 1e-6


def _angle(values):
    from astropy.coordinates import Angle

    return Angle(values, "deg")


@pytest.mark.parametrize("radius", [0.01, 1.0, 30.0, 179.0])
def test_a_cone_is_covered(places, radius):
    order = 4 if radius > 5 else 8
    covers = run(
        "healpix.js",
        "g.centres.map((c) => m.coneCover(g.order, m.vector(...c), g.radius))",
        {"centres": np.stack(places, 1)[::600].tolist(), "radius": radius, "order": order},
    )
    rng = np.random.default_rng(2)
    for centre, cover in zip(np.stack(places, 1)[::600], covers, strict=True):
        around = SkyCoord(*centre, unit="deg").directional_offset_by(
            rng.uniform(0, 360, 300) * _angle(1).unit,
            rng.uniform(0, radius, 300) * _angle(1).unit,
        )
        pixels = lonlat_to_healpix(around.ra, around.dec, order)
        assert set(pixels.tolist()) <= set(cover)
    assert radius > 5 or max(map(len, covers)) < 120


POSITIONS = [
    ("56.75 24.12", (56.75, 24.12)),
    ("56.75, -24.12", (56.75, -24.12)),
    ("56.75,+24.12", (56.75, 24.12)),
    ("56.75d −24.12d", (56.75, -24.12)),
    ("56.75° 24.12°", (56.75, 24.12)),
    ("0 0", (0, 0)),
    ("360 -90", (360, -90)),
    ("03:47:24 +24:07:00", "03:47:24 +24:07:00"),
    ("3 47 24.5 -0 30 15.25", "3 47 24.5 -0 30 15.25"),
    ("03h47m24s +24d07m00s", "03h47m24s +24d07m00s"),
    ("3h47m +24d07m", "3h47m0s +24d07m0s"),
    ("03h47m24.123s-24d07m00.5s", "03h47m24.123s -24d07m00.5s"),
    ("03:47 +24:07", "03:47:00 +24:07:00"),
    ("3h 47m 24s, +24° 7′ 0″", "03h47m24s +24d07m00s"),
]


@pytest.mark.parametrize(("text", "place"), POSITIONS, ids=[text for text, _ in POSITIONS])
def test_positions_are_read_as_astropy_reads_them(text, place):
    if isinstance(place, str):
        there = SkyCoord(place, unit=("hourangle", "deg"))
        place = (there.ra.deg, there.dec.deg)
    assert run("search.js", "m.parse(g).place", text) == pytest.approx(place, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Gaia DR3 4295806720", {"id": "4295806720"}),
        ("  4295806720 ", {"id": "4295806720"}),
        ("gaia4295806720", {"id": "4295806720"}),
        ("M 31", {"name": "M 31"}),
        ("NGC 188", {"name": "NGC 188"}),
        ("HD 189733", {"name": "HD 189733"}),
    ],
)
def test_identifiers_and_names_are_told_apart(text, found):
    assert run("search.js", "m.parse(g)", text) == found


@pytest.mark.parametrize(
    "text", ["24:00:01 +10:00:00", "400 10", "10 95", "3:70:00 +10:00:00", "1 2 61 3 4 5"]
)
def test_positions_off_the_sky_are_refused(text):
    assert list(run("search.js", "m.parse(g)", text)) == ["problem"]
