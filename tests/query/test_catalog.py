from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from hypothesis import example as case
from hypothesis import given, settings
from hypothesis import strategies as st

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.query.catalog import open_catalog
from xpscale.query.convert import array
from xpscale.query.region import Cone, parse_cone
from xpscale.sky import healpix_29, separation_deg

dec_of = st.floats(-90, 90) | st.sampled_from([-90.0, 90.0, 0.0])
ra_of = st.floats(0, 360) | st.sampled_from([0.0, 360.0, 359.9999, 45.0])
radius_of = st.floats(1e-5, 30) | st.floats(30, 180)


def assert_equal(found, expected):
    """Equal tables, NaN at the same places."""
    assert found.schema.equals(
        expected.schema if found.num_columns == expected.num_columns else found.schema
    )
    for name in found.column_names:
        np.testing.assert_array_equal(array(found[name]), array(expected[name]))


@settings(max_examples=40, deadline=None)
@given(ra_of, dec_of, radius_of)
@case(0.0, 90.0, 0.5)
@case(0.0, -90.0, 2.0)
@case(360.0, 0.0, 1.0)
@case(45.0, 41.8103149, 0.01)
@case(123.0, 45.0, 180.0)
@case(0.0, 0.0, 139.0)
def test_cone_is_what_brute_force_finds(cat, example, ra, dec, radius_deg):
    distance = separation_deg(
        example.rows["ra"].to_numpy(), example.rows["dec"].to_numpy(), ra, dec
    )
    found = cat.cone(ra, dec, radius_deg).columns("source_id").to_table()["source_id"].to_numpy()
    certain = (
        np.abs(distance - radius_deg) > 1e-9
    )  # on the rim, rounding decides; antipodal distances round most
    certain &= (distance < 179.99) | (radius_deg < 179.9)
    expected = example.rows["source_id"].to_numpy()[(distance <= radius_deg) & certain]
    rim = example.rows["source_id"].to_numpy()[~certain]
    np.testing.assert_array_equal(
        found[~np.isin(found, rim)], expected
    )  # in the order of _healpix_29, too


@settings(max_examples=200, deadline=None)
@given(ra_of, dec_of, st.floats(1e-5, 180), st.floats(0, 0.999), st.floats(0, 2 * np.pi))
def test_index_ranges_leave_nothing_out(ra, dec, radius_deg, share, angle):
    """A position inside the cone, at any direction and share of the radius, lies in one of the
    ranges.
    """
    r, d0 = np.radians(radius_deg * share), np.radians(dec)
    d = np.arcsin(np.clip(np.sin(d0) * np.cos(r) + np.cos(d0) * np.sin(r) * np.cos(angle), -1, 1))
    a = np.arctan2(np.sin(angle) * np.sin(r) * np.cos(d0), np.cos(r) - np.sin(d0) * np.sin(d))
    index = int(healpix_29(np.array([(ra + np.degrees(a)) % 360]), np.array([np.degrees(d)]))[0])
    ranges = Cone(ra, dec, radius_deg).index_ranges()
    assert any(start <= index < stop for start, stop in ranges)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(ranges))


def test_a_small_cone_opens_few_parts(cat):
    assert len(cat.cone(120, -60, 0.1).parts) == 1
    assert len(cat.manifest.of("latents")) == 30


def test_open_reads_only_snapshot_and_manifest(example, tmp_path):
    for folder in ("_xpscale/snapshots", "_xpscale/manifests"):
        shutil.copytree(Path(example.url, folder), tmp_path / folder)
    cat = open_catalog(str(tmp_path))
    n_parts = len(cat.manifest.of("latents"))
    assert (
        repr(cat) == f"6,000 rows · {n_parts} partitions · model {cat.model_id[:6]}.. · snapshot 1"
    )
    selection = (
        cat.cone(10, 10, 1).where("reduced_chi2 < 1").columns("ra")
    )  # composing reads nothing either
    with pytest.raises(NotFoundError, match="catalog check"):
        selection.to_table()
    with pytest.raises(NotFoundError, match="not an xpscale catalogue"):
        open_catalog(str(tmp_path / "nowhere"))


