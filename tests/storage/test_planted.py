"""No writer replaces an object that is not ours, also one that came after the look at its place."""

import pytest

from tests.support.memory_reader import MemoryReader, planted
from tests.support.parquet_files import write_parquet_files
from xpscale.errors import ConflictError, XpscaleError
from xpscale.ingest.place import begin_store
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.storage import Storage
from xpscale.store.check import check_store
from xpscale.testing.universe import Universe
from xpscale.training.run import train
from xpscale.training.session import CHECKPOINT, HISTORY
from xpscale.training.settings import TrainingSettings


@pytest.fixture(scope="module")
def spectra(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spectra") / "in"
    write_parquet_files(Universe(30, seed=5).spectra(), str(folder))
    return str(folder)


@pytest.fixture
def begun(spectra, tmp_path):
    """A plan whose store's place is claimed."""
    plan = plan_ingest(spectra, str(tmp_path / "store"))
    assert begin_store(plan.store, plan.contents.identity, plan.max_rows) is None
    return plan


@pytest.mark.parametrize(
    "key",
    [
        "zarr.json",
        "Norder=0/zarr.json",
        "_xpscale/partitions.json",
        "_xpscale/report.json",
        "_xpscale/staging/archive_digest",
        "Norder=0/Npix=0/coefficients/zarr.json",
    ],
)
def test_an_ingest_replaces_nothing_that_was_planted_after_its_claim(begun, key):
    begun.store.replace(key, b"theirs")
    with pytest.raises(XpscaleError, match=r"/store"):
        run_ingest(begun)
    assert begun.store.read(key) == b"theirs"
    begun.store.delete(key)
    store, is_new = run_ingest(begun)
    assert is_new
    assert check_store(store).ok


def test_an_ingest_removes_nothing_that_it_did_not_write(begun):
    theirs = [
        "_xpscale/staging/notes.txt",
        "_xpscale/ledger/README",
        "_xpscale/failed/.DS_Store",
        "_xpscale/staging/.ipynb_checkpoints/x.rows",
    ]
    for key in theirs:
        begun.store.replace(key, b"theirs")
    (begun.store.folder / "notes#1").write_bytes(b"theirs")
    run_ingest(begun)
    run_ingest(begun)  # finished before
    assert [begun.store.read(key) for key in (*theirs, "notes#1")] == [b"theirs"] * 5


@pytest.mark.s3
def test_a_store_is_not_written_over_what_a_marker_hides(bucket, spectra):
    """Case F09: what a marker hides is overwritten."""
    place, put = bucket
    put("", b"")
    for key in ("thesis.tex", "zarr.json"):
        put(key)
    with pytest.raises(ConflictError, match=r"holds something else: thesis\.tex"):
        run_ingest(plan_ingest(spectra, place.url))
    assert place.list() == {"thesis.tex": 6, "zarr.json": 6}


SETTINGS = TrainingSettings(epochs=2, batch_size=256, n_latents=3, hidden=(10, 6), seed=7)


@pytest.mark.parametrize("name", [HISTORY, "weights.h5"])
def test_a_training_does_not_begin_in_another_program_s_folder(tmp_path, name):
    theirs = b"epoch,accuracy,loss\n0,0.5,1.0\n"  # as Keras writes it
    Storage(str(tmp_path)).create(name, theirs)
    with pytest.raises(ConflictError, match=f"something that is not a model: {name}"):
        train(MemoryReader(planted(600)), str(tmp_path), SETTINGS)
    assert Storage(str(tmp_path)).list() == {name: len(theirs)}


@pytest.mark.parametrize("name", [CHECKPOINT, HISTORY, "model.safetensors", "card.json"])
def test_a_training_replaces_nothing_that_was_planted_while_it_ran(tmp_path, name):
    place = Storage(str(tmp_path / "model"))

    def plant(metrics):
        place.replace(name, b"theirs")

    with pytest.raises(XpscaleError):
        train(MemoryReader(planted(600)), place.url, SETTINGS, on_epoch=plant)
    assert place.read(name) == b"theirs"
