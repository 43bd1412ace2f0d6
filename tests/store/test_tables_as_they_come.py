"""Columns, files and catalogues as other programs leave them: read alike, or refused by name."""

import os
from decimal import Decimal

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from tests.commands import done, xpscale
from tests.support.parquet_files import spectra_table
from xpscale.archive.datalink import read_spectra
from xpscale.errors import InvalidInputError
from xpscale.spectra import SpectraBatch
from xpscale.storage import Storage
from xpscale.store.open import open_parquet
from xpscale.store.parquet_files import is_parquet
from xpscale.testing.universe import Universe

ROWS = Universe(24, seed=9).spectra()
TABLE = spectra_table(ROWS, "list")
BP = [np.asarray(row, np.float64).tolist() for row in TABLE["bp_coefficients"].to_pylist()]
FIXED = pa.array(BP, pa.list_(pa.float32(), 55))
LISTS = {
    "view": pa.array(BP, pa.list_view(pa.float64())),
    "tensor": pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), (55,)), FIXED),
    "text view": pa.array([str(row) for row in BP], pa.string_view()),
    "decimal": pa.array(
        [[Decimal(f"{x:.12f}") for x in row] for row in BP], pa.list_(pa.decimal128(30, 12))
    ),
}


def changed(**columns):
    table = TABLE
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    return table


def written(table, path):
    path.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(table, path)
    return path


def rows_of(path):
    reader = open_parquet(str(path))
    return SpectraBatch.concatenate(reader.read_block(block) for block in reader.blocks())


@pytest.mark.parametrize("kind", LISTS)
def test_whatever_stands_for_a_list_of_numbers_is_read(kind, tmp_path):
    found = rows_of(written(changed(bp_coefficients=LISTS[kind]), tmp_path / "x.parquet"))
    np.testing.assert_allclose(found.coefficients, ROWS.coefficients, rtol=1e-6)


@pytest.mark.parametrize("name", ["ra", "phot_g_mean_flux"])
def test_numbers_in_text_are_read_and_others_named(name, tmp_path):
    texts = ["", "--", *map(str, TABLE[name].to_pylist()[2:])]
    found = rows_of(written(changed(**{name: pa.array(texts)}), tmp_path / "x.parquet"))
    assert np.isnan(getattr(found, name)[:2]).all()
    np.testing.assert_array_equal(getattr(found, name)[2:], getattr(ROWS, name)[2:])
    path = written(changed(**{name: pa.array(["12h", *texts[1:]])}), tmp_path / "y.parquet")
    with pytest.raises(InvalidInputError, match=rf"y.parquet.* column {name}: row 1 has '12h'"):
        rows_of(path)


def test_right_ascensions_from_minus_180_are_those_from_180(tmp_path):
    ra = pa.array(np.where(ROWS.ra > 180, ROWS.ra - 360, ROWS.ra))
    found = rows_of(written(changed(ra=ra), tmp_path / "x.parquet"))
    np.testing.assert_allclose(found.ra, ROWS.ra, rtol=1e-12)


@pytest.mark.parametrize("kind", [pa.null(), pa.list_(pa.float32())])
def test_a_band_that_no_row_has_is_missing_and_not_an_error(kind, tmp_path):
    nothing = pa.nulls(len(TABLE), kind)
    table = changed(bp_coefficients=nothing, bp_coefficient_errors=nothing)
    found = rows_of(written(table, tmp_path / "x.parquet"))
    assert found.bands == ROWS.bands
    assert found.missing_bands()["missing_bp"].all()
    np.testing.assert_array_equal(found.coefficients[:, 55:], ROWS.coefficients[:, 55:])


def test_a_band_that_no_row_of_a_table_has_is_missing_there_too(tmp_path):
    columns = {name: TABLE[name].to_pylist() for name in TABLE.column_names}
    for name in ("bp_coefficients", "bp_coefficient_errors"):
        columns[name] = np.full((len(TABLE), 55), np.nan)
    Table(columns).write(tmp_path / "x.fits")
    batch = read_spectra(Storage(str(tmp_path)), "x.fits").batch
    assert batch.bands == ROWS.bands
    assert batch.missing_bands()["missing_bp"].all()


def test_a_companion_that_some_files_have_is_missing_in_the_others(tmp_path):
    for name, part in {"a": TABLE.slice(0, 12), "c": TABLE.slice(18)}.items():
        written(part, tmp_path / f"in/{name}.parquet")
    with_ruwe = TABLE.slice(12, 6).append_column("ruwe", pa.array(np.arange(6.0)))
    written(with_ruwe, tmp_path / "in/b.parquet")
    found = rows_of(tmp_path / "in").companions["ruwe"]
    assert found[12:18].tolist() == [0, 1, 2, 3, 4, 5]
    assert np.isnan(np.delete(found, slice(12, 18))).all()


