"""Other tables of a DataLink reply are left aside and named; one of sources is taken as that."""

import shutil

import numpy as np
import pytest

from tests.commands import xpscale
from tests.support.datalink_files import source_table_bytes, spectra_bytes
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe

ROWS = Universe(60, seed=8).spectra()
OTHERS = {
    "sampled.csv": "source_id,wavelength,flux,flux_error\n1,336,1,1\n",
    "lightcurves.csv": "source_id,band,time,mag\n1,G,2.0,12.0\n",
    "a/rvs_spectrum.ecsv": "# %ECSV 1.0\nsource_id wavelength flux\n1 847 1\n",
}


@pytest.fixture
def folder(tmp_path):
    """Spectra, one file of a usual name and one of any, and a table of sources elsewhere."""
    (tmp_path / "in/a").mkdir(parents=True)
    for name, rows in {"XP_CONTINUOUS.csv": range(30), "mine.csv": range(30, 60)}.items():
        (tmp_path / "in" / name).write_bytes(spectra_bytes(ROWS.take(np.array(rows)), "csv"))
    return tmp_path / "in"


def ingest(source, *more):
    return xpscale("ingest", source, source.parent / "store", "--workers", 0, *more)


@pytest.mark.parametrize("is_zip", [False, True])
def test_other_products_are_left_aside_and_named(is_zip, folder, tmp_path):
    (tmp_path / "s.fits").write_bytes(source_table_bytes(ROWS, "fits"))
    for name, text in OTHERS.items():
        (folder / name).write_text(text)
    if is_zip:
        shutil.make_archive(str(tmp_path / "reply"), "zip", folder)
        folder = tmp_path / "reply.zip"
    found = ingest(folder, "--sources", tmp_path / "s.fits")
    assert found.code == 0, found.err
    for name in OTHERS:
        assert name in found.err.split("left aside: ")[1].splitlines()[0]
    assert open_store(str(tmp_path / "store")).n_rows == 60


@pytest.mark.parametrize("form", ["csv", "fits", "ecsv", "parquet"])
def test_the_table_of_sources_lies_beside_the_spectra(form, folder, tmp_path):
    (folder / f"mine-too.{form}").write_bytes(source_table_bytes(ROWS, form))
    found = ingest(folder)
    assert found.code == 0, found.err
    assert f"positions from {folder}/mine-too.{form}" in found.err
    assert open_store(str(tmp_path / "store")).n_rows == 60


def test_spectra_and_sources_in_parquet(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.parquet").write_bytes(spectra_bytes(ROWS, "parquet"))
    (tmp_path / "in/b.parquet").write_bytes(source_table_bytes(ROWS, "parquet"))
    found = ingest(tmp_path / "in")
    assert found.code == 0, found.err
    assert open_store(str(tmp_path / "store")).n_rows == 60


def test_two_tables_of_sources_are_refused(folder):
    for name in ("one.csv", "two.csv"):
        (folder / name).write_bytes(source_table_bytes(ROWS, "csv"))
    refused = ingest(folder)
    assert refused.code == 2
    assert "holds 2 tables of sources, one.csv and two.csv" in refused.err


def test_coefficients_that_cannot_be_read_are_refused(folder, tmp_path):
    (tmp_path / "s.csv").write_bytes(source_table_bytes(ROWS, "csv"))
    data = spectra_bytes(ROWS.take(np.arange(9)), "csv")
    (folder / "odd.csv").write_bytes(data.replace(b"rp_coefficients", b"rp_coef_x"))
    refused = ingest(folder, "--sources", tmp_path / "s.csv")
    assert refused.code == 2
    assert "odd.csv" in refused.err
