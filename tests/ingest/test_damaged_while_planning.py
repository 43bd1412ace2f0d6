"""``--skip-damaged`` sets aside what is found damaged while planning, in every format.

Case F15.
"""

import io
import zipfile

import numpy as np
import pytest

from tests.commands import xpscale
from tests.support.datalink_files import source_table_bytes, spectra_bytes
from tests.support.parquet_files import write_parquet_files
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe

ROWS = Universe(120, seed=12).spectra()
CUTS = {"cut": lambda data: data[: len(data) // 2], "empty": lambda data: b""}


def ingest(folder, store, *more):
    return xpscale("ingest", folder, store, "--workers", 0, *more)


def expect_two_of_three(found, store, name):
    assert found.code == 20, found.err
    made = open_store(str(store))
    assert made.n_rows == 80
    assert [name in file["name"] for file in made.report["quarantined"]] == [True]
    assert name in found.err


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("form", ["csv", "fits", "vot", "zip", "hdf5"])
def test_tables(form, which, cut, tmp_path):
    (tmp_path / "s.parquet").write_bytes(source_table_bytes(ROWS, "parquet"))
    (tmp_path / "in").mkdir()
    for n, rows in enumerate(np.array_split(np.arange(120), 3)):
        data = spectra_bytes(ROWS.take(rows), form)
        path = tmp_path / f"in/XP_CONTINUOUS_{n}.{form}"
        path.write_bytes(CUTS[cut](data) if n == which else data)
    told = tmp_path / "in", tmp_path / "store", "--sources", tmp_path / "s.parquet"
    refused = ingest(*told)
    assert refused.code == 2
    assert f"XP_CONTINUOUS_{which}" in refused.err
    expect_two_of_three(
        ingest(*told, "--skip-damaged"), tmp_path / "store", f"XP_CONTINUOUS_{which}"
    )


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("which", [0, 1])
def test_parquet(which, cut, tmp_path):
    write_parquet_files(ROWS, str(tmp_path / "in"), n_files=3)
    path = tmp_path / f"in/part-00{which}.parquet"
    path.write_bytes(CUTS[cut](path.read_bytes()))
    assert ingest(tmp_path / "in", tmp_path / "store").code == 2
    found = ingest(tmp_path / "in", tmp_path / "store", "--skip-damaged")
    expect_two_of_three(found, tmp_path / "store", path.name)


def test_nothing_sound_is_an_error(tmp_path):
    write_parquet_files(ROWS, str(tmp_path / "in"))
    path = tmp_path / "in/part-000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    refused = ingest(tmp_path / "in", tmp_path / "store", "--skip-damaged")
    assert refused.code == 2
    assert "part-000.parquet" in refused.err


def test_foreign_members_of_a_zip_are_passed_over(tmp_path):
    (tmp_path / "s.parquet").write_bytes(source_table_bytes(ROWS, "parquet"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("XP_CONTINUOUS_0.csv", spectra_bytes(ROWS, "csv"))
        for name in ("__MACOSX/._XP_CONTINUOUS_0.csv", ".DS_Store", "._a.csv", "README.txt"):
            archive.writestr(name, b"\0\5\26\7")
    (tmp_path / "x.zip").write_bytes(buffer.getvalue())
    found = ingest(tmp_path / "x.zip", tmp_path / "store", "--sources", tmp_path / "s.parquet")
    assert found.code == 0, found.err
    assert open_store(str(tmp_path / "store")).n_rows == 120
