"""Every command takes its values from flags, the environment, a settings file, in this order."""

import json

import pytest

from tests.commands import done, xpscale
from tests.support.archive_files import write_archive
from xpscale.cli.settings_file import COMMANDS, found
from xpscale.settings.file import Settings, load_settings
from xpscale.testing.universe import Universe

FILE = """
[data]
archive = "archive"
store = "store"
model = "model"
catalog = "catalog"
sample = "sample.parquet"
[cluster]
workers = 0
[ingest]
max_rows = 200
[training]
epochs = 1
[train]
device = "cpu"
[infer]
outputs = "latents"
device = "cpu"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    write_archive(Universe(600, seed=5), str(folder / "archive"), n_files=1)
    (folder / "s.toml").write_text(FILE)
    return folder


def test_a_run_from_the_archive_to_the_catalogue_names_only_the_file(folder, monkeypatch):
    monkeypatch.chdir(folder)
    where = ("--settings", "s.toml")
    for command in ("ingest", "train", "infer"):
        done(command, *(("--sample", "") if command == "train" else ()), *where)
    monkeypatch.setenv("XPSCALE_SETTINGS", "s.toml")
    status = json.loads(done("catalog", "info", "--json").out)
    assert "latents" in str(status)
    assert "spectra" not in status.get("products", {})
    # the environment comes before the file, a flag before both
    monkeypatch.setenv("XPSCALE_CATALOG", "other")
    assert xpscale("status").code == 3
    assert done("status", "catalog").out
    result = done("infer", "--dry-run")
    assert "other" in result.out
    assert "outputs latents\n" in result.out
    monkeypatch.setenv("XPSCALE_INFER_OUTPUTS", "latents,scatter")
    assert "outputs latents, scatter\n" in done("infer", "--dry-run").out
    assert "outputs latents\n" in done("infer", "--dry-run", "--outputs", "latents").out
    shown = done("settings", "show").out
    assert 'catalog = "other"' in shown
    assert "XPSCALE_CATALOG" in shown
    rows = json.loads(done("settings", "show", "--json").out)["settings"]
    origins = {(row["table"], row["key"]): row["origin"] for row in rows}
    assert origins["data", "store"] == "s.toml"
    assert origins["infer", "outputs"] == "XPSCALE_INFER_OUTPUTS"
    assert origins["cluster", "kind"] == "default"


def test_every_command_takes_the_file_and_its_options_are_keys(tmp_path, monkeypatch):
    assert {"infer", "ingest", "train", "sample", "site", "archive fetch", "settings show"} <= {
        *COMMANDS
    }
    for command, takes in COMMANDS.items():
        for taken in takes:
            value = {bool: "true", int: "3", float: "0.5"}.get(taken.kind, "text")
            name = f"XPSCALE_{command}_{taken.key}".replace(" ", "_").replace("-", "_").upper()
            monkeypatch.setenv(name, value)
        values = found(command, Settings())
        assert set(values) == {taken.name for taken in takes}
        assert all(one.is_environment for one in values.values())


def test_places_reach_the_parameters_that_hold_them(folder):
    settings = load_settings(folder / "s.toml")
    assert found("archive fetch", settings)["places"].value == ["archive"]
    assert found("ingest", settings)["source"].value == "archive"
    assert found("sample", settings)["output"].value == "sample.parquet"
    assert found("train", settings)["sample"].value == "sample.parquet"
    assert "model" not in found("sample", settings)  # an option of another meaning


@pytest.mark.parametrize(
    ("name", "value"),
    [("XPSCALE_WORKERS", "many"), ("XPSCALE_INFER_SKIP_DAMAGED", "maybe"),
     ("XPSCALE_INFER_PATIENCE", "x")],
)  # fmt: skip
def test_a_variable_of_the_wrong_type_is_named(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    result = xpscale("infer", "s", "m", "c")
    assert result.code == 2
    assert f"{name} is {value!r}" in result.err


def test_the_nearer_of_cluster_and_scheduler_counts(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XPSCALE_CATALOG", "elsewhere")
    gone = ("--scheduler", "tcp://127.0.0.1:1")
    result = xpscale("plan", "--settings", "s.toml", *gone)
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in result.err
    result = xpscale("plan", "--settings", "s.toml", "--cluster", "s.toml", *gone)
    assert result.code == 2
    assert "exclude each other" in result.err
    monkeypatch.setenv("XPSCALE_SCHEDULER", "tcp://127.0.0.1:1")
    done("plan", "--settings", "s.toml", "--cluster", "local")


def test_submit_needs_slurm(folder, monkeypatch):
    monkeypatch.chdir(folder)
    result = xpscale("infer", "--settings", "s.toml", "--submit")
    assert result.code == 2
    assert "--submit needs a cluster of the kind slurm" in result.err
