"""Bad input: one clear line that names what is wrong, the right exit code, nothing half-written."""

import json

import numpy as np
import pytest

import xpscale as xps
from tests.commands import done, xpscale
from tests.support.archive_files import Defects, write_archive
from xpscale.bands import Bands
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import ScatterVAE
from xpscale.release import DR3
from xpscale.testing.universe import Universe


def refused(result, error, *words):
    """The command ended with the error's exit code and said all the words, in few lines and without
    a traceback.
    """
    assert result.code == error.exit_code, result
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err, result.err


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A small sound store."""
    folder = tmp_path_factory.mktemp("bad-input")
    write_archive(Universe(800, seed=1), str(folder / "archive"), n_files=2)
    done("ingest", folder / "archive", folder / "store", "--workers", 0)
    return folder / "store"


def save_model(store_url, folder, bands=DR3.known_bands):
    """A model with untrained weights, scaled on the store if its bands fit."""
    spectra = xps.open_store(str(store_url))
    if bands == spectra.bands:
        scaling = Scaling.fit(spectra.read(partition) for partition in spectra.partitions)
    else:
        scaling = Scaling([0.0] * bands.n_coefficients, [1.0] * bands.n_coefficients, bands)
    network = ScatterVAE(Architecture(bands))
    card = ModelCard(network.architecture)
    TrainedModel.create(network, scaling, TrainingDensity.unknown(bands), card).save(str(folder))
    return folder


@pytest.mark.parametrize(
    ("defect", "error", "words"),
    [
        (
            {"truncated_file": True},
            InvalidInputError,
            ("truncated", "XpContinuousMeanSpectrum_", "Download"),
        ),
        ({"wrong_md5": True}, InvalidInputError, ("MD5", "_MD5SUM.txt says")),
        ({"missing_source_file": True}, NotFoundError, ("lacks GaiaSource_",)),
        ({"foreign_file": True}, InvalidInputError, ("no column", "XpContinuousMeanSpectrum_")),
    ],
)
def test_damaged_archive(tmp_path, defect, error, words):
    write_archive(
        Universe(1_000, seed=2), str(tmp_path / "archive"), n_files=4, defects=Defects(**defect)
    )
    result = xpscale("ingest", tmp_path / "archive", tmp_path / "store", "--workers", 0)
    refused(result, error, *words)
    assert xpscale("store", "check", tmp_path / "store").code in (
        2,
        3,
    )  # nobody can take it for a store


def test_no_archive(tmp_path):
    refused(xpscale("ingest", tmp_path, tmp_path / "store"), NotFoundError, "holds no archive file")
    assert not (tmp_path / "store").exists()


def test_store_of_another_format_version(store, tmp_path):
    root = store / "zarr.json"
    sound = root.read_text()
    try:
        content = json.loads(sound)
        content["attributes"]["format_version"] = 99
        root.write_text(json.dumps(content))
        refused(
            xpscale("store", "info", store),
            InvalidInputError,
            "format version 99",
            "reads version 1",
        )
    finally:
        root.write_text(sound)


def test_model_of_another_width(store, tmp_path):
    model = save_model(store, tmp_path / "model", Bands(51, 55))
    result = xpscale("infer", store, model, tmp_path / "catalog", "--workers", 0)
    refused(
        result,
        InvalidInputError,
        "takes 51 BP + 55 RP coefficients of ",
        "the spectra have 55 BP + 55 RP of Gaia DR3",
    )
    assert not (tmp_path / "catalog").exists()


def test_catalogue_path_that_holds_something_else(store, tmp_path):
    model = save_model(store, tmp_path / "model")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("\\begin{document}")
    refused(
        xpscale("infer", store, model, tmp_path / "mine", "--workers", 0),
        ConflictError,
        "thesis.tex",
    )
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_catalogue_of_another_model(store, tmp_path):
    first, second = save_model(store, tmp_path / "first"), save_model(store, tmp_path / "second")
    done("infer", store, first, tmp_path / "catalog", "--workers", 0)
    result = xpscale("infer", store, second, tmp_path / "catalog", "--workers", 0)
    refused(
        result,
        ConflictError,
        "model_id",
        json.loads(done("model", "info", second, "--json").out)["model_id"],
    )
    assert len(done("catalog", "log", tmp_path / "catalog").out.splitlines()) == 1


def test_nothing_is_there(tmp_path):
    nowhere = tmp_path / "nowhere"
    for command in (
        ("store", "info", nowhere),
        ("model", "info", nowhere),
        ("plan", nowhere, nowhere, tmp_path / "catalog"),
        ("status", nowhere),
        ("catalog", "info", nowhere),
        ("catalog", "log", nowhere),
        ("query", nowhere, "--cone", "1,2,3"),
        ("spectrum", nowhere, 42),
        ("plot", "training", nowhere, "-o", tmp_path / "t.png"),
    ):
        refused(xpscale(*command), NotFoundError, str(nowhere))
    assert list(tmp_path.iterdir()) == []


def test_published_weights_without_scaling(store, tmp_path, published_weights):
    done("model", "import", published_weights, tmp_path / "model")
    result = xpscale("infer", store, tmp_path / "model", tmp_path / "catalog", "--workers", 0)
    refused(result, InvalidInputError, "has no scaling", "--scaling-from STORE")


def test_training_on_what_cannot_be_trained_on(store, tmp_path, published_weights):
    """A store smaller than a batch, a sample of another store, a scaling that divides by zero."""
    (tmp_path / "s.toml").write_text("batch_size = 1024")
    too_small = xpscale("train", store, tmp_path / "model", "--settings", tmp_path / "s.toml")
    refused(too_small, InvalidInputError, "training rows, and batch_size is 1,024", "larger store")
    write_archive(Universe(500, seed=2), str(tmp_path / "archive"), n_files=1)
    done("ingest", tmp_path / "archive", tmp_path / "other", "--workers", 0)
    done("sample", tmp_path / "other", "-n", 300, "-o", tmp_path / "s.parquet")
    foreign = xpscale("train", store, tmp_path / "model", "--sample", tmp_path / "s.parquet")
    refused(foreign, InvalidInputError, "drawn from another store", "Draw a sample from this store")
    np.savez(tmp_path / "norm.npz", mu=np.zeros(110), sig=np.where(np.arange(110) == 7, 0.0, 1.0))
    flat = xpscale(
        "model", "import", published_weights, tmp_path / "model", "--scaling", tmp_path / "norm.npz"
    )
    refused(
        flat,
        InvalidInputError,
        "coefficient 7 (BP 7) is mean 0.0, std 0.0",
        "correct the scaling file",
    )
    assert not (tmp_path / "model").exists()


def test_a_plan_that_does_not_fit_is_refused(store, tmp_path, monkeypatch):
    model = save_model(store, tmp_path / "model")
    monkeypatch.setattr("xpscale.runtime.machine.available_memory", lambda: 10_000_000)
    result = xpscale("infer", store, model, tmp_path / "catalog", "--workers", 0)
    assert result.code == 4
    assert "10 MB are available" in result.err
    assert not (tmp_path / "catalog").exists()


@pytest.mark.parametrize(
    "words", [("store", "chek", "x"), ("infer",), ("ingest", "a", "b", "--max-rows", "many")]
)
def test_mistakes_in_the_command_are_explained(words):
    result = xpscale(*words)
    assert result.code == 2
    assert "Usage: xpscale" in result.err
    assert "Traceback" not in result.err


def test_an_interrupted_command_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("xpscale.inference.status.run_status", interrupted)
    result = xpscale("status", tmp_path)
    assert result.code == 130
    assert "run the same command again" in result.err
