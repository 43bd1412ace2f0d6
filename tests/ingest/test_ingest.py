"""Archive to store: every row accounted for, the same store from every executor and after every
interruption.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.archive.test_files import serving
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.ingest.build import build_store
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.runtime.events import RunStarted
from xpscale.sky import healpix_29
from xpscale.spectra import SpectraBatch
from xpscale.storage import Storage
from xpscale.store.check import check_store
from xpscale.store.reader import open_store


def ingest(archive, store, **options):
    return run_ingest(plan_ingest(str(archive), str(store), max_rows=150), **options)


def contents(path):
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(Path(path).rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def reference(spoilt, tmp_path_factory):
    """The store that an undisturbed serial ingest makes."""
    path = tmp_path_factory.mktemp("reference") / "store"
    ingest(spoilt.url, path)
    return path


def test_the_real_archive(real_archive, tmp_path):
    store, is_new = run_ingest(plan_ingest(str(real_archive), str(tmp_path / "store")))
    report = store.report
    assert is_new
    assert (report["n_read"], report["n_written"], report["n_rejected"]) == (
        2_052,
        2_052,
        {},
    )
    assert report["n_movers"] > 0
    assert check_store(store).ok
    before = contents(tmp_path)
    again, is_new = run_ingest(plan_ingest(str(real_archive), str(tmp_path / "store")))
    assert not is_new
    assert again.digest == store.digest
    assert contents(tmp_path) == before


def test_every_defect_is_counted_under_its_reason(spoilt, reference, universe):
    store = open_store(str(reference))
    report = store.report
    assert report["n_read"] == spoilt.n_rows
    assert report["n_rejected"] == {
        "no_gaia_source": 3,
        "no_g_flux": 4,
        "duplicate_source_id": 10,
    }
    assert report["n_written"] == 1_200 - 3 - 4 == store.n_rows
    for file in report["files"]:
        name = file["name"].rsplit("_", 1)[-1].removesuffix(".csv.gz")
        assert (
            file["n_read"]
            == spoilt.rows[name]
            == file["n_written"] + sum(file["n_rejected"].values())
        )
    for key in ("n_read", "n_written", "n_movers"):
        assert report[key] == sum(file[key] for file in report["files"])
    assert check_store(store).ok
    assert not [
        key for key in contents(reference) if "staging" in key or "ledger" in key or "failed" in key
    ]

    written = SpectraBatch.concatenate(store.read(p) for p in store.partitions)
    lost = {i for name in ("missing_source", "missing_flux") for i in spoilt.planted[name]}
    in_part = {
        i for name in ("missing_bp", "not_finite", "not_positive") for i in spoilt.planted[name]
    }
    truth = universe.spectra()
    assert set(written.source_id.tolist()) == set(truth.source_id.tolist()) - lost
    order = {i: row for row, i in enumerate(truth.source_id.tolist())}
    expected = truth.take(np.array([order[i] for i in written.source_id.tolist()]))
    for name in ("ra", "dec", "phot_g_mean_flux", "coefficients", "coefficient_errors"):
        found, true = getattr(written, name), getattr(expected, name)
        is_whole = ~np.isin(written.source_id, list(in_part))
        assert np.array_equal(found[is_whole], true[is_whole])
        if name in ("ra", "dec", "phot_g_mean_flux"):
            assert np.array_equal(found, true)
    no_bp = np.isin(written.source_id, spoilt.planted["missing_bp"])
    assert np.array_equal(written.missing_bands()["missing_bp"], no_bp)


def test_movers_lie_where_their_position_is(reference, universe):
    store, truth = open_store(str(reference)), universe.truth()
    assert truth.is_mover.sum() > 10
    elsewhere = 0
    for partition in store.partitions:
        batch = store.read(partition)
        low, high = partition.pixel.index_range
        index = healpix_29(batch.ra, batch.dec)
        assert np.all((index >= low) & (index < high))
        pixel12 = batch.source_id >> 35
        elsewhere += int((pixel12 != index >> 34).sum())
    assert elsewhere >= truth.is_mover.sum() * 0.8


def test_worker_processes_make_the_same_bytes(spoilt, reference, tmp_path, two_processes):
    ingest(spoilt.url, tmp_path / "store", executor=two_processes)
    assert contents(tmp_path / "store") == contents(reference)


def same_partitions(store, reference):
    """Equal digests: of all objects of all partitions; attributes say other sizes, for the web does
    not tell any.
    """
    assert store.digest == open_store(str(reference)).digest
    assert {**store.report, "files": []} == {**open_store(str(reference)).report, "files": []}
    assert check_store(store).ok


def test_straight_from_the_web_and_no_csv_is_kept(spoilt, reference, tmp_path):
    with serving(spoilt.url) as url:
        store, _ = ingest(url, tmp_path / "store")
    same_partitions(store, reference)
    assert os.listdir(tmp_path) == ["store"]
    assert not list(tmp_path.rglob("*.gz"))


@pytest.mark.s3
def test_from_s3_to_s3(spoilt, reference, tmp_path):
    from tests.support.services import seaweedfs

    with seaweedfs(tmp_path / "weed") as service, service.apply():
        bucket = Storage("s3://xpscale/archive")
        for path in Path(spoilt.url).glob("*/*"):
            bucket.replace(str(path.relative_to(spoilt.url)), path.read_bytes())
        same_partitions(ingest(bucket.url, "s3://xpscale/store")[0], reference)


KILLED = """
import os, signal, sys
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.storage import Storage
n_left = int(sys.argv[3])
def dying(method):
    def call(*args, **kwargs):
        global n_left
        n_left -= 1
        if n_left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*args, **kwargs)
    return call
