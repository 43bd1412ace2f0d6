from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table
from hypothesis import example as case
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.commands import xpscale
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.query.crossmatch import crossmatch
from xpscale.sky import separation_deg

SEPARATION = "separation_arcsec"


def around(example, rng, n, scatter_deg):
    """Positions about some sources, and at both poles, the seam and a corner of base pixels."""
    chosen = rng.choice(example.rows.num_rows, n)
    ra, dec = (example.rows[name].to_numpy()[chosen] for name in ("ra", "dec"))
    ra, dec = np.append(ra, [0, 123, 0, 359.99999, 45]), np.append(dec, [90, -90, 0, 0, 41.8103149])
    angle, away = rng.uniform(0, 360, len(ra)), np.abs(rng.normal(0, scatter_deg, len(ra)))
    moved = SkyCoord(ra, dec, unit="deg").directional_offset_by(angle * u.deg, away * u.deg)
    return moved.ra.deg % 360, moved.dec.deg


def brute_force(example, ra, dec, radius_deg):
    """Pairs of a row and a source, and their separation, sorted by row and separation."""
    found = []
    theirs = [example.rows[name].to_numpy() for name in ("ra", "dec", "source_id")]
    for i in range(len(ra)):
        away = separation_deg(*theirs[:2], ra[i], dec[i])
        near = np.flatnonzero(away <= radius_deg)
        found += sorted((i, away[j] * 3600, theirs[2][j]) for j in near)
    return found


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1000), st.floats(0.3, 100_000), st.sampled_from(["best", "all"]))
@case(1, 100.0, "all")
@case(2, 30_000.0, "best")
@case(3, 108_000.0, "all")
def test_matches_are_those_of_brute_force(cat, example, seed, radius, find):
    """Whatever the radius, at poles, the seam, and the borders of partitions of mixed orders."""
    rng = np.random.default_rng(seed)
    ra, dec = around(example, rng, 25, radius / 3600)
    expected = brute_force(example, ra, dec, radius / 3600)
    if find == "best":
        expected = [min(pairs) for _, pairs in itertools.groupby(expected, lambda pair: pair[0])]
    mine = {"number": np.arange(len(ra)), "ra": ra, "dec": dec}
    found = cat.columns("source_id").crossmatch(mine, radius, find=find)
    assert found["number"].tolist() == [i for i, _, _ in expected]
    np.testing.assert_array_equal(found["source_id"], [s for _, _, s in expected])
    np.testing.assert_allclose(found[SEPARATION], [a for _, a, _ in expected], rtol=1e-6, atol=1e-6)


def test_matches_are_those_of_lsdb(cat, example):
    import lsdb

    near = (example.rows["dec"].to_numpy() > 88) | (np.cos(np.radians(example.rows["ra"])) > 0.99)
    theirs = example.rows.select(["source_id", "ra", "dec"]).filter(pa.array(near)).to_pandas()
    rng = np.random.default_rng(3)
    ra = (theirs["ra"].to_numpy() + rng.normal(0, 10 / 3600, len(theirs))) % 360
    dec = np.clip(theirs["dec"].to_numpy() + rng.normal(0, 10 / 3600, len(theirs)), -90, 90)
    mine = pd.DataFrame({"number": np.arange(len(ra)), "ra": ra, "dec": dec})
    left = lsdb.from_dataframe(mine, ra_column="ra", dec_column="dec")
    right = lsdb.from_dataframe(theirs, ra_column="ra", dec_column="dec", margin_threshold=60)
    joined = left.crossmatch(right, n_neighbors=1, radius_arcsec=20, suffixes=("_mine", ""))
    number, source_id = (
        next(name for name in joined.columns if name.startswith(word))
        for word in ("number", "source_id")
    )
    expected = joined.compute().sort_values(number)
    chosen = cat.columns("source_id").where("dec > 88 OR cos(radians(ra)) > 0.99")
    found = chosen.crossmatch(mine, 20 * u.arcsec).to_pandas()
    assert len(ra) / 2 < len(found) < len(ra)
    np.testing.assert_array_equal(found["number"], expected[number])
    np.testing.assert_array_equal(found["source_id"], expected[source_id])
    np.testing.assert_allclose(found[SEPARATION], expected["_dist_arcsec"], rtol=1e-5, atol=1e-5)


def test_selections_narrow_what_matches(cat, example):
    rows = example.rows.slice(0, 300)
    mine = rows.select(["ra", "dec", "flags"])
    found = cat.where("flags = 0").columns("source_id", "flags").crossmatch(mine, 1)
    assert found.schema.names == ["ra", "dec", "flags_mine", SEPARATION, "source_id", "flags"]
    assert set(found["flags"]) == {0}
    nearest = (
        cat.where("flags = 0").columns("source_id").crossmatch(mine.slice(0, 1), 100 * u.deg / 5)
    )
    assert len(nearest) == 1
    with_arrays = cat.with_spectra().crossmatch(mine.slice(0, 3), 1)
    assert with_arrays["scatter"].shape == (3, 110)
    with pytest.raises(InvalidInputError, match="limit"):
        cat.head(3).crossmatch(mine, 1)


