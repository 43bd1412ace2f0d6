"""The recipes run as they stand, one after the other, from one settings file; and the files they
ship are sound.
"""

import importlib.util
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import xpscale as xps
from pipelines import density_scaling, dr3, label_curves, science_report
from tests.commands import done
from tests.support.archive_files import write_archive
from xpscale.errors import NotFoundError
from xpscale.model.scaling import normalized
from xpscale.settings.file import load_settings
from xpscale.spectra import SpectraBatch
from xpscale.testing.universe import Universe

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ROOT / "pipelines" / "settings"


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """What 'xpscale settings init' writes, changed to a small archive beside it."""
    folder = tmp_path_factory.mktemp("recipes")
    write_archive(Universe(1_500, seed=7), str(folder / "mirror"), n_files=2)
    file = folder / "dr3.toml"
    done("settings", "init", file)
    text = file.read_text()
    for was, made in {
        "# mirror = ": f'mirror = "{folder}/mirror"  # ',
        '"archive" ': f'"{folder}/archive" ',
        '"out/': f'"{folder}/out/',
        "# workers = 4": "workers = 0",
        "# max_rows = 65536": "max_rows = 500",
        "# n = 100000": "n = 800",
        "# epochs = 100": "epochs = 1",
    }.items():
        assert was in text
        text = text.replace(was, made)
    file.write_text(text)
    return file


def test_the_recipe_makes_a_catalogue_and_its_page(settings, capsys):
    dr3.main(str(settings))
    told = capsys.readouterr().err
    assert told.count("$ xpscale ") == sum(map(len, dr3.STAGES.values()))
    data = load_settings(settings).data
    store, catalog = xps.open_store(data.store), xps.open_catalog(data.catalog)
    assert catalog.n_rows == store.n_rows == 1_500
    assert len(catalog.manifest.of("latents")) == len(store.partitions) > 1
    assert (Path(data.site) / "index.html").exists()
    dr3.main(str(settings), "fetch", "sample", "train", "infer")  # everything is there
    assert capsys.readouterr().err.count("nothing to do") == 4


def test_a_stage_runs_alone(settings, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dr3", str(settings), "fetch"])
    runpy.run_module("pipelines.dr3", run_name="__main__")
    monkeypatch.setattr(sys, "argv", ["dr3", "none.toml", "sample"])
    with pytest.raises(NotFoundError):
        runpy.run_module("pipelines.dr3", run_name="__main__")


def test_a_stage_that_fails_ends_the_recipe_with_its_code(settings, monkeypatch, capsys):
    monkeypatch.setenv("XPSCALE_STORE", str(settings.parent / "no-store"))
    with pytest.raises(SystemExit) as end:
        dr3.main(str(settings), "infer", "publish")
    assert end.value.code == 3
    assert capsys.readouterr().err.count("$ xpscale") == 1
    with pytest.raises(SystemExit, match="inferr is no stage"):
        dr3.main(str(settings), "inferr")


@pytest.mark.slow
def test_models_of_a_file_are_trained_once_and_reported(tmp_path):
    if not importlib.util.find_spec("sklearn"):
        pytest.skip("needs scikit-learn (the extra 'evaluate')")
    tables = (SETTINGS / "ablations.toml").read_text().replace("epochs = 15", "epochs = 1")
    few = tmp_path / "few.toml"
    few.write_text(
        tables.split('["latents uncorrelated')[0]
        + '[again]\n[blind]\nnetwork = "blind"\n[paper]\npreset = "laroche2024"\n'
    )
    arguments = ["--models", str(few), "--only", "universe", "--n-sources", "1500"]
    science_report.main([*arguments, "--out", str(tmp_path)])
    folder = tmp_path / "universe"
    made = {path: path.stat().st_mtime_ns for path in folder.glob("*/card.json")}
    science_report.main([*arguments, "--out", str(tmp_path)])  # again: nothing is trained
    assert {path: path.stat().st_mtime_ns for path in made} == made
    found = json.loads((folder / "report" / "report.json").read_text())["sections"]
    overall = found["reconstruction"]["tables"]["overall"]["rows"]
    assert list(overall) == ["all parts", "again", "blind", "paper"]
    loss = {name: row["loss [nats]"]["value"] for name, row in overall.items()}
    assert loss["all parts"] == loss["again"]  # the same model twice
    assert len(set(loss.values())) == 3
    assert list(found["calibration"]["tables"]["planted_scatter"]["rows"]) == list(overall)


@pytest.mark.parametrize("name", ["ablations", "models"])
def test_files_of_models_hold_settings(name):
    models = science_report.models_of(SETTINGS / f"{name}.toml", 1)
    assert len(models) >= 5
    assert {settings.held_out_fraction for settings in models.values()} == {0.2}


def test_density_is_scaled(tmp_path):
    if not importlib.util.find_spec("sklearn"):
        pytest.skip("needs scikit-learn (the extra 'evaluate')")
    arguments = [str(tmp_path), "--quick", "--only", "universe", "--processes", "1"]
    density_scaling.main(arguments)
    found = json.loads((tmp_path / "density.json").read_text())["universe"]
    sizes = [one["n"] for one in found["fixed"]["points"]]
    assert sizes == sorted(set(sizes))
    assert len(sizes) >= 4
    assert found["fixed"]["law"]["exponent"]["value"] > 0
    assert set(found["density"]["rules"]) == {"uniform", "density", "flattened", "cut"}
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "curve_universe.png", "density_universe.png",
    }  # fmt: skip
    models = {
        path: path.stat().st_mtime_ns for path in tmp_path.glob("universe/models/*/card.json")
    }
    density_scaling.main(arguments)  # again: nothing is trained
    assert {path: path.stat().st_mtime_ns for path in models} == models


def test_labels_from_latents_and_from_coefficients(small_demo, tmp_path):
    if not importlib.util.find_spec("sklearn"):
        pytest.skip("needs scikit-learn (the extra 'evaluate')")
    made, table = small_demo / "demo-out", tmp_path / "labels.parquet"
    store = xps.open_store(str(made / "store"))
    batch = SpectraBatch.concatenate(store.read(partition) for partition in store.partitions)
    label = normalized(batch)[:, 1]
    errors = np.full(len(batch), 1e-6)
    pq.write_table(pa.table({"source_id": batch.source_id, "x": label, "x_err": errors}), table)
    places = [str(place) for place in (made / "catalog", made / "store", table, tmp_path / "out")]
    label_curves.main([*places, "--sizes", "100", "--draws", "1"])
    found = json.loads((tmp_path / "out" / "label_curves.json").read_text())
    robust = {one["method"]: one["robust"] for one in found}
    assert len(robust) == len(found) == 1 + 3 * 4
    # the label is one of 110 coefficients, which a line through 100 stars finds in part
    spread = np.median(np.abs(label - np.median(label)))
    assert robust["coefficients, ridge"] < 0.7 * spread
    assert max(robust.values()) < 2 * spread
    assert "| coefficients, ridge |" in (tmp_path / "out" / "label_curves.md").read_text()
