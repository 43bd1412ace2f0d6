"""DataLink products: every format of a source tells the same; damaged ones are refused by name."""

import gzip
import json
import zipfile

import h5py
import numpy as np
import pytest
from astropy.table import Table

from tests.conftest import data_path
from tests.support.datalink_files import source_table_bytes, spectra_bytes
from xpscale.archive.datalink import read_spectra
from xpscale.archive.members import member_names
from xpscale.archive.source_table import SourceTable, read_source_table
from xpscale.archive.tables import explained, open_tables
from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.storage import Storage
from xpscale.testing.universe import Universe

FORMATS = ("csv", "ecsv", "fits", "vot", "zip", "hdf5", "parquet")
ROWS = Universe(12, seed=2).spectra()
NOTHING = {name: np.empty(0) for name in ("ra", "dec", "phot_g_mean_flux")}
NOWHERE = SourceTable(((np.empty(0, np.int64), NOTHING),)).match
SINGLE = "XP_CONTINUOUS-Gaia DR3 5937083312263887616"


@pytest.fixture(scope="module")
def datalink():
    return data_path("datalink")


def put(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return Storage(str(tmp_path)), name


def equal(found, expected):
    return all(
        np.array_equal(getattr(found.batch, name), getattr(expected.batch, name), equal_nan=True)
        for name in ("source_id", "coefficients", "coefficient_errors")
    )


def test_the_same_source_is_equal_in_every_format_of_the_archive(datalink):
    storage = Storage(str(datalink))
    one = [
        read_spectra(storage, f"{SINGLE}.{ending}", "", NOWHERE)
        for ending in ("csv", "ecsv", "fits", "xml")
    ]
    bulk = "gaia_dr3_source_id_5937083312263887616_dl_products_csv.zip"
    assert member_names(storage, bulk)[0] == [f"{SINGLE}.csv"]
    one.append(read_spectra(storage, bulk, f"{SINGLE}.csv", NOWHERE))
    assert all(equal(found, one[0]) for found in one)
    batch = one[0].batch
    assert (batch.source_id.tolist(), batch.coefficients.shape, batch.bands) == (
        [5937083312263887616],
        (1, 110),
        Bands(55, 55),
    )
    assert batch.coefficients[0, 0] == np.float32(3325.743093963916)
    assert not one[0].found.any()
    assert np.isnan(batch.ra).all()


@pytest.mark.parametrize(
    ("name", "n_rows"), [("XP_CONTINUOUS_RAW", 2), ("XP_CONTINUOUS_RAW_with_missing_BP", 3)]
)
def test_sources_without_bp_are_told_in_every_format(datalink, name, n_rows):
    storage = Storage(str(datalink / "gaiaxpy"))
    endings = (".csv", ".ecsv", ".fits", ".xml", "_plain.xml")
    found = [read_spectra(storage, name + ending, "", NOWHERE) for ending in endings]
    assert all(equal(spectra, found[0]) for spectra in found)
    for spectra in found:
        missing = spectra.batch.source_id == 5405570973190252288
        assert (len(missing), missing.sum()) == (n_rows, n_rows - 2)
        assert np.array_equal(spectra.batch.missing_bands()["missing_bp"], missing)
        assert spectra.found.sum() == 0
        assert np.isfinite(spectra.batch.coefficients[:, 55:]).all()
        assert np.isnan(spectra.batch.coefficients[missing, :55]).all()


@pytest.mark.parametrize("form", FORMATS)
def test_made_files_come_back_bit_for_bit(tmp_path, form):
    rows = ROWS.take(slice(None))
    rows.coefficients[3, :55] = rows.coefficient_errors[3, :55] = np.nan
    rows.coefficients[5, 55:] = rows.coefficient_errors[5, 55:] = np.nan
    storage, name = put(tmp_path, f"file.{form}", spectra_bytes(rows, form))
    (member,) = member_names(storage, name)[0] if form == "zip" else [""]
    (tmp_path / "sources").write_bytes(source_table_bytes(rows.take(slice(1, None)), "csv"))
    found = read_spectra(storage, name, member, read_source_table(str(tmp_path / "sources")).match)
    np.testing.assert_array_equal(found.batch.source_id, rows.source_id)
    np.testing.assert_array_equal(found.batch.coefficients, rows.coefficients)
    np.testing.assert_array_equal(found.batch.coefficient_errors, rows.coefficient_errors)
    np.testing.assert_array_equal(found.batch.ra[1:], rows.ra[1:])
    faults = (*found.batch.missing_bands().values(), ~found.found)
    assert [mask.nonzero()[0].tolist() for mask in faults] == [[3], [5], [0]]


@pytest.mark.parametrize("form", ["csv", "ecsv", "fits", "vot", "hdf5", "parquet"])
def test_sources_of_every_format(tmp_path, form):
    storage, name = put(tmp_path, f"sources.{form}", source_table_bytes(ROWS, form))
    table = read_source_table(f"{storage.url}/{name}")
    matched = table.match(np.append(ROWS.source_id[::-1], 7))
    assert matched.found.tolist() == [True] * len(ROWS) + [False]
    for column in ("ra", "dec", "phot_g_mean_flux"):
        np.testing.assert_array_equal(matched.values[column][:-1], getattr(ROWS, column)[::-1])


def test_a_gzipped_file_and_a_table_with_positions_of_its_own(tmp_path):
    import pyarrow.csv

    from tests.support.parquet_files import spectra_table

    pyarrow.csv.write_csv(spectra_table(ROWS, "scalars"), tmp_path / "t.csv")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    found = read_spectra(Storage(str(tmp_path)), "t.csv.gz")
    np.testing.assert_array_equal(found.batch.coefficients, ROWS.coefficients)
    np.testing.assert_array_equal(found.batch.phot_g_mean_flux, ROWS.phot_g_mean_flux)
    assert found.found.all()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.6, 0.97])
