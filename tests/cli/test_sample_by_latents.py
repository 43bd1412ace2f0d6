"""``xpscale sample --by latents``: of a model, or as a catalogue holds them."""

import numpy as np
import pytest

import xpscale as xps
from tests.commands import done, xpscale
from tests.support.archive_files import write_archive
from tests.support.memory_reader import MemoryReader
from xpscale.bands import Bands
from xpscale.release import find_release
from xpscale.sampling.latent_cells import ModelLatents
from xpscale.sampling.sample import load_sample
from xpscale.testing.universe import Universe


def ingested(folder, seed):
    write_archive(Universe(800, seed=seed), str(folder / "archive"), n_files=1)
    done("ingest", folder / "archive", folder / "store", "--workers", 0)
    return folder / "store"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A store, a model and the catalogue that it makes of the store."""
    folder = tmp_path_factory.mktemp("by-latents")
    store = ingested(folder, 1)
    (folder / "s.toml").write_text("epochs = 2\nbatch_size = 64\nhidden = [16]\nn_latents = 3")
    done("train", store, folder / "model", "--settings", folder / "s.toml")
    done(
        "infer", store, folder / "model", folder / "catalog", "--workers", 0, "--outputs", "latents"
    )
    return folder


def test_the_latents_of_a_catalogue_are_those_of_its_model(world):
    drawn = {}
    for source in ("model", "catalog"):
        output = world / f"{source}.parquet"
        words = (
            "-n",
            200,
            "--rule",
            "flattened",
            "--by",
            "latents",
            f"--{source}",
            world / source,
            "-o",
            output,
        )
        done("sample", world / "store", *words)
        drawn[source] = load_sample(str(output))
    plans = [sample.plan for sample in drawn.values()]
    assert (
        len(set(plans[0].cell) ^ set(plans[1].cell)) <= 2
    )  # a source may lie on the edge of a cell
    assert len(plans[0].cell) > 4
    assert len(np.intersect1d(*(sample.source_id for sample in drawn.values()))) > 190
    assert plans[0].n_available == plans[1].n_available


def test_a_catalogue_of_another_store_is_refused(world, tmp_path):
    other = ingested(tmp_path, 2)
    result = xpscale(
        "sample",
        other,
        "-n",
        99,
        "--by",
        "latents",
        "--catalog",
        world / "catalog",
        "-o",
        tmp_path / "s",
    )
    assert result.code == xps.errors.InvalidInputError.exit_code
    assert "catalog was made from another store" in result.err
    assert not (tmp_path / "s").exists()


def test_a_model_of_other_bands_or_of_another_release_is_refused(world):
    class FromDR4(MemoryReader):
        release = find_release("dr4")

    model = str(world / "model")
    with pytest.raises(xps.errors.InvalidInputError, match="51 BP"):
        ModelLatents.open(model, MemoryReader(Universe(99, bands=Bands(51, 55)).spectra()))
    with pytest.raises(xps.errors.ConflictError, match=r"Gaia DR3.*Gaia DR4"):
        ModelLatents.open(model, FromDR4(Universe(99).spectra()))


@pytest.mark.parametrize(
    "words",
    [
        ("--by", "latents"),
        ("--catalog", "c"),
        ("--by", "latents", "--model", "m", "--catalog", "c"),
    ],
)
def test_whose_latents_must_be_said(world, words, tmp_path):
    result = xpscale("sample", world / "store", "-n", 99, *words, "-o", tmp_path / "s")
    assert result.code == xps.errors.InvalidInputError.exit_code
    assert "Say whose latents" in result.err
