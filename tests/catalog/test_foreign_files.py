"""What other programs and people leave in a catalogue ends no command, and stays. Case F10."""

from dataclasses import replace

import pytest
from random_catalog import PIXELS, fill

from xpscale.catalog.check import check
from xpscale.catalog.clean import clean
from xpscale.catalog.commit import build_manifest, commit
from xpscale.catalog.layout import snapshot_key
from xpscale.catalog.snapshots import current, snapshots
from xpscale.errors import ConflictError
from xpscale.inference.status import run_status
from xpscale.runtime.ledger import Ledger
from xpscale.types import TaskStatus

FOREIGN = (
    ".DS_Store",
    "._000001.json",
    "Thumbs.db",
    "README.txt",
    "000001 copy.json",
    "000001.json~",
    "000002.json.tmp",
    "1.json",
    ".ipynb_checkpoints/000001-checkpoint.json",
    "copy/000001.json",
    "notes.json",
)
FOLDERS = ("snapshots", "manifests", "runs", "hats", "failed", "ledger", "ledger/Norder=3")


@pytest.fixture
def published(storage):
    reports = fill(storage)
    ledger = Ledger(storage / "_xpscale")
    for report in reports:
        ledger.record(report)
    commit(storage, build_manifest(storage, reports))
    return storage


@pytest.mark.parametrize("folder", FOLDERS)
def test_any_other_file_in_a_folder_of_ours_is_passed_over_and_kept(published, folder):
    before, done = snapshots(published), Ledger(published / "_xpscale").finished()
    status = run_status(published)
    for name in FOREIGN:
        published.replace(f"_xpscale/{folder}/{name}", b"\0\5\26\7 theirs")
    for key in published.list("_xpscale/ledger"):
        if "Npix" in key:  # a person's copy of a report
            copy = key.replace(".json", " copy.json")
            published.replace(copy, published.read(key))
            assert Ledger(published / "_xpscale").find(copy[:-5]) is None
    assert snapshots(published) == before
    assert current(published).number == 1
    assert Ledger(published / "_xpscale").finished() == done
    assert run_status(published) == status
    assert check(published).ok
    clean(published, older_than_s=-1, dry_run=False)
    for name in FOREIGN:
        assert published.read(f"_xpscale/{folder}/{name}") == b"\0\5\26\7 theirs"
    assert commit(published, build_manifest(published, done.values())).number == 1


@pytest.mark.parametrize("name", ["notes.txt", "._Npix=7.parquet", "Npix=7 (1).parquet", "a#1"])
def test_a_foreign_file_among_the_parts_is_named_and_never_removed(published, name):
    key = f"latents/dataset/Norder=3/Dir=0/{name}"
    published.folder.joinpath(key).parent.mkdir(parents=True, exist_ok=True)
    published.folder.joinpath(key).write_bytes(b"theirs")
    problems = check(published, deep=False).problems
    assert f"{key}: readers of the folder would see it, and xpscale did not" in problems[-1]
    report = clean(published, older_than_s=-1, dry_run=False)
    assert not report.removed
    commit(published, build_manifest(published, fill(published, seed=0)))
    assert published.read(key) == b"theirs"


PLANTED = (
    "collection.properties",
    "spectra.properties",
    "latents/hats.properties",
    "latents/skymap.fits",
    "spectra/partition_info.csv",
    "latents/dataset/_metadata",
)


@pytest.mark.parametrize("key", PLANTED)
def test_a_commit_replaces_no_file_that_no_commit_wrote(storage, key):
    manifest = build_manifest(storage, fill(storage))
    storage.replace(key, b"theirs")
    with pytest.raises(ConflictError, match=f"{key} is there, and xpscale did not write it"):
        commit(storage, manifest)
    assert storage.read(key) == b"theirs"
    assert not storage.exists(snapshot_key(1))
    storage.delete(key)
    assert commit(storage, manifest).number == 1
    assert check(storage).ok


@pytest.mark.parametrize("folder", ["ledger", "failed"])
def test_a_report_replaces_no_other_object(storage, folder):
    (report, *_) = fill(storage)
    if folder == "failed":
        report = replace(report, status=TaskStatus.QUARANTINED, parts=(), error="again")
    key = f"_xpscale/{folder}/{PIXELS[0].key}.json"
    storage.replace(key, b"theirs")
    with pytest.raises(ConflictError, match="is there"):
        Ledger(storage / "_xpscale").record(report)
    assert storage.read(key) == b"theirs"
