import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread

import pytest
from random_catalog import PIXELS, ROWS, fill, identity

from xpscale.catalog import hats
from xpscale.catalog.check import check
from xpscale.catalog.commit import build_manifest, commit
from xpscale.catalog.identity import claim
from xpscale.catalog.layout import COLLECTION, snapshot_key
from xpscale.catalog.manifest import Manifest, Snapshot
from xpscale.catalog.snapshots import current, read_manifest, snapshots
from xpscale.errors import (
    ConflictError,
    IncompleteError,
    InvalidInputError,
    NotFoundError,
    PermanentError,
)
from xpscale.storage import Storage
from xpscale.types import TaskReport, TaskStatus


def test_a_manifest_does_not_depend_on_the_history(storage: Storage):
    reports = fill(storage)
    manifest = build_manifest(storage, reports)
    failed = [TaskReport(r.task, TaskStatus.FAILED, error="worker lost") for r in reports]
    again = [r.as_already_written() for r in reports]
    for history in (
        reversed(reports),
        [*failed, *reports],
        [*reports, *failed],
        [*again, *reports],
        again,
    ):
        assert build_manifest(storage, history).to_json() == manifest.to_json()
    assert (manifest.n_in, manifest.n_out, manifest.n_rejected) == (
        len(PIXELS) * ROWS + 1,
        len(PIXELS) * ROWS,
        {"missing BP": 1},
    )
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_unfinished_runs_are_not_published(storage: Storage):
    reports = fill(storage, identity(n_tasks=6))
    bad = TaskReport("Norder=9/Npix=7", TaskStatus.QUARANTINED, error="footer is truncated")
    with pytest.raises(IncompleteError) as refused:
        build_manifest(storage, [*reports, bad])
    assert "4 of 6 tasks are done, 1 failed, 1 have no report" in str(refused.value)
    assert "Norder=9/Npix=7: quarantined: footer is truncated" in str(refused.value)
    empty = [
        TaskReport(f"t{i}", TaskStatus.EMPTY, n_in=2, n_rejected={"missing BP": 2})
        for i in range(2)
    ]
    assert build_manifest(storage, [*reports, *empty]).n_rejected == {"missing BP": 5}
    with pytest.raises(InvalidInputError, match="7 tasks were reported, but the run has 6"):
        build_manifest(storage, [*reports, *empty, replace(empty[0], task="t3")])
    with pytest.raises(NotFoundError, match="no published version yet"):
        current(storage)


def test_reports_that_contradict_themselves_are_refused(storage: Storage):
    first, *others = fill(storage)
    for wrong in (
        replace(first, n_in=ROWS),
        replace(first, parts=first.parts[:1]),
        replace(first, parts=others[0].parts[:1] + first.parts[1:]),
        replace(first, parts=tuple(replace(part, n_rows=1) for part in first.parts)),
        replace(first, n_out=0, n_rejected={"missing BP": ROWS + 1}),
    ):
        with pytest.raises(InvalidInputError, match=r"Norder=2/Npix=30 contradicts itself"):
            build_manifest(storage, [wrong, *others])


def test_commit_removes_what_killed_writers_left(storage: Storage):
    manifest = build_manifest(storage, fill(storage))
    left = Path(storage.url) / f"{manifest.parts[0].key}#1"
    left.write_bytes(b"half")
    commit(storage, manifest)
    assert not left.exists()
    assert (Path(storage.url) / manifest.parts[0].key).exists()


def test_commit_publishes_once_and_again_is_a_no_op(storage: Storage):
    with pytest.raises(NotFoundError, match="not an xpscale catalogue"):
        current(storage)
    manifest = build_manifest(storage, fill(storage))
    snapshot = commit(storage, manifest, "DR3")
    objects = storage.list()
    assert (snapshot.number, snapshot.parent, snapshot.message) == (1, 0, "DR3")
    assert commit(storage, manifest, "again") == snapshot == current(storage)
    assert storage.list() == objects
    assert read_manifest(storage, snapshot) == manifest
    assert check(storage).problems == ()


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_commit_refuses_parts_that_changed(storage: Storage, damage: str):
    manifest = build_manifest(storage, fill(storage))
    part = manifest.parts[2]
    data = storage.read(part.key)
    storage.delete(part.key)
    if damage == "truncated":
        storage.replace(part.key, data[:-1])
    with pytest.raises(IncompleteError, match=f"1 of 8 parts(.|\n)*{part.key}"):
        commit(storage, manifest)
    assert snapshots(storage) == ()
    assert not storage.exists(COLLECTION)


def test_a_damaged_manifest_is_not_read(storage: Storage):
    snapshot = commit(storage, build_manifest(storage, fill(storage)))
    storage.replace(
        snapshot.manifest_key,
        storage.read(snapshot.manifest_key).replace(b'"n_rows": 400', b'"n_rows": 401'),
    )
    with pytest.raises(PermanentError, match="damaged"):
        read_manifest(storage, snapshot)


