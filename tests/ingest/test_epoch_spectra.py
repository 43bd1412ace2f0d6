"""Epoch spectra, several rows a source, are refused in every format; never one row at random."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import xpscale
from tests.support.archive_files import write_archive
from tests.support.datalink_files import source_table_bytes, table_bytes
from tests.support.parquet_files import spectra_table
from xpscale.spectra import SpectraBatch
from xpscale.testing.universe import Universe

UNIVERSE = Universe(6, seed=3)
ROWS = SpectraBatch.concatenate([UNIVERSE.spectra()] * 2)
TRANSITS = np.arange(len(ROWS)) + 10**15


def expect_refused(result, store):
    assert result.code == 2, result
    assert "holds epoch spectra: several rows a source, told apart by transit_id" in result.err
    assert "Give mean spectra" in result.err
    assert not (store / "zarr.json").exists()


@pytest.mark.parametrize("form", ["csv", "ecsv", "fits", "vot", "zip", "hdf5", "parquet"])
def test_tables(form, tmp_path):
    (tmp_path / "s.parquet").write_bytes(source_table_bytes(UNIVERSE.spectra(), "parquet"))
    (tmp_path / f"in.{form}").write_bytes(table_bytes({"transit_id": TRANSITS}, ROWS, form))
    told = "ingest", tmp_path / f"in.{form}", tmp_path / "store", "--workers", 0
    expect_refused(xpscale(*told, "--sources", tmp_path / "s.parquet"), tmp_path / "store")


@pytest.mark.parametrize("command", ["ingest", "plan", "infer"])
def test_parquet_with_positions(command, tmp_path):
    table = spectra_table(ROWS, "list").append_column("transit_id", pa.array(TRANSITS))
    pq.write_table(table, tmp_path / "in.parquet")
    places = [tmp_path / "store"] if command == "ingest" else [tmp_path / "model", tmp_path / "cat"]
    expect_refused(xpscale(command, tmp_path / "in.parquet", *places), places[-1])


def test_the_bulk_archive(tmp_path):
    write_archive(UNIVERSE, str(tmp_path / "archive"), n_files=1, md5=False)
    for path in (tmp_path / "archive/xp_continuous_mean_spectrum").glob("*.csv.gz"):
        text = gzip.decompress(path.read_bytes()).decode().replace("solution_id", "transit_id")
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    told = "ingest", tmp_path / "archive", tmp_path / "store", "--workers", 0
    expect_refused(xpscale(*told), tmp_path / "store")
