"""The report as a command: one page, the same numbers from the same seed, clear refusals."""

import json
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

import xpscale as xps
from tests.evaluation.linear_sky import Truth, model_of, sky
from xpscale.bands import Bands
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.evaluation.judged_stars import read_stars
from xpscale.evaluation.label_tables import read_labels
from xpscale.sampling.held_out import HeldOutSplit
from xpscale.testing.universe import Universe
from xpscale.training.settings import TrainingSettings

SPLIT = HeldOutSplit(0.4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of a universe, its truth as labels, and a model trained for an epoch."""
    folder, universe = tmp_path_factory.mktemp("report"), Universe(1200, seed=4)
    store = xps.build_store(
        [("all", universe.spectra())], str(folder / "store"), attributes={"origin": "universe"}
    )
    truth = universe.truth()
    columns = {name: getattr(truth.labels, name) for name in ("teff", "fe_h")}
    columns["alpha_m"] = (0.1 - 0.1 * truth.labels.fe_h).astype(np.float32)
    planted = pa.FixedSizeListArray.from_arrays(truth.scatter.ravel(), truth.scatter.shape[1])
    table = pa.table({"source_id": truth.source_id, **columns, "true_scatter": planted})
    pq.write_table(table, folder / "labels.parquet")
    settings = TrainingSettings(epochs=1, held_out_fraction=0.4, batch_size=64)
    xps.train(store, str(folder / "model"), settings)
    return folder, store, table


def run(folder, *more):
    command = [sys.executable, "-m", "xpscale", "evaluate", "model", "store", "-o", "report"]
    return subprocess.run([*command, *more], cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_the_page_holds_everything_and_the_same_seed_gives_the_same_numbers(made):
    folder, store, _ = made
    ran = run(folder, "--labels", "labels.parquet", "--rows", "150")
    assert ran.returncode == 0, ran.stderr
    numbers = json.loads((folder / "report/report.json").read_text())
    sections = numbers["sections"]
    assert list(sections) == ["reconstruction", "calibration", "latents", "labels", "odd_objects"]
    assert all(section["sentence"] in ran.stdout for section in sections.values())
    assert "planted_scatter" in sections["calibration"]["tables"]
    page = (folder / "report/index.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "url(http" not in page
    assert "@import" not in page
    for section in sections.values():
        assert "<h2 id=" in page
        assert section["title"] in page
    n_figures = len(list((folder / "report/figures").glob("*.png")))
    assert n_figures == len(re.findall(r'<svg role="img" aria-label="|<img alt="', page)) > 10
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))

    assert run(folder, "--rows", "150").returncode == ConflictError.exit_code
    again = xps.evaluate(
        str(folder / "model"), store, labels=folder / "labels.parquet", max_rows=150
    )
    assert {one.name: json.loads(json.dumps(one.to_json())) for one in again.sections} == sections


def test_interrupted_reports_have_no_page(made, monkeypatch):
    folder, _, _ = made
    from xpscale.evaluation import page

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(page, "save", full)
    with pytest.raises(OSError, match="no space"):
        xps.evaluate(
            str(folder / "model"), str(folder / "store"), str(folder / "other"), max_rows=100
        )
    assert not (folder / "other/index.html").exists()


@pytest.mark.parametrize("ending", ["parquet", "csv", "fits"])
def test_labels_of_any_file_have_their_usual_names(ending, tmp_path):
    path = tmp_path / f"labels.{ending}"
    columns = {
        "SOURCE_ID": np.array([7 << 35, 3 << 35, 3 << 35]),
        "TEFF": [5000.0, 4500.0, 9000.0],
        "LOG_G": [2.0, -9999.0, 1.0],
        "MY_MG": [0.1, 0.2, 0.3],
    }
    if ending == "fits":
        Table(columns).write(path)
    else:
        table = pa.table(columns)
        (pq.write_table if ending == "parquet" else pa.csv.write_csv)(table, path)
    found = read_labels(str(path), {"mg_fe": "MY_MG"})
    assert found.source_id.tolist() == [3 << 35, 7 << 35]
    # of two rows the first that has the label
    assert found.labels["teff"].tolist() == [4500, 5000]
    assert found.labels["logg"].tolist() == [1.0, 2.0]
    of = found.of(np.array([7 << 35, 1]))
    np.testing.assert_equal(of["mg_fe"], [0.1, np.nan])


def broken(table, how):
    """A table of labels that cannot be used."""
    n, column = len(table), table.column_names.index("teff")
    return {
        "no overlap": lambda: table.set_column(0, "source_id", pa.array(range(1, n + 1))),
        "few": lambda: table.slice(0, 40),
        "constant": lambda: table.set_column(column, "teff", pa.array([5000.0] * n)),
        "no source_id": lambda: table.drop(["source_id"]),
        "no label": lambda: table.select(["source_id"]),
        "text": lambda: table.set_column(column, "teff", pa.array(["hot"] * n)),
        "unknown": lambda: table.set_column(column, "teff", pa.array([np.nan] * n)),
    }[how]()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no overlap", "has all of teff, fe_h, alpha_m for none of the usable spectra"),
        ("few", "held-out stars and"),
        ("constant", "the label teff of the table is 5000 for all"),
        ("no source_id", "has no column source_id"),
        ("no label", "has no label"),
        ("text", "column teff holds no numbers"),
        ("unknown", "for none of the usable spectra"),
    ],
)
def test_labels_that_tell_nothing_are_refused(how, words, made):
    _, store, table = made
    with pytest.raises(InvalidInputError, match=words):
        read_stars(store, SPLIT, read_labels(broken(table, how)))


def test_a_model_of_other_bands_and_other_splits_are_refused(made, tmp_path):
    folder, store, _ = made
    with pytest.raises(
        InvalidInputError, match=r"takes 12 BP \+ 10 RP coefficients, the spectra have 55"
    ):
        xps.evaluate(model_of(), store)
    other = TrainingSettings(epochs=1, split_seed=1, batch_size=256)
    xps.train(store, str(tmp_path / "other"), other)
    with pytest.raises(InvalidInputError, match="hold out different parts of the sky"):
        xps.evaluate(str(folder / "model"), store, against=[str(tmp_path / "other")])


def test_too_few_spectra_are_refused(tmp_path):
    batch, _ = sky(60)
    store = xps.build_store([("few", batch)], str(tmp_path / "store"), attributes={"origin": "x"})
    with pytest.raises(InvalidInputError, match="usable spectra are"):
        xps.evaluate(model_of(Truth()), store)
    assert store.bands == Bands(12, 10)


def test_rows_in_memory_do_not_depend_on_the_order_of_reading(made):
    _, store, table = made
    labels = read_labels(table.slice(0, 500))
    whole, part = (read_stars(store, SPLIT, labels, max_rows=n)[1] for n in (2000, 150))
    assert len(part) == 150
    assert set(part.batch.source_id) < set(whole.batch.source_id)
    assert part.is_labelled.sum() == min(whole.is_labelled.sum(), 150)  # labelled stars come first
    again = read_stars(store, SPLIT, labels, max_rows=150, seed=0)[1]
    np.testing.assert_array_equal(part.batch.source_id, again.batch.source_id)


def test_a_wrong_label_option_is_one_line(made):
    ran = run(made[0], "--labels", "labels.parquet", "--label", "teff")
    assert ran.returncode == InvalidInputError.exit_code
    assert "--label 'teff' cannot be read" in ran.stderr
    assert "Traceback" not in ran.stderr