@pytest.mark.parametrize("radius", [1, None])
def test_unmatched_rows_come_on_request(cat, example, radius):
    rows = example.rows.slice(0, 4)
    mine = {
        "name": ["a", "b", "nowhere", "c", "d"],
        "source_id": np.insert(rows["source_id"].to_numpy(), 2, 77),
        "ra": np.insert(rows["ra"].to_numpy(), 2, 12.3456),
        "dec": np.insert(rows["dec"].to_numpy(), 2, -0.1),
    }
    plain = cat.columns("ra", "kl").crossmatch(mine, radius)
    assert plain["name"].tolist() == ["a", "b", "c", "d"]
    left = cat.columns("ra", "kl").crossmatch(mine, radius, unmatched=True)
    assert left["name"].tolist() == mine["name"]
    assert left.to_table()["kl"].is_null().to_pylist() == [False, False, True, False, False]
    np.testing.assert_array_equal(left["ra"].compressed(), rows["ra"].to_numpy())
    np.testing.assert_array_equal(left["ra_mine"], mine["ra"])
    assert left.to_astropy()["ra"].unit == u.deg
    nobody = cat.columns("ra").crossmatch(
        {key: values[2:3] for key, values in mine.items()}, radius
    )
    assert (len(nobody), nobody.schema.field("ra").metadata[b"unit"]) == (0, b"deg")


def test_identifiers_in_any_form_repeated_and_missing(cat, example, caplog):
    ids = example.rows["source_id"].to_pylist()[:3]
    mine = pa.table({"star": [f"Gaia DR3 {ids[2]}", None, str(ids[0]), f"Gaia DR3 {ids[2]}"]})
    found = cat.columns("source_id").crossmatch(mine, source_id="star")
    assert found["source_id"].tolist() == [ids[2], ids[0], ids[2]]
    assert "1 of 4 entries are missing" in caplog.text
    movers = {"gaia_source_id": example.movers}
    np.testing.assert_array_equal(
        cat.columns("source_id").crossmatch(movers)["source_id"], example.movers
    )


def as_table(rows):
    table = Table({"Name": rows["name"], "RAJ2000": rows["ra"], "DEJ2000": rows["dec"]})
    table["RAJ2000"].unit = table["DEJ2000"].unit = u.deg
    table["Vmag"] = MaskedColumn([12.5, 0, 13.5], mask=[False, True, False], unit=u.mag)
    table["Vmag"].description = "Johnson"
    table.meta["TELESCOP"] = "one"
    return table


def write_fits(table, path):
    table.write(path, format="fits")


def write_votable(table, path):
    table.write(path, format="votable")


def write_ecsv(table, path):
    table.write(path, format="ascii.ecsv")


def write_csv(table, path):
    table.write(path, format="ascii.csv")


def write_tabs(table, path):
    table.write(path, format="ascii.tab")


def write_parquet(table, path):
    pq.write_table(pa.Table.from_pandas(table.to_pandas(), preserve_index=False), path)


@pytest.fixture
def three(example):
    rows = example.rows.slice(100, 3)
    values = {name: rows[name].to_numpy() for name in ("ra", "dec", "source_id")}
    return {"name": ["x", "y", "z"], **values}


@pytest.mark.parametrize(
    "write", [write_fits, write_votable, write_ecsv, write_csv, write_tabs, write_parquet]
)
def test_every_format_and_object_gives_the_same(cat, three, tmp_path, write):
    path = tmp_path / "stars"  # told by its content
    write(as_table(three), path)
    found = cat.columns("source_id").crossmatch(path, 1)
    assert found["source_id"].tolist() == three["source_id"].tolist()
    assert found.to_table()["Vmag"].to_pylist() == [12.5, None, 13.5]
    assert found.schema.names == ["Name", "RAJ2000", "DEJ2000", "Vmag", SEPARATION, "source_id"]
    if write not in (write_csv, write_tabs, write_parquet):
        assert found.to_astropy()["Vmag"].unit == u.mag
    if write is write_ecsv:
        assert found.to_astropy()["Vmag"].description == "Johnson"
        assert json.loads(found.provenance["table_meta"])["TELESCOP"] == "one"


