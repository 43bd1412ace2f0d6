from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from xpscale.bands import Bands
from xpscale.catalog.votable import CONTENT_KEY
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.query.catalog import open_catalog
from xpscale.query.version import stated_origin, words_of
from xpscale.query.write import write
from xpscale.release import find_release


@pytest.fixture
def selection(cat):
    return cat.cone(0, 0, 3).where("dec > 0").with_spectra()


def test_parquet_has_units_and_provenance(selection, tmp_path):
    out = tmp_path / "a.parquet"
    rows = selection.to_table()
    assert write(selection, out) == rows.num_rows
    back = pq.read_table(out)
    assert back.equals(rows)
    words = {key.decode(): value.decode() for key, value in back.schema.metadata.items()}
    assert words["xpscale.query"] == selection.query
    assert words["xpscale.model_id"] == selection.catalog.model_id
    assert words["xpscale.snapshot"] == "1"
    assert words["xpscale.credit"] == "Gaia data: ESA/Gaia/DPAC"
    table = Table.read(out, format="parquet.votable")
    assert str(table["ra"].unit) == "deg"
    assert str(table["scatter"].unit) == "electron / s"
    assert table["scatter"].shape == (rows.num_rows, 110)


def test_csv_is_plain_with_its_provenance_in_a_second_file(selection, tmp_path):
    out = tmp_path / "a.csv"
    rows = selection.to_table()
    assert write(selection, out, {"note": "mine"}) == rows.num_rows
    with out.open() as file:
        back = list(csv.DictReader(file))
    assert [int(row["source_id"]) for row in back] == rows["source_id"].to_pylist()
    assert [float(row["ra"]) for row in back] == rows["ra"].to_pylist()
    assert np.float32(json.loads(back[3]["scatter"])).tolist() == rows["scatter"][3].as_py()
    words = json.loads((tmp_path / "a.csv.provenance.json").read_text())
    assert words["query"] == selection.query
    assert words["note"] == "mine"
    assert words["n_rows"] == rows.num_rows


def test_fits_has_units_and_provenance(selection, tmp_path, recwarn):
    out = tmp_path / "a.fits"
    rows = selection.to_table()
    assert write(selection, out) == rows.num_rows
    assert not recwarn
    with fits.open(out) as hdus:
        header, data = hdus[1].header, hdus[1].data
        units = dict(zip(data.columns.names, data.columns.units, strict=True))
        np.testing.assert_array_equal(
            data["scatter"], np.array(rows["scatter"].to_pylist(), np.float32)
        )
        np.testing.assert_array_equal(data["source_id"], rows["source_id"].to_numpy())
    assert (units["ra"], units["scatter"]) == ("deg", "electron/s")
    assert header["QUERY"] == selection.query
    assert header["MODEL_ID"] == selection.catalog.model_id


@pytest.mark.parametrize("as_table", [False, True])
def test_files_say_the_release_and_the_bands(wide, tmp_path, as_table):
    rows = open_catalog(wide).cone(0, 0, 2)
    rows = rows.to_table() if as_table else rows
    for name in ("a.parquet", "a.csv", "a.fits"):
        write(rows, tmp_path / name)
    parquet, note = (
        words_of(pq.read_schema(tmp_path / "a.parquet")),
        tmp_path / "a.csv.provenance.json",
    )
    header = {
        key.lower(): str(value) for key, value in fits.getheader(tmp_path / "a.fits", 1).items()
    }
    for words in (parquet, json.loads(note.read_text()), header):
        assert (words["release"], words["n_bp"], words["n_rp"]) == ("Gaia DR4", "51", "59")
        assert stated_origin(words) == (Bands(51, 59), find_release("dr4"))
    votable = pq.read_schema(tmp_path / "a.parquet").metadata[CONTENT_KEY].decode()
    assert "Latents of Gaia DR4" in votable
    assert 'epoch="J2017.5"' in votable
    assert "DR3" not in votable


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.fits"])
def test_tables_empty_selections_and_sql_results_too(cat, tmp_path, name):
    assert write(cat.at([3]), tmp_path / f"empty_{name}") == 0
    result = cat.sql("SELECT flags, count(*) AS n FROM latents GROUP BY flags")
    assert write(result, tmp_path / name, cat.provenance("SELECT ...")) == result.num_rows


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.fits"])
def test_never_overwrites_silently(cat, tmp_path, name):
    out = tmp_path / name
    write(cat.cone(0, 0, 1), out)
    before = out.read_bytes()
    with pytest.raises(ConflictError, match="already there"):
        write(cat.cone(0, 0, 2), out)
    assert out.read_bytes() == before
    n_rows = write(cat.cone(0, 0, 2), out, overwrite=True)
    assert out.read_bytes() != before
    assert n_rows > cat.cone(0, 0, 1).count()


@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
def test_a_failure_leaves_nothing(tmp_path, name):
    def batches(_):
        yield pa.record_batch({"a": [1, 2]})
        raise RuntimeError("cut")

    class Broken:
        schema = pa.schema({"a": pa.int64()})
        to_batches = staticmethod(batches)

    with pytest.raises(RuntimeError, match="cut"):
        write(Broken(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_bad_places(cat, tmp_path):
    with pytest.raises(
        InvalidInputError, match=r"ends on .txt. Choose one of .parquet, .csv, .fits"
    ):
        write(cat.at([1]), tmp_path / "a.txt")
    with pytest.raises(InvalidInputError, match="no local path"):
        write(cat.at([1]), "s3://bucket/a.csv")
    with pytest.raises(NotFoundError, match="no folder"):
        write(cat.at([1]), tmp_path / "none" / "a.csv")