def test_strays_are_never_read(example, cat, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(example.url, copy)
    part = Path(copy, cat.manifest.of("latents")[0].key)
    shutil.copy(part, part.with_name("Npix=9999.parquet"))
    shutil.copy(part, part.with_name("again.parquet"))
    found = open_catalog(str(copy))
    assert found.cone(0, 0, 180).to_table().num_rows == found.n_rows == 6000
    assert found.sql("SELECT count(*) AS n FROM latents")["n"][0].as_py() == 6000


def test_selections_compose_and_leave_each_other_alone(cat, example):
    base = cat.cone(0, 0, 4)
    narrow = (
        base.where("reduced_chi2 < 1")
        .where("dec > 0 -- a comment\n")
        .columns("source_id", "reduced_chi2", "dec")
    )
    rows = narrow.to_table()
    assert rows.column_names == ["source_id", "reduced_chi2", "dec"]
    assert (rows["reduced_chi2"].to_numpy() < 1).all()
    assert (rows["dec"].to_numpy() > 0).all()
    assert 0 < rows.num_rows == narrow.count() < base.count() == base.to_table().num_rows
    both = base.at(narrow.to_table()["source_id"].to_pylist()).cone(0, 2, 2)
    assert 0 < both.count() < rows.num_rows
    assert cat.select().count() == 6000
    assert narrow.query == "cone(0, 0, 4 deg).where(reduced_chi2 < 1).where(dec > 0)"


def test_rows_carry_what_was_written_with_units(cat, example):
    rows = cat.cone(0, 0, 180).with_spectra().to_table()
    assert_equal(rows, example.rows)
    assert rows.schema.field("scatter").equals(
        example.rows.schema.field("scatter"), check_metadata=True
    )
    table = cat.cone(0, 90, 1).with_spectra().to_astropy()
    assert table["ra"].unit == u.deg
    assert table["scatter"].unit == table["phot_g_mean_flux"].unit == u.electron / u.s
    assert table["scatter"].shape == (len(table), 110)
    assert table.meta["model_id"] == cat.model_id
    assert "Right ascension" in table["ra"].description
    frame = cat.cone(0, 90, 1).to_pandas()
    assert frame["source_id"].tolist() == table["source_id"].tolist()


def test_conditions_on_arrays_join_the_spectra(cat, example):
    found = cat.where("scatter[1] > 5000").columns("source_id").to_table()["source_id"].to_numpy()
    scatter = np.array(example.rows["scatter"].to_pylist())
    expected = example.rows["source_id"].to_numpy()[scatter[:, 0] > 5000]
    assert 0 < len(expected) < 6000
    np.testing.assert_array_equal(found, expected)


def test_empty_selections_are_tables_too(cat):
    for selection in (
        cat.at([]),
        cat.cone(200, 30, 1e-5),
        cat.at([5]).with_spectra(),
        cat.where("ra > 400"),
    ):
        rows = selection.to_table()
        assert rows.num_rows == selection.count() == 0
        assert rows.schema.equals(selection.schema)
    assert len(cat.at([5]).to_astropy()) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda c: c.columns("source_id", "reduced_chi"),
            r"'reduced_chi'. Did you mean 'reduced_chi2'\?.*latent_mean_0 to",
        ),
        (lambda c: c.where("reduced_chi < 1"), r"'reduced_chi'. Did you mean 'reduced_chi2'\?"),
        (lambda c: c.where("ra <"), "Parser Error.*Write it in SQL"),
        (lambda c: c.where("1 = 1) OR (1 = 1"), "Parser Error"),
        (lambda c: c.where("ra < 1; SELECT 1"), "more than one statement"),
        (lambda c: c.where("count(*) > 1"), "aggregates"),
        (
            lambda c: c.where("1 IN (SELECT count(*) FROM read_text('/etc/hostname'))"),
            "Permission Error",
        ),
        (lambda c: c.cone(-1, 0, 1), "ra is -1.*0 to 360"),
        (lambda c: c.cone(0, 90.1, 1), "dec is 90.1.*-90 to 90"),
        (lambda c: c.cone(0, 0, 0), "radius_deg is 0.*more than 0"),
        (lambda c: c.cone(0, 0, 181), "radius_deg is 181"),
        (lambda c: c.cone(0, float("nan"), 1), "dec is nan"),
        (lambda c: c.at([1.0]), "float"),
        (lambda c: c.where("ra < 1").lsdb(), "lsdb takes neither"),
        (lambda c: parse_cone("1,2"), "a cone is three numbers.*no radius"),
        (lambda c: c.columns("reduced_chi"), "Did you mean"),
        (lambda c: c.columns("nothing_*"), "no column is called 'nothing_[*]'"),
        (lambda c: c.columns("ra", "scatter").lsdb(), "without 'scatter'.*spectra"),
        (lambda c: c[0], "no name of a column"),
        (lambda c: parse_cone("1,x,2"), "dec is 'x', which is no angle"),
        (lambda c: parse_cone("1,2,0"), "radius_deg is 0"),
    ],
)
def test_mistakes_are_named_at_once(cat, make, message):
    with pytest.raises(InvalidInputError, match=message) as error:
        make(cat)
    assert "\n" not in str(error.value)


def test_without_spectra_the_remedy_is_to_reconstruct(latents_only):
    with pytest.raises(InvalidInputError, match="reconstruct"):
        open_catalog(latents_only).columns("scatter")


@pytest.mark.parametrize("text", [" 56.75, -24.12,1e-1", "56.75 -24.12 0.1", "56.75\t-24.12, 0.1"])
def test_parse_cone(text):
    assert parse_cone(text) == Cone(56.75, -24.12, 0.1)


def test_columns_as_people_name_them(cat):
    means = tuple(f"latent_mean_{i}" for i in range(6))
    assert cat.columns("Source_ID", "latent_mean_*", "KL").names == ("source_id", *means, "kl")
    assert cat.columns("*").names == cat.select().column_names
    assert len(cat) == cat.n_rows
    assert cat["ra"].shape == (len(cat),)
    assert cat["RA", "dec"].names == ("ra", "dec")


def test_lookup_is_light(example):
    """Opening and one lookup import none of the heavy libraries."""
    script = (
        "import sys; from xpscale.query.catalog import open_catalog;cat ="
        f" open_catalog({example.url!r}); assert"
        f" cat.at({example.rows['source_id'][7].as_py()}).to_table().num_rows;print(*{{'torch',"
        " 'hats', 'lsdb', 'astropy', 'gaiaxpy', 'pandas', 'distributed'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.slow
def test_lsdb_opens_the_same_rows(cat, example):
    pytest.importorskip("lsdb", reason="lsdb is not installed")
    cone = cat.cone(0, 0, 3).columns("source_id", "ra", "dec")
    frame = cone.lsdb().compute()
    assert sorted(frame["source_id"]) == sorted(cone.to_table()["source_id"].to_pylist())


def test_part_is_plain_parquet(example, cat):
    """What the selections read is what anybody reads."""
    tables = [pq.read_table(Path(example.url, part.key)) for part in cat.manifest.of("latents")]
    assert_equal(cat.select().to_table(), pa.concat_tables(tables))
