"""Labels published in a catalogue: exactly once, whole or not at all, found by SQL and by lsdb."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import xpscale as xps
from tests.commands import xpscale
from tests.support.kill_points import Killed, KillPoints, install
from xpscale.catalog.check import check
from xpscale.catalog.clean import find_strays
from xpscale.catalog.commit import commit
from xpscale.catalog.layout import LABELS
from xpscale.errors import IncompleteError, InvalidInputError, NotFoundError
from xpscale.inference.complete import complete
from xpscale.labels.extension import publish_labels
from xpscale.labels.label_file import save_label_model
from xpscale.labels.workflow import apply_labels
from xpscale.query.aggregate import sky_map
from xpscale.query.catalog import open_catalog
from xpscale.query.download import download
from xpscale.storage import Storage


@pytest.fixture
def labels(label_models):
    return label_models


@pytest.fixture
def catalog(example, tmp_path):
    """A copy of the example, as complete as `xpscale infer` leaves one."""
    return shutil.copytree(example.url, tmp_path / "catalog", dirs_exist_ok=True)


def published(catalog):
    """The labels as SQL finds them, by position; ``None`` if it finds none."""
    query = "SELECT source_id, teff, teff_error, teff_flags FROM labels ORDER BY _healpix_29"
    try:
        return open_catalog(str(catalog)).sql(query).to_pydict()
    except InvalidInputError:
        return None


def applied(catalog, model):
    rows = open_catalog(str(catalog)).select().columns("source_id")
    return apply_labels(rows, model).to_table().to_pydict()


def test_labels_of_all_stars_are_a_table_of_the_catalogue(catalog, labels, tmp_path):
    save_label_model(labels[0], str(tmp_path / "labels.safetensors"))
    command = ("labels", "apply", catalog, tmp_path / "labels.safetensors", "--publish")
    assert published(catalog) is None
    done = xpscale(*command, "--workers", 0)
    assert done.code == 0, done.err
    assert "published teff of 6,000 sources" in done.err
    assert published(catalog) == applied(catalog, labels[0])
    for page in ("README.md", "index.html"):
        text = (catalog / page).read_text()
        assert "Labels of stars" in text
        assert "and reconstructions" in text
    assert "teff_error" in text
    assert ", labels " in xpscale("catalog", "info", catalog).out
    assert "nothing to do: teff of 6,000 sources" in xpscale(*command, "--workers", 0).err
    assert xpscale("catalog", "check", catalog).code == 0
    assert find_strays(Storage(str(catalog))) == ()
    mine = open_catalog(str(catalog)).sql("SELECT a FROM labels", tables={"labels": {"a": [1]}})
    assert mine["a"].to_pylist() == [1]
    refused = xpscale(*command, "--where", "flags = 0")
    assert refused.code == 2
    assert "--publish writes the labels of all stars" in refused.err


def test_a_selection_takes_them_as_columns(cat, labelled):
    there = open_catalog(labelled)
    table = there.sql("SELECT source_id, teff, teff_error FROM labels ORDER BY teff")
    hot = there.where("teff > 6500").where("flags = 0").columns("source_id", "teff", "kl")
    flags = dict(
        zip(*cat.columns("source_id", "flags").to_table().to_pydict().values(), strict=True)
    )
    expected = [
        row["source_id"]
        for row in table.to_pylist()
        if row["teff"] > 6500 and flags[row["source_id"]] == 0
    ]
    assert {*expected} == {*hot["source_id"].tolist()} != set()
    assert len(expected) == len(hot)
    assert hot.schema.field("teff").metadata[b"description"].startswith(b"teff, predicted")
    ids = table["source_id"].to_pylist()[-3:]
    assert (
        there.at(ids).columns("teff").to_table()["teff"].to_pylist()
        == (table["teff"].to_pylist()[-3:])
    )
    few = there.cone(0, 0, 3)
    assert few.with_labels().with_spectra().to_table().num_rows == few.count() > 0
    assert few.with_labels().column_names[-3:] == ("teff", "teff_error", "teff_flags")
    assert "teff" not in few.to_table().column_names
    mine = few.columns("ra", "dec").to_table()
    found = few.columns("teff").crossmatch(mine, 1).to_table()
    assert found["teff"].null_count == 0
    assert sky_map(few, "teff", 0).n_rows == few.count()
    with pytest.raises(InvalidInputError, match="Did you mean 'teff'"):
        there.where("tefff > 1")
    with pytest.raises(InvalidInputError, match="no column is called 'teff'"):
        cat.where("teff > 1")
    with pytest.raises(NotFoundError, match="no labels are published"):
        cat.with_labels()


def test_sql_says_what_tables_there_are(cat, labelled):
    there = open_catalog(labelled)
    assert there.sql("SHOW TABLES")["name"].to_pylist() == ["labels", "latents", "spectra"]
    assert cat.sql("SHOW TABLES")["name"].to_pylist() == ["latents", "spectra"]
    assert there.sql("DESCRIBE labels")["column_name"].to_pylist()[-1] == "teff_flags"
    assert "mine" in there.sql("SHOW TABLES", tables={"mine": {"a": [1]}})["name"].to_pylist()
    with pytest.raises(InvalidInputError, match='"SHOW TABLES"'):
        there.sql("DESCRIBE catalog")


@pytest.mark.parametrize(
    ("narrow", "products", "columns"),
    [
        (lambda c: c, (), None),
        (lambda c: c.cone(0, 0, 3), ("latents", "labels"), None),
        (lambda c: c.where("teff > 6300").columns("teff"), (), {"teff"}),
        (lambda c: c.where("teff > 6300").columns("kl"), (), set()),
    ],
)
def test_a_download_takes_them_along(labelled, tmp_path, narrow, products, columns):
    rows = narrow(open_catalog(labelled))
    done = download(rows, str(tmp_path / "copy"), products=products)
    assert check(Storage(str(tmp_path / "copy"))).problems == ()
    there = open_catalog(str(tmp_path / "copy"))
    assert {*there.label_columns} == (
        {"teff", "teff_error", "teff_flags"} if columns is None else columns
    )
    theirs = rows.select().columns("source_id", "teff").to_table()
    assert there.n_rows == theirs.num_rows > 0
    if columns != set():
        assert (
            there.columns("source_id", "teff")
            .to_table()
            .sort_by("source_id")
            .equals(theirs.sort_by("source_id"))
        )
        assert done.n_read == done.plan.n_bytes
    again = download(rows, str(tmp_path / "copy"), products=products)
    assert (again.n_read, again.snapshot) == (0, done.snapshot)


def test_a_copy_follows_labels_that_are_replaced(catalog, labels, tmp_path):
    def copied():
        return download(open_catalog(str(catalog)), str(tmp_path / "copy")).n_read

    assert copied() > 0
    assert published(tmp_path / "copy") is None
    for model in labels:
        publish_labels(str(catalog), model)
        assert copied() == open_catalog(str(catalog)).labels.n_bytes
        assert published(tmp_path / "copy") == published(catalog)
    path = next((catalog / LABELS).rglob("Npix*.parquet"))
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    shutil.rmtree(tmp_path / "copy")
    with pytest.raises(IncompleteError, match=r"labels.*is damaged"):
        copied()
    assert published(tmp_path / "copy") is None
    assert check(Storage(str(tmp_path / "copy"))).problems == ()
    with pytest.raises(InvalidInputError, match="without latents"):
        download(open_catalog(str(catalog)), "x", products=["labels"])
    with pytest.raises(InvalidInputError, match="latents, spectra, labels"):
        download(open_catalog(str(catalog)), "x", products=["latent"])
    with pytest.raises(InvalidInputError, match="no labels are published"):
        download(open_catalog(str(tmp_path / "copy")), "x", products=["latents", "labels"])


def test_lsdb_opens_them_as_an_extension(catalog, labels):
    lsdb = pytest.importorskip("lsdb")
    publish_labels(str(catalog), labels[0])
    found = lsdb.open_catalog(catalog / LABELS).compute()
    assert list(found.columns) == ["source_id", "ra", "dec", "teff", "teff_error", "teff_flags"]
    expected = pd.DataFrame(applied(catalog, labels[0])).set_index("source_id")
    pairs = found.set_index("source_id").join(expected, rsuffix="_expected", how="inner")
    assert len(pairs) == len(expected)
    assert (pairs["teff"] == pairs["teff_expected"]).all()
    collection = (catalog / "collection.properties").read_text()
    assert "labels.properties" in collection
    assert "teff teff_error teff_flags" in (catalog / "labels.properties").read_text()


def test_killed_before_a_write_they_are_whole_or_not_there(catalog, labels, tmp_path):
    """The second labels replace the first: at no time is a mixture of the two published."""
    publish_labels(str(catalog), labels[0])
    first, second = (applied(catalog, model) for model in labels)
    assert first != second
    points = KillPoints(tmp_path / "points")
    points.arm(-1, "raise")
    undo = install(points)
    try:
        publish_labels(str(shutil.copytree(catalog, tmp_path / "count")), labels[1])
        n_writes = len(points.operations)
        for number in np.linspace(0, n_writes - 1, 7).astype(int):
            copy = shutil.copytree(catalog, tmp_path / f"copy-{number}")
            points.arm(int(number), "raise")
            with pytest.raises(Killed):
                publish_labels(str(copy), labels[1])
            assert published(copy) in (None, first, second)
            publish_labels(str(copy), labels[1])
            assert published(copy) == second
            assert check(Storage(str(copy))).ok
    finally:
        undo()
    assert n_writes > 40


def test_a_new_version_drops_those_of_the_version_before(catalog, labels):
    publish_labels(str(catalog), labels[0])
    old = open_catalog(str(catalog))
    fewer = without_last_part(old)
    commit(Storage(str(catalog)), fewer)
    assert published(catalog) is None
    complete(str(catalog))
    assert not any((catalog / LABELS).rglob("*.parquet"))
    assert not any("labels" in key for key in Storage(str(catalog)).list(""))
    publish_labels(str(catalog), labels[0])
    assert published(catalog) == applied(catalog, labels[0])
    assert len(published(catalog)["teff"]) == fewer.n_out < old.n_rows


def without_last_part(version):
    manifest = version.manifest
    last = manifest.of("latents")[-1].pixel
    n_lost = manifest.of("latents")[-1].n_rows
    kept = tuple(part for part in manifest.parts if part.pixel != last)
    return type(manifest)(manifest.identity, kept, manifest.n_in, {"no_position": n_lost})


@pytest.mark.parametrize("name", ["Teff [K]", "a b", "x;y"])
def test_names_that_no_catalogue_can_hold_are_refused(catalog, labels, name):
    with pytest.raises(InvalidInputError, match="cannot be called"):
        xps.publish_labels(
            str(catalog), replace(labels[0], labels={name: labels[0].labels["teff"]})
        )
    assert not (catalog / LABELS).exists()