def test_objects_of_all_libraries_give_the_same(cat, three):
    positions = SkyCoord(three["ra"], three["dec"], unit="deg")
    mixin = Table({"name": three["name"]})
    mixin["where"] = positions
    frame = pd.DataFrame(three)
    hours = Table({"ra": positions.ra.to(u.hourangle), "dec": positions.dec.to(u.rad)})
    texts = pa.table(
        {
            "ra": positions.ra.to_string("hour", precision=6),
            "dec": positions.dec.to_string(precision=6),
        }
    )
    objects = (
        three,
        frame,
        pl.DataFrame(three),
        pa.table(three),
        as_table(three),
        mixin,
        hours,
        texts,
        positions,
        positions.galactic,
        cat.at(three["source_id"]),
    )
    for mine in objects:
        found = cat.columns("source_id").crossmatch(mine, "1 arcsec")
        assert found["source_id"].tolist() == three["source_id"].tolist(), type(mine)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# ra dec\n{0} {1}\n", ["ra", "dec"]),
        ("ra dec\n\n{0}   {1}\n", ["ra", "dec"]),
        ("# made by hand\nra;dec\n{0};{1}\n", ["ra", "dec"]),
        ("ra|dec|note\n{0}|{1}|\n", ["ra", "dec", "note"]),
        ('"ra" , "dec"\r\n{0},{1}\r\n', ["ra", "dec"]),
        ("\ufeffra,dec,e\n{0},{1},nan\n", ["ra", "dec", "e"]),
    ],
)
def test_texts_as_people_write_them(cat, three, tmp_path, text, names):
    path = tmp_path / "stars.txt"
    path.write_text(text.format(repr(float(three["ra"][0])), repr(float(three["dec"][0]))))
    found = cat.columns("source_id").crossmatch(path, 1)
    assert found["source_id"].tolist() == [three["source_id"][0]]
    assert found.schema.names[: len(names)] == [f"{name}" for name in names]


def test_tables_as_people_have_them(cat, three, tmp_path):
    ids, rows = three["source_id"], zip(three["ra"], three["dec"], strict=True)
    texts = {
        "a list of identifiers": ("".join(f"{number}\n" for number in ids), None),
        "named after the release": ("Gaia DR3\n" + "".join(f"{number}\n" for number in ids), None),
        "commas at the ends": ("ra,dec,\n" + "".join(f"{a},{d},\n" for a, d in rows), 1),
    }
    for name, (text, radius) in texts.items():
        path = tmp_path / name
        path.write_text(text)
        found = cat.columns("source_id").crossmatch(path, radius)
        assert found["source_id"].tolist() == ids.tolist(), name
    where = [{"ra": a, "dec": d} for a, d in zip(three["ra"], three["dec"], strict=True)]
    frame = pd.DataFrame({"ra": three["ra"], "dec": three["dec"]}, index=["x", "y", "z"])
    for table in (pa.table({"position": where}), frame):
        found = cat.columns("source_id").crossmatch(table, 1)
        assert found["source_id"].tolist() == ids.tolist()
        assert not any(name.startswith("__") for name in found.schema.names)