def test_a_file_cut_off_anywhere_is_refused_by_name(tmp_path, form, share):
    data = spectra_bytes(ROWS, form)
    storage, name = put(tmp_path, f"file.{form}", data[: int(share * len(data))])

    def read():
        for member in member_names(storage, name)[0] if form in ("zip", "hdf5") else [""]:
            read_spectra(storage, name, member, NOWHERE)

    with pytest.raises(InvalidInputError, match=rf"file\.{form}"):
        read()


def test_what_is_not_as_it_should_be_is_refused(tmp_path):
    def refused(text, match, name="f.csv"):
        storage, key = put(tmp_path, name, text.encode())
        with pytest.raises(InvalidInputError, match=match):
            read_spectra(storage, key, "", NOWHERE)

    head = "source_id,bp_coefficients,rp_coefficients,bp_coefficient_errors,rp_coefficient_errors\n"
    row = '1,"(1,2)","(3,4)","(1,1)","(1,1)"\n'
    refused(head + row + '2,"(1)","(3,4)","(1,1)","(1,1)"\n', "row 2 has 1 values, others have 2")
    refused(
        head + row + '2,"(1,x)","(3,4)","(1,1)","(1,1)"\n', r"bp_coefficients: row 2 has '\(1,x\)'"
    )
    refused(
        head + '1.0,"(1,2)","(3,4)","(1,1)","(1,1)"\n',
        "source_id: row 1: '1.0' is no Gaia source_id",
    )
    refused(head + '1,"(1,2)","(3,4)","(1,1,1)","(1,1)"\n', "2 bp_coefficients a row, and 3 errors")
    refused("source_id,flux\n1,2\n", "no XP coefficients; its columns are source_id, flux")
    refused("source_id,bp_coefficients,rp_coefficients\n", "no coefficient errors")
    refused("<html>Service not available</html>", "f.csv")
    refused("", "f.csv is no table")
    put(tmp_path, "floats.parquet", spectra_bytes(ROWS, "parquet"))
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "floats.parquet")
    pq.write_table(
        table.set_column(0, "source_id", table["source_id"].cast(pa.float64(), safe=False)),
        tmp_path / "f.pq",
    )
    with pytest.raises(InvalidInputError, match="source_id: double cannot hold"):
        read_spectra(Storage(str(tmp_path)), "f.pq", "", NOWHERE)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("XP_SAMPLED-Gaia DR3 1.csv", json.dumps(1))
    with pytest.raises(InvalidInputError, match="only XP_SAMPLED"):
        member_names(Storage(str(tmp_path)), "other.zip")


@pytest.mark.parametrize("form", ["hdf5", "fits"])
def test_complex_numbers_are_no_coefficients(form, tmp_path):
    values = np.ones((2, 55), np.complex64)
    columns = {"source_id": np.arange(1, 3), "bp_coefficients": values, "rp_coefficients": values}
    if form == "fits":
        Table(columns).write(tmp_path / "x.fits")
    else:
        with h5py.File(tmp_path / "x.hdf5", "w") as file:
            file.update(columns)
    with (tmp_path / f"x.{form}").open("rb") as stream:
        tables = open_tables(stream, "x")  # which closes the file when it goes
        table = next(tables)
        with pytest.raises(InvalidInputError, match="complex"), explained("x"):
            table.vectors("bp_coefficients")
        with pytest.raises(InvalidInputError, match="complex"):
            table.floats("bp_coefficients")