for name in ("create", "replace", "delete"):
    setattr(Storage, name, dying(getattr(Storage, name)))
run_ingest(plan_ingest(sys.argv[1], sys.argv[2], max_rows=150))
"""


def killed_ingest(archive, store, n_writes):
    command = [sys.executable, "-c", KILLED, str(archive), str(store), str(n_writes)]
    return subprocess.run(command, capture_output=True, check=False).returncode


# 1 claim, 3 a file (rows, index, report), 1 digest, then 13 or 14 a partition, then the seal and
# the clean-up
@pytest.mark.parametrize("n_writes", [0, 5, 27, 173])
def test_killed_between_any_two_writes_and_run_again(n_writes, spoilt, reference, tmp_path):
    store = tmp_path / "store"
    assert killed_ingest(spoilt.url, store, n_writes) == -signal.SIGKILL
    if not (store / "zarr.json").exists():
        with pytest.raises((InvalidInputError, FileNotFoundError)):
            open_store(str(store))
    ingest(spoilt.url, store)
    assert contents(store) == contents(reference)


def test_what_a_killed_process_was_just_writing_does_not_stay(spoilt, reference, tmp_path):
    store = tmp_path / "store"
    assert killed_ingest(spoilt.url, store, 60) == -signal.SIGKILL
    group = next(store.glob("Norder=*/Npix=*"))
    for half in (group / "zarr.json#1", store / "_xpscale/staging/rows#12"):
        half.write_bytes(b"half of it")
    ingest(spoilt.url, store)
    assert contents(store) == contents(reference)


@pytest.fixture
def damaged(spoilt, tmp_path):
    """The archive with its third spectrum file cut short: (folder, file, whole bytes)."""
    path = Path(shutil.copytree(spoilt.url, tmp_path / "archive"))
    file = sorted((path / "xp_continuous_mean_spectrum").glob("*.gz"))[2]
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    return path, file, whole


def test_a_damaged_file_stops_nothing_else_and_can_be_mended(damaged, reference, tmp_path):
    archive, file, whole = damaged
    store, started = tmp_path / "store", []
    listen = lambda event: started.append(event) if isinstance(event, RunStarted) else None  # noqa: E731
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=f"{file.name} is truncated"):
            ingest(archive, store, callbacks=[listen])
        with pytest.raises(InvalidInputError, match="not finished"):
            open_store(str(store))
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InvalidInputError, match=file.name):
        ingest(archive, store, callbacks=[listen])
    file.write_bytes(whole)
    ingest(archive, store, callbacks=[listen])
    assert [event.n_done for event in started] == [0, 5, 5, 5, 0]
    assert contents(store) == contents(reference)


def test_a_wrong_md5_sum_names_both(damaged, tmp_path):
    archive, file, whole = damaged
    file.write_bytes(whole)
    sums = archive / "xp_continuous_mean_spectrum/_MD5SUM.txt"
    digest = hashlib.md5(whole).hexdigest()
    sums.write_text(sums.read_text().replace(digest, "0" * 32))
    with pytest.raises(
        InvalidInputError, match=f"{file.name} has MD5 {digest}, _MD5SUM.txt says 000"
    ):
        ingest(archive, tmp_path / "store")


@pytest.mark.parametrize("table", ["xp_continuous_mean_spectrum", "gaia_source"])
def test_a_sound_file_under_another_files_name_is_refused_without_md5_sums(table, spoilt, tmp_path):
    archive = Path(shutil.copytree(spoilt.url, tmp_path / "archive"))
    for folder in archive.iterdir():
        (folder / "_MD5SUM.txt").unlink()
    first, other = sorted((archive / table).glob("*.gz"))[::3][:2]
    shutil.copy(other, first)
    says = "and none of its name" if table.startswith("xp") else "has none of the"
    with pytest.raises(InvalidInputError, match=f"{first.name} .*{says}"):
        ingest(archive, tmp_path / "store")


def write_sums(archive):
    folder = archive / "xp_continuous_mean_spectrum"
    lines = [
        f"{hashlib.md5(f.read_bytes()).hexdigest()}  {f.name}\n"
        for f in sorted(folder.glob("*.gz"))
    ]
    (folder / "_MD5SUM.txt").write_text("".join(lines))


def other_content(file):
    """The same spectra with one coefficient changed: another version of the file."""
    import gzip

    text = gzip.decompress(file.read_bytes()).decode()
    file.write_bytes(gzip.compress(text.replace(',"[', ',"[1', 1).encode(), mtime=0))


@pytest.mark.parametrize("n_writes", [15, 60])
def test_a_file_replaced_by_another_is_never_taken_from_what_was_staged(n_writes, spoilt, tmp_path):
    archive, store = Path(shutil.copytree(spoilt.url, tmp_path / "archive")), tmp_path / "store"
    killed_ingest(archive, store, n_writes)
    other_content(sorted((archive / "xp_continuous_mean_spectrum").glob("*.gz"))[0])
    write_sums(archive)
    if n_writes == 15:  # while files are staged: the new one is staged anew
        ingest(archive, store)
        ingest(archive, tmp_path / "fresh")
        assert contents(store) == contents(tmp_path / "fresh")
    else:  # partitions of the old one are there already
        with pytest.raises(ConflictError, match="have changed since"):
            ingest(archive, store)


def test_a_finished_store_is_not_that_of_a_changed_archive(spoilt, reference, tmp_path):
    archive = Path(shutil.copytree(spoilt.url, tmp_path / "archive"))
    store = shutil.copytree(reference, tmp_path / "store")
    assert not ingest(archive, store)[1]
    other_content(sorted((archive / "xp_continuous_mean_spectrum").glob("*.gz"))[0])
    write_sums(archive)
    with pytest.raises(ConflictError, match="have changed"):
        ingest(archive, store)
    assert contents(store) == contents(reference)


def test_places_that_hold_something_else_are_left_alone(spoilt, reference, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/a.txt").write_text("dear reader")
    with pytest.raises(ConflictError, match=r"already holds something else: a\.txt"):
        ingest(spoilt.url, tmp_path / "letters")
    assert list(contents(tmp_path / "letters")) == ["a.txt"]
    with pytest.raises(ConflictError, match="max_rows: there 150, now 151"):
        run_ingest(plan_ingest(spoilt.url, str(reference), max_rows=151))


def test_an_archive_without_a_usable_spectrum_says_why(universe, tmp_path):
    from tests.support.archive_files import Defects, write_archive
    from xpscale.testing.universe import Universe

    write_archive(
        Universe(20, seed=1), str(tmp_path / "a"), n_files=1, defects=Defects(missing_flux=20)
    )
    with pytest.raises(InvalidInputError, match="20 no_g_flux"):
        ingest(tmp_path / "a", tmp_path / "store")


def test_a_store_of_batches_at_hand(universe, tmp_path):
    rows = universe.spectra()
    pieces = [("a", rows.take(slice(0, 700))), ("b", rows.take(slice(600, None)))]
    made = [
        build_store(
            iter(pieces),
            str(tmp_path / "s"),
            attributes={"release": "x", "origin": "y"},
            max_rows=300,
        )
        for _ in range(2)
    ]
    assert made[0].digest == made[1].digest
    assert made[0].report["n_rejected"] == {"duplicate_source_id": 100}
    assert made[0].report["files"][1]["n_written"] == 500
    assert check_store(made[0]).ok


def test_the_plan_says_what_it_will_do_and_touches_nothing(spoilt, tmp_path):
    plan = plan_ingest(spoilt.url, str(tmp_path / "store"))
    assert "6 file pairs" in str(plan)
    assert not (tmp_path / "store").exists()
    assert json.loads(json.dumps(plan.n_rows_estimated)) >= 0
    assert Storage(str(tmp_path)).is_empty()
    assert os.listdir(tmp_path) == []
