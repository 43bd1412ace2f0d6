"""Many small files, or a zip of many members, as DataLink gives one a source: one task reads a
group of them, and each is still told apart.
"""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.commands import xpscale
from tests.support.datalink_files import source_table_bytes, spectra_bytes
from xpscale.archive import members
from xpscale.bands import Bands
from xpscale.errors import ConflictError
from xpscale.ingest.plan import MAX_GROUP, MIN_TASKS, plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe

N = 200
ROWS = Universe(N, seed=31).spectra()


def write(place, *, name="XP_CONTINUOUS_{}.csv", rows=ROWS):
    """A file for each row, the table of their sources, and a zip of the files."""
    (place / "in").mkdir()
    for n in range(len(rows)):
        path = place / "in" / name.format(f"{n:03d}")
        path.write_bytes(spectra_bytes(rows.take(np.array([n])), "csv"))
    (place / "s.parquet").write_bytes(source_table_bytes(ROWS, "parquet"))
    return place / "in"


def plan(place, source, store="store", **more):
    return plan_ingest(str(source), str(place / store), sources=str(place / "s.parquet"), **more)


def ingest(place, source, *more):
    told = "--sources", place / "s.parquet", "--workers", 0
    return xpscale("ingest", source, place / "store", *told, *more)


def test_a_group_is_a_task_and_the_store_the_same(tmp_path, monkeypatch):
    folder = write(tmp_path)
    shutil.make_archive(str(tmp_path / "reply"), "zip", folder)
    (tmp_path / "one").mkdir()
    (tmp_path / "one/all.csv").write_bytes(spectra_bytes(ROWS, "csv"))
    opened = []

    real = members._zip_file
    monkeypatch.setattr(members, "_zip_file", lambda *a: opened.append(a) or real(*a))
    made = {}
    for name, source in {"files": "in", "zip": "reply.zip", "one": "one"}.items():
        planned = plan(tmp_path, tmp_path / source, f"store-{name}")
        assert planned.n_tasks == (1 if name == "one" else -(-N // (N // MIN_TASKS)))
        made[name], _ = run_ingest(planned)
        assert made[name].report["n_written"] == N
    one = made.pop("one")
    for store in made.values():
        for mine_at, its_at in zip(store.partitions, one.partitions, strict=True):
            mine, its = store.read(mine_at), one.read(its_at)
            for column in ("source_id", "ra", "coefficients", "coefficient_errors"):
                np.testing.assert_array_equal(getattr(mine, column), getattr(its, column))
    assert len(opened) < 10  # not one a member


def test_the_columns_of_members_are_read_with_one_list_of_them(tmp_path, monkeypatch):
    folder = write(tmp_path, name="star_{}.csv")  # whose names do not say what they hold
    shutil.make_archive(str(tmp_path / "reply"), "zip", folder)
    opened = []
    real = members._zip_file
    monkeypatch.setattr(members, "_zip_file", lambda *a: opened.append(a) or real(*a))
    assert plan(tmp_path, tmp_path / "reply.zip").n_rows_estimated >= N
    assert len(opened) < 10


def test_few_files_and_large_ones_are_tasks_of_their_own(tmp_path):
    folder = write(tmp_path)
    planned = plan(tmp_path, folder)
    few = replace(planned.contents, fragments=planned.contents.fragments[: 2 * MIN_TASKS - 1])
    assert replace(planned, contents=few).fragments == few.fragments
    large = [replace(each, n_rows=10**5) for each in planned.contents.fragments]
    assert replace(planned, contents=replace(few, fragments=tuple(large))).n_tasks == N
    many = tuple(planned.contents.fragments * 100)
    groups = replace(planned, contents=replace(few, fragments=many)).fragments
    assert max(len(group.parts) for group in groups) == MAX_GROUP
    assert [part for group in groups for part in group.parts] == list(many)


@pytest.mark.parametrize("is_zip", [False, True])
def test_a_damaged_file_of_a_group_is_set_aside_alone(is_zip, tmp_path):
    folder = write(tmp_path)
    bad = ["003", "004", "005", "199"]  # three of them a whole group
    for n in bad:
        path = folder / f"XP_CONTINUOUS_{n}.csv"
        path.write_bytes(path.read_bytes()[:900])
    source = folder
    if is_zip:
        source = shutil.make_archive(str(tmp_path / "reply"), "zip", folder)
    refused = ingest(tmp_path, source)
    assert refused.code == 2
    assert "XP_CONTINUOUS_003" in refused.err
    assert "--skip-damaged" in refused.err
    found = ingest(tmp_path, source, "--skip-damaged")
    assert found.code == 20
    store = open_store(str(tmp_path / "store"))
    aside = store.report["quarantined"]
    assert [file["name"][-7:-4] for file in sorted(aside, key=lambda file: file["name"])] == bad
    assert all(file["name"] in file["reason"] for file in aside)
    assert store.n_rows == N - len(bad)
    assert store.attributes["n_quarantined"] == len(bad)


def test_what_was_skipped_once_is_not_left_out_unasked(tmp_path, monkeypatch):
    folder = write(tmp_path)
    path = folder / "XP_CONTINUOUS_007.csv"
    path.write_bytes(path.read_bytes()[:900])
    with monkeypatch.context() as patch:
        patch.setattr("xpscale.ingest.run.finish_store", stop)
        with pytest.raises(KeyboardInterrupt):
            run_ingest(plan(tmp_path, folder, skip_damaged=True))
    refused = ingest(tmp_path, folder)
    assert refused.code == 2
    assert "XP_CONTINUOUS_007" in refused.err


def stop(*_, **__):
    raise KeyboardInterrupt


def test_the_report_names_the_file_of_a_rejected_row(tmp_path):
    folder = write(tmp_path)
    known = ROWS.take(np.setdiff1d(np.arange(N), [10, 11, 150]))
    (tmp_path / "s.parquet").write_bytes(source_table_bytes(known, "parquet"))
    shutil.copy(folder / "XP_CONTINUOUS_020.csv", folder / "XP_CONTINUOUS_020b.csv")
    assert ingest(tmp_path, folder).code == 0
    report = open_store(str(tmp_path / "store")).report
    assert report["n_rejected"] == {"no_gaia_source": 3, "duplicate_source_id": 1}
    named = {}
    for file in report["files"]:
        named |= file.get("rejected_in", {})
    assert {name[-7:-4]: sum(n.values()) for name, n in named.items()} == {
        "010": 1,
        "011": 1,
        "150": 1,
    }


def test_a_band_that_one_file_of_a_group_lacks(tmp_path):
    values, errors = ROWS.coefficients.copy(), ROWS.coefficient_errors.copy()
    for row, band in {9: ROWS.bands.bp, 100: ROWS.bands.rp}.items():
        values[row, band], errors[row, band] = np.nan, np.nan
    folder = write(tmp_path, rows=replace(ROWS, coefficients=values, coefficient_errors=errors))
    store, _ = run_ingest(plan(tmp_path, folder))
    assert (store.n_rows, store.bands) == (N, ROWS.bands)
    read = [store.read(partition) for partition in store.partitions]
    missing = {
        int(source): name
        for batch in read
        for name, lacks in batch.missing_bands().items()
        for source in batch.source_id[lacks]
    }
    assert sorted(missing) == sorted(int(ROWS.source_id[n]) for n in (9, 100))


def test_files_of_other_widths_in_a_group_are_refused_by_name(tmp_path):
    folder = write(tmp_path)
    wide = Universe(N, seed=31, bands=Bands(51, 55)).spectra()
    path = folder / "XP_CONTINUOUS_120.csv"
    path.write_bytes(spectra_bytes(wide.take(np.array([120])), "csv"))
    for skip in ((), ("--skip-damaged",)):  # which leaves out no sound file
        refused = ingest(tmp_path, folder, *skip)
        assert refused.code == ConflictError.exit_code
        assert "XP_CONTINUOUS_120.csv has 51 BP + 55 RP" in refused.err
        assert "XP_CONTINUOUS_121.csv has 55 BP + 55 RP" in refused.err