def test_a_manifest_of_another_run_is_refused(storage: Storage, tmp_path):
    manifest = build_manifest(storage, fill(storage))
    elsewhere = Storage(str(tmp_path / "elsewhere"))
    claim(elsewhere, identity(model_id="model-2"))
    with pytest.raises(ConflictError, match="differs in model_id"):
        commit(elsewhere, manifest)


def test_threads_that_commit_the_same_get_one_snapshot(storage: Storage):
    manifest = build_manifest(storage, fill(storage))
    with ThreadPoolExecutor(6) as threads:
        found = set(threads.map(lambda i: commit(storage, manifest, f"thread {i}"), range(6)))
    assert len(found) == 1
    assert snapshots(storage) == tuple(found)
    assert check(storage).ok


def _import_hats() -> None:
    import_module("xpscale.catalog.hats")


def _commit_in_process(url: str, text: str, message: str) -> Snapshot:
    return commit(Storage(url), Manifest.from_json(text), message)


def test_processes_that_commit_the_same_get_one_snapshot(storage: Storage):
    manifest = build_manifest(storage, fill(storage))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(_import_hats)  # takes seconds, and would make one much later
        theirs = pool.apply_async(_commit_in_process, (storage.url, manifest.to_json(), "theirs"))
        found = {commit(storage, manifest, "ours"), theirs.get()}
    assert snapshots(storage) == tuple(found)
    assert check(storage).ok


def other_manifest(manifest: Manifest) -> Manifest:
    """Of the same run and parts, with another account of what was rejected."""
    return replace(
        manifest, n_in=manifest.n_in + 1, n_rejected={**manifest.n_rejected, "no G flux": 1}
    )


def test_of_two_different_manifests_one_is_published(storage: Storage, monkeypatch):
    mine = build_manifest(storage, fill(storage))
    theirs = other_manifest(mine)
    write = hats.write_hats

    def overtaken(storage: Storage, manifest: Manifest, snapshot: Snapshot) -> None:
        monkeypatch.setattr(hats, "write_hats", write)
        commit(storage, theirs, "overtook")  # between our reading of the numbers and our snapshot
        write(storage, manifest, snapshot)

    monkeypatch.setattr(hats, "write_hats", overtaken)
    with pytest.raises(ConflictError, match="another commit published snapshot 1 first"):
        commit(storage, mine, "mine")
    assert [s.message for s in snapshots(storage)] == ["overtook"]
    assert hats.hats_differences(storage, theirs) == ()
    assert check(storage).ok
    assert commit(storage, mine, "mine").number == 2
    assert [(s.number, s.parent) for s in snapshots(storage)] == [(1, 0), (2, 1)]
    assert check(storage).ok


def test_a_commit_killed_between_any_two_objects_is_finished_by_the_next(
    storage: Storage, monkeypatch, small_maps
):
    manifest = build_manifest(storage, fill(storage))

    class Killed(BaseException):
        pass

    left = 0

    def counted(method):
        def write(self: Storage, key: str, data: bytes, *is_ours):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return method(self, key, data, *is_ours)

        return write

    monkeypatch.setattr(Storage, "create", counted(Storage.create))
    monkeypatch.setattr(Storage, "replace", counted(Storage.replace))
    seen: list[bool] = []
    while True:
        left = len(seen)
        for key in storage.list():
            if not key.startswith(
                ("latents/dataset/Norder", "spectra/dataset/Norder", "_xpscale/run")
            ):
                storage.delete(key)
        try:
            commit(storage, manifest, "at last")
        except Killed:
            seen.append(storage.exists(snapshot_key(1)))
            there = set(storage.list())
            if "latents/hats.properties" in there:  # no reader opens a catalogue before it is whole
                assert {
                    f"latents/{name}"
                    for name in ("partition_info.csv", "skymap.fits", "dataset/_metadata")
                } <= there
            assert len(there) >= 24 or COLLECTION not in there
            left = 100
            assert commit(storage, manifest, "at last").number == 1
            if len(seen) in (2, 7, 16):  # the check takes longer than the commit
                assert check(storage).ok
        else:
            break
    # manifest and list of HATS files twice, version; each of 21 HATS files replaces by a create
    assert seen == [False] * (5 + 2 * 21)
    assert check(storage).ok


def test_over_http_the_numbers_are_counted_upwards(storage: Storage):
    manifest = build_manifest(storage, fill(storage))
    commit(storage, manifest)
    newest = commit(storage, other_manifest(manifest), "second")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=storage.url)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        remote = Storage(f"http://127.0.0.1:{server.server_address[1]}")
        assert current(remote) == newest
        assert read_manifest(remote, current(remote)) == other_manifest(manifest)
        server.shutdown()
