"""``--correlations``: kept as they stand in the archive, row by row; never read or written without
being asked for.
"""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.commands import done, xpscale
from tests.support.archive_files import write_archive
from tests.support.datalink_files import source_table_bytes, table_bytes
from tests.support.parquet_files import write_parquet_files
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.store.check import check_store
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe

BANDS = ("bp", "rp")


def archive_rows(folder):
    """``(line number, fields)`` of every row of every spectrum file, read the slow and plain
    way.
    """
    import csv

    for path in sorted((Path(folder) / "xp_continuous_mean_spectrum").glob("*.csv.gz")):
        text = gzip.decompress(path.read_bytes()).decode()
        yield (
            path,
            list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))),
        )


def array(text):
    return np.array(
        [np.nan if v.lower() in ("nan", "null") else v for v in text.strip("[]").split(",")],
        np.float64,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An archive of 160 sources whose first file lacks some correlations, and its store."""
    folder = tmp_path_factory.mktemp("correlations")
    write_archive(
        Universe(160, seed=2), str(folder / "archive"), n_files=2, correlations=True, md5=False
    )
    path, rows = next(archive_rows(folder / "archive"))
    text = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    first = next(i for i, line in enumerate(text) if not line.startswith("#")) + 1
    for row, band, new in [(3, "bp", None), (4, "rp", "NaN"), (5, "rp", "inf")]:
        old = rows[row][f"{band}_coefficient_correlations"]
        value = "null" if new is None else f'"[{new},{old.strip("[]").split(",", 1)[1]}]"'
        # equal texts repeat over rows: replace in this row, and in its own band only
        head, tail = text[first + row].split(f'"{old}"', 1)
        text[first + row] = head + value + tail
    path.write_bytes(gzip.compress("".join(text).encode(), mtime=0))
    spoilt = {int(rows[row]["source_id"]) for row in (3, 4, 5)}
    command = ("ingest", folder / "archive", folder / "store", "--max-rows", 60, "--workers", 0)
    done(*command, "--correlations")
    return folder / "archive", open_store(str(folder / "store")), spoilt


def test_every_value_is_where_it_belongs(made):
    archive, store, spoilt = made
    expected = {
        int(row["source_id"]): tuple(
            array(row[f"{band}_coefficient_correlations"]) for band in BANDS
        )
        for _, rows in archive_rows(archive)
        for row in rows
    }
    seen = set()
    assert len(store.partitions) > 3
    for partition in store.partitions:
        bp, rp = store.read_correlations(partition)
        assert bp.dtype == rp.dtype == np.float32
        for source_id, *found in zip(store.read(partition).source_id.tolist(), bp, rp, strict=True):
            seen.add(source_id)
            for values, wanted in zip(found, expected[source_id], strict=True):
                assert values.shape == (1485,)
                np.testing.assert_array_equal(values, wanted.astype(np.float32))
    assert seen == set(expected) - spoilt
    assert store.report["n_rejected"] == {"bad_correlations": 3}


def test_the_rest_of_the_store_does_not_change(made, tmp_path):
    archive, store, _ = made
    plain, _ = run_ingest(plan_ingest(str(archive), str(tmp_path / "plain"), max_rows=60))
    assert plain.n_rows == store.n_rows + 3
    assert not [key for key in plain.storage.list() if "correlations" in key]
    with pytest.raises(InvalidInputError, match="made without correlations"):
        plain.read_correlations(plain.partitions[0])
    for partition in store.partitions:
        rows, same = store.read(partition), plain.find(store.read(partition).source_id)
        order = np.argsort(rows.source_id), np.argsort(same.source_id)
        assert np.array_equal(rows.coefficients[order[0]], same.coefficients[order[1]])
    with pytest.raises(ConflictError, match="correlations"):
        run_ingest(
            plan_ingest(str(archive), str(tmp_path / "plain"), max_rows=60, correlations=True)
        )


def test_check_covers_them(made, tmp_path):
    store = open_store(shutil.copytree(made[1].url, tmp_path / "store").as_posix())
    assert check_store(store).ok
    key = next(key for key in store.storage.list() if "/rp_correlations/c/" in key)
    data = bytearray(store.storage.read(key))
    data[len(data) // 2] ^= 1
    store.storage.replace(key, bytes(data))
    assert any(key in problem and "sha256" in problem for problem in check_store(store).problems)


def test_worker_processes_make_the_same_bytes(made, tmp_path, two_processes):
    plan = plan_ingest(str(made[0]), str(tmp_path / "again"), max_rows=60, correlations=True)
    assert run_ingest(plan, executor=two_processes)[0].digest == made[1].digest


def test_where_there_are_none_the_message_says_so(tmp_path):
    write_archive(Universe(40, seed=2), str(tmp_path / "archive"), n_files=1)
    result = xpscale(
        "ingest", tmp_path / "archive", tmp_path / "store", "--correlations", "--workers", 0
    )
    assert result.code == InvalidInputError.exit_code
    assert "40 bad_correlations" in result.err


def test_a_wrong_number_of_them_is_a_damaged_file(made, tmp_path):
    archive = Path(shutil.copytree(made[0], tmp_path / "archive"))
    path, rows = list(archive_rows(archive))[1]
    text = gzip.decompress(path.read_bytes()).decode()
    old = rows[0]["rp_coefficient_correlations"]
    path.write_bytes(
        gzip.compress(text.replace(old, f"[0.5,{old.strip('[]')}]", 1).encode(), mtime=0)
    )
    with pytest.raises(
        InvalidInputError, match=r"row 1 has 1486 (bp|rp)_coefficient_correlations, not 1485"
    ):
        run_ingest(plan_ingest(str(archive), str(tmp_path / "store"), correlations=True))
    assert run_ingest(plan_ingest(str(archive), str(tmp_path / "plain")))[1]


ROWS = Universe(6, seed=3).spectra()


def numbers(width=1485):
    """Correlations by column of the archive, of which one row lacks some."""
    both = np.random.default_rng(2).uniform(-1, 1, (2, len(ROWS), width)).astype(np.float32)
    both[1, 2, 7] = np.nan
    return {f"{band}_coefficient_correlations": of for band, of in zip(BANDS, both, strict=True)}


def ingest_tables(folder, form, more, *options):
    (folder / "s.parquet").write_bytes(source_table_bytes(ROWS, "parquet"))
    (folder / f"in.{form}").write_bytes(table_bytes(more, ROWS, form))
    told = "ingest", folder / f"in.{form}", folder / "store", "--workers", 0
    return xpscale(*told, "--sources", folder / "s.parquet", *options)


@pytest.mark.parametrize("form", ["csv", "ecsv", "fits", "vot", "zip", "hdf5", "parquet"])
def test_tables_as_datalink_has_them_keep_theirs(form, tmp_path):
    known = numbers()
    result = ingest_tables(tmp_path, form, known, "--correlations")
    assert result.code == 0, result.err
    store = open_store(str(tmp_path / "store"))
    assert store.report["n_rejected"] == {"bad_correlations": 1}
    row_of = {source_id: row for row, source_id in enumerate(ROWS.source_id.tolist())}
    for partition in store.partitions:
        rows = [row_of[source_id] for source_id in store.read(partition).source_id.tolist()]
        for found, wanted in zip(store.read_correlations(partition), known.values(), strict=True):
            np.testing.assert_array_equal(found, wanted[rows])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "has no bp_coefficient_correlations and rp_coefficient_correlations"),
        (numbers(width=1484), "has 1,484 bp_coefficient_correlations a row, not 1,485"),
    ],
)
def test_tables_without_them_or_with_others_are_refused(more, told, tmp_path):
    result = ingest_tables(tmp_path, "fits", more, "--correlations")
    assert result.code == 2
    assert told in result.err
    assert not (tmp_path / "store/zarr.json").exists()


def test_parquet_with_positions_says_what_to_do(tmp_path):
    write_parquet_files(ROWS, str(tmp_path / "in"))
    result = xpscale("ingest", tmp_path / "in", tmp_path / "store", "--correlations")
    assert result.code == 2
    assert "--sources" in result.err