def test_files_without_rows_are_no_obstacle(tmp_path):
    written(TABLE, tmp_path / "in/b.parquet")
    written(TABLE.slice(0, 0), tmp_path / "in/a.parquet")
    written(pa.table({n: pa.nulls(0) for n in TABLE.column_names}), tmp_path / "in/c.parquet")
    done("ingest", tmp_path / "in", tmp_path / "store", "--workers", 0)


@pytest.mark.parametrize("name", ["X.PARQUET", "x.parq", "x.Pq"])
def test_other_spellings_of_the_name_are_parquet(name, tmp_path):
    assert is_parquet(name)
    written(TABLE.slice(0, 12), tmp_path / "in" / name)
    written(TABLE.slice(12), tmp_path / "in/y.parquet")
    assert open_parquet(str(tmp_path / "in")).n_rows == len(TABLE)


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    table = pa.Table.from_arrays([*TABLE.columns, TABLE["ra"]], [*TABLE.column_names, "ra"])
    with pytest.raises(InvalidInputError, match=r"x\.parquet has the columns ra and ra"):
        open_parquet(str(written(table, tmp_path / "x.parquet")))
    (tmp_path / "x.csv").write_text("source_id,ra,ra\n1,2,3\n")
    with pytest.raises(InvalidInputError, match=r"x\.csv has two columns ra"):
        read_spectra(Storage(str(tmp_path)), "x.csv")


def test_a_file_name_that_is_no_text_is_refused(tmp_path):
    written(TABLE, tmp_path / "in/a.parquet")
    (tmp_path / "in" / os.fsdecode(b"\xe9.parquet")).touch()
    result = xpscale("plan", tmp_path / "in", tmp_path / "model", tmp_path / "catalog")
    assert (result.code, "\\xe9.parquet is not in UTF-8" in result.err) == (2, True), result


@pytest.mark.parametrize("kind", ["margin", "index", "association", "map"])
def test_a_part_of_a_hats_collection_is_no_catalogue(kind, tmp_path):
    written(TABLE, tmp_path / "dataset/Norder=0/Dir=0/Npix=0.parquet")
    (tmp_path / "hats.properties").write_text(f"dataproduct_type={kind}\n")
    with pytest.raises(InvalidInputError, match=f"of the kind {kind}"):
        open_parquet(str(tmp_path))


def test_a_leaf_with_an_impossible_name_is_named(tmp_path):
    written(TABLE, tmp_path / "dataset/Norder=0/Dir=0/Npix=12.parquet")
    (tmp_path / "hats.properties").write_bytes(b"obs_title=\xe9t\xe9\n")  # and not in UTF-8
    with pytest.raises(InvalidInputError, match=r"Npix=12\.parquet is no pixel"):
        open_parquet(str(tmp_path))


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_csv_has_any_usual_separator(separator, tmp_path):
    frame = spectra_table(ROWS, "scalars").to_pandas()
    frame.to_csv(tmp_path / "x.csv", sep=separator, index=False)
    batch = read_spectra(Storage(str(tmp_path)), "x.csv").batch
    np.testing.assert_allclose(batch.coefficients, ROWS.coefficients, rtol=1e-6)


def test_text_in_another_encoding_is_called_that(tmp_path):
    (tmp_path / "x.csv").write_text("source_id,ra\n1,2\n", encoding="utf-16")
    with pytest.raises(InvalidInputError, match=r"x\.csv is no text in UTF-8"):
        read_spectra(Storage(str(tmp_path)), "x.csv")


@pytest.mark.parametrize("kind", ["records", "vaex"])
def test_hdf5_of_other_programs_is_read(kind, tmp_path):
    columns = {name: np.array(TABLE[name].to_pylist()) for name in TABLE.column_names}
    with h5py.File(tmp_path / "x.h5", "w") as file:
        if kind == "records":
            file["spectra"] = Table(columns).as_array()
        else:
            for name, values in columns.items():
                file[f"table/columns/{name}/data"] = values
    batch = read_spectra(Storage(str(tmp_path)), "x.h5").batch
    assert batch.source_id.tolist() == ROWS.source_id.tolist()
    np.testing.assert_array_equal(batch.coefficients, ROWS.coefficients)