BAD = {
    "no such file": ("none.fits", 1, "there is no file"),
    "a column is missing": ("ra,d\n1,2\n", 1, "no column dec; its columns are ra, d"),
    "a row off the sky": ("ra,dec\n1,2\n3,97.5\n4,-91\n", 1, "row 2: dec is 97.5.*1 others"),
    "an infinite one": ("ra,dec\ninf,2\n", 1, "row 1: ra is inf"),
    "text that is no angle": ("ra,dec\n1,2\nabc,4\n", 1, "row 2: ra is 'abc'"),
    "no header": ("1,2\n3,4\n", 1, "no line names the columns"),
    "nothing": ("", 1, "no line names the columns"),
    "a short row": ("ra,dec\n1\n", 1, "cannot be read"),
    "two of one name": ("ra,dec,ra\n1,2,3\n", 1, "2 columns are called 'ra'"),
    "no identifiers": ("ra,dec\n1,2\n", None, "no column source_id"),
    "rounded identifiers": ("source_id\n4.2958e9\n", None, "cannot hold a source_id exactly"),
    "no identifier": ("source_id\n12\nM31\n", None, "row 2: 'M31' is no Gaia source_id"),
    "another release": ("source_id\nGaia DR2 12\n", None, "of Gaia DR2"),
    "a radius of 0": ("ra,dec\n1,2\n", 0, "radius is 0"),
    "a negative radius": ("ra,dec\n1,2\n", -1, "radius is -1"),
    "a radius of the sky": ("ra,dec\n1,2\n", "40deg", "at most 30 degrees"),
    "a radius without a size": ("ra,dec\n1,2\n", "x", "radius is 'x'"),
    "a radius in seconds": ("ra,dec\n1,2\n", 1 * u.s, "radius is 1.0 s"),
    "not a number": ("ra,dec\n1,2\n", float("nan"), "radius is nan"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lists_are_told_in_one_line(cat, tmp_path, name):
    text, radius, message = BAD[name]
    path = tmp_path / "stars.csv"
    if text == "none.fits":
        path = tmp_path / text
    else:
        path.write_text(text)
    with pytest.raises((InvalidInputError, NotFoundError), match=message) as error:
        cat.crossmatch(path, radius)
    assert "\n" not in str(error.value)
    assert error.value.remedy


def test_other_mistakes(cat, three, tmp_path):
    damaged = tmp_path / "a.fits"
    damaged.write_bytes(b"SIMPLE  =" + b"x" * 100)
    for table, options, message in (
        (three, {"find": "some"}, "find is 'some'"),
        (three, {"ra": "RA"}, "no column is called 'RA'"),
        (5, {}, "a int is no table"),
        (damaged, {}, "a.fits cannot be read"),
        ({"ra": [1, 2], "dec": [3]}, {}, "length"),
        ({"ra": [1], "dec": [3], "": [1]}, {}, "is called ''"),
        ({"ra": [True], "dec": [1.0]}, {}, "'ra' is bool"),
        (Table({"ra": [1.0] * u.s, "dec": [1.0] * u.deg}), {}, "is in s, which is no angle"),
    ):
        with pytest.raises(InvalidInputError, match=message) as error:
            cat.crossmatch(table, 1, **options)
        assert "\n" not in str(error.value)


def test_rows_without_a_position_are_told_and_match_nothing(cat, three, caplog):
    mine = {**three, "ra": [three["ra"][0], np.nan, three["ra"][2]]}
    assert cat.crossmatch(mine, 1)["name"].tolist() == ["x", "z"]
    assert "1 of 3 rows have no position, and match nothing: row 2" in caplog.text
    found = cat.crossmatch(mine, 1, unmatched=True)
    assert found["name"].tolist() == ["x", "y", "z"]
    nowhere = {"ra": [None, None], "dec": [None, None]}
    assert len(cat.crossmatch(nowhere, 1)) == 0
    negative = {"ra": three["ra"] - 360 * (three["ra"] > 180), "dec": three["dec"]}
    assert len(cat.crossmatch(negative, 1)) == 3


def test_names_that_collide_stay_apart(cat):
    mine = {"source_id": [1], "SOURCE_ID_mine": [2], "Flags": [3], "kl": [4], "x": [5]}
    names = cat.crossmatch(mine, unmatched=True).schema.names
    assert names[:5] == ["source_id_mine", "SOURCE_ID_mine_mine", "Flags_mine", "kl_mine", "x"]
    assert len({name.casefold() for name in names}) == len(names)


@pytest.mark.parametrize("ending", ["parquet", "csv", "fits", "vot", "ecsv"])
def test_command_writes_every_format(cat, three, tmp_path, ending):
    mine, out = tmp_path / "mine.fits", tmp_path / f"out.{ending}"
    as_table(three).write(mine)
    arguments = ["crossmatch", cat.storage.url, str(mine), "--radius", "1", "--unmatched"]
    found = xpscale(*arguments, "--columns", "source_id,ra", "-o", str(out))
    assert (found.code, "3 rows" in found.err) == (0, True), found.err
    back = cat.columns("source_id").crossmatch(out, source_id="source_id")
    assert back["Name"].tolist() == ["x", "y", "z"]
    again = xpscale(*arguments, "-o", str(out))
    assert again.code == ConflictError.exit_code


def test_command_prints_csv_and_refuses_in_one_line(cat, three, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(
        "id,lon,lat\n"
        + "".join(
            f"{n},{a},{d}\n"
            for n, a, d in zip(three["source_id"], three["ra"], three["dec"], strict=True)
        )
    )
    names = ["--ra", "lon", "--dec", "lat"]
    found = xpscale(
        "crossmatch",
        cat.storage.url,
        str(path),
        "--radius",
        "0.02arcmin",
        *names,
        "--columns",
        "source_id",
    )
    assert found.code == 0, found.err
    assert found.out.splitlines()[0] == '"id","lon","lat","separation_arcsec","source_id"'
    assert len(found.out.splitlines()) == 4
    by_id = xpscale("crossmatch", cat.storage.url, str(path), "--id", "id", "--where", "flags = 9")
    assert (by_id.code, len(by_id.out.splitlines())) == (0, 1)
    bad = xpscale("crossmatch", cat.storage.url, str(path), "--radius", "1")
    assert bad.code == 2
    assert "no column ra; its columns are id, lon, lat" in bad.err


def test_parts_are_read_group_by_group_and_only_those_with_rows(cat, three):
    seen = []

    def track(groups):
        seen.extend(groups)
        return groups

    crossmatch(cat.select(), three, 1, track=track)
    n_parts = sum(len(group) for group in seen)
    assert 1 <= n_parts <= 3
