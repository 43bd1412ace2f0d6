"""Spectra of any width and release make the same store whatever format they come in, and no number
of coefficients and no release is guessed.
"""

import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import done, xpscale
from tests.conftest import data_path
from tests.support.datalink_files import source_table_bytes, spectra_bytes
from tests.support.parquet_files import spectra_table, write_hats_spectra, write_parquet_files
from xpscale.bands import Bands
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.ingest.build import build_store
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.release import DR3, UNSTATED, find_release
from xpscale.store.info import store_info
from xpscale.store.open import open_parquet, open_spectra
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe

DR4 = find_release("dr4")
MAX_ROWS = 20
SHAPES = ("list", "fixed", "joined", "scalars", "scalars_from_1")
WIDTHS = {"51+55": Bands(51, 55), "48+44": Bands(48, 44)}


def rows_of(bands):
    return Universe(60, seed=5, bands=bands).spectra()


WIDE = rows_of(Bands(51, 55))


def ingest(source, store, **options):
    return run_ingest(plan_ingest(str(source), str(store), max_rows=MAX_ROWS, **options))[0]


@pytest.fixture(scope="module", params=WIDTHS.values(), ids=WIDTHS)
def expected(request, tmp_path_factory):
    """A store of one width, made of arrays."""
    url = str(tmp_path_factory.mktemp("expected") / "store")
    rows = rows_of(request.param)
    return build_store([("all", rows)], url, attributes={"origin": "u"}, max_rows=MAX_ROWS)


@pytest.mark.parametrize("shape", SHAPES)
def test_parquet_of_any_width(shape, expected, tmp_path):
    bands = expected.bands
    write_parquet_files(rows_of(bands), str(tmp_path / "in"), shape, n_files=2)
    made = ingest(tmp_path / "in", tmp_path / "store", bands=bands if shape == "joined" else None)
    assert (made.digest, made.bands) == (expected.digest, bands)
    assert made.release == UNSTATED
    assert f"{bands} coefficients" in str(store_info(made.url)).splitlines()[0]


@pytest.mark.parametrize("form", ["csv", "ecsv", "fits", "vot"])
def test_tables_of_any_width(form, expected, tmp_path):
    rows = rows_of(expected.bands)
    (tmp_path / f"xp.{form}").write_bytes(spectra_bytes(rows, form))
    (tmp_path / "sources.csv").write_bytes(source_table_bytes(rows, "csv"))
    sources = str(tmp_path / "sources.csv")
    made = ingest(tmp_path / f"xp.{form}", tmp_path / "store", sources=sources)
    assert (made.digest, made.bands) == (expected.digest, expected.bands)


# -- one array of both bands


def joined(tmp_path, metadata=None, **columns):
    """A folder with a Parquet file of joined coefficients."""
    (tmp_path / "in").mkdir(exist_ok=True)
    table = spectra_table(WIDE, "joined").replace_schema_metadata(metadata)
    for name, value in columns.items():
        table = table.append_column(name, pa.array(np.full(len(WIDE), value)))
    pq.write_table(table, tmp_path / "in" / "xp.parquet")
    return str(tmp_path / "in")


def test_bands_of_one_array_are_never_guessed(tmp_path):
    with pytest.raises(InvalidInputError, match=r"of its 106 coefficients.*--bands N_BP,N_RP"):
        plan_ingest(joined(tmp_path), str(tmp_path / "store"))
    with pytest.raises(InvalidInputError, match=r"106 coefficients, not 55 BP \+ 55 RP"):
        plan_ingest(joined(tmp_path), str(tmp_path / "store"), bands=Bands(55, 55))
    refused = xpscale("ingest", joined(tmp_path), tmp_path / "store", "--dry-run")
    assert refused.code == InvalidInputError.exit_code
    told = done("ingest", joined(tmp_path), tmp_path / "store", "--bands", "51,55", "--dry-run")
    assert f"60 sources of {UNSTATED}, 51 BP + 55 RP coefficients" in told.out


def test_who_says_the_bands_of_one_array_and_in_which_order(tmp_path):
    numbers = {"bp_n_parameters": 50, "rp_n_parameters": 56}
    metadata = {"n_bp": "49"}
    assert open_parquet(joined(tmp_path, metadata)).bands == Bands(49, 57)
    assert open_parquet(joined(tmp_path, metadata, **numbers)).bands == Bands(50, 56)
    stated = Bands(51, 55)
    assert open_parquet(joined(tmp_path, metadata, **numbers), bands=stated).bands == stated
    dr3 = spectra_table(rows_of(Bands(55, 55)), "joined")
    pq.write_table(dr3, tmp_path / "in" / "xp.parquet")
    found = open_parquet(str(tmp_path / "in"))
    assert (found.bands, found.release) == (Bands(55, 55), DR3)


def test_tables_say_the_numbers_of_their_parameters(tmp_path):
    from astropy.table import Table

    columns = {name: getattr(WIDE, name) for name in ("source_id", "ra", "dec")}
    columns |= {"phot_g_mean_flux": WIDE.phot_g_mean_flux, "coeff": WIDE.coefficients}
    columns |= {"coeff_error": WIDE.coefficient_errors}
    table, where = Table(columns), tmp_path / "xp.fits"
    table.write(where)
    with pytest.raises(InvalidInputError, match="106 coefficients in coeff are BP"):
        ingest(where, tmp_path / "first")
    assert ingest(where, tmp_path / "stated", bands=Bands(51, 55)).bands == Bands(51, 55)
    table["bp_n_parameters"], table["rp_n_parameters"] = np.int16(51), np.int16(55)
    table.write(where, overwrite=True)
    made = ingest(where, tmp_path / "second")
    assert made.bands == Bands(51, 55)
    assert made.digest == ingest(where, tmp_path / "third", bands=Bands(51, 55)).digest


def test_two_widths_in_one_ingest_are_refused(tmp_path):
    for name, bands in {"a": Bands(51, 55), "b": Bands(48, 44)}.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.csv").write_bytes(spectra_bytes(rows_of(bands), "csv"))
    (tmp_path / "sources.csv").write_bytes(source_table_bytes(WIDE, "csv"))
    with pytest.raises(
        InvalidInputError, match=r"b\.csv has 48 BP \+ 44 RP coefficients, a\.csv has 51 BP \+ 55"
    ):
        ingest(tmp_path / "in", tmp_path / "store", sources=str(tmp_path / "sources.csv"))


@pytest.mark.parametrize("form", ["csv", "ecsv", "fits", "vot", "hdf5"])
def test_a_file_without_one_band_is_counted_and_tells_no_width(form, tmp_path):
    (tmp_path / "in").mkdir()
    rows = WIDE.take(np.arange(len(WIDE)))
    rows.coefficients[:7, rows.bands.bp] = rows.coefficient_errors[:7, rows.bands.bp] = np.nan
    for name, part in {"a": slice(0, 7), "b": slice(7, 60)}.items():
        (tmp_path / "in" / f"{name}.{form}").write_bytes(spectra_bytes(rows.take(part), form))
    (tmp_path / "sources.csv").write_bytes(source_table_bytes(rows, "csv"))
    options = {"sources": str(tmp_path / "sources.csv"), "bands": WIDE.bands}
    made = ingest(tmp_path / "in", tmp_path / "store", **options)
    assert (made.bands, made.n_rows) == (WIDE.bands, 60)
    assert made.report["n_rejected"] == {}


# -- releases


def test_a_release_that_is_stated_is_kept_with_its_epoch(tmp_path):
    write_parquet_files(WIDE, str(tmp_path / "in"))
    command = ("ingest", tmp_path / "in", tmp_path / "store", "--release", "dr4", "--workers", 0)
    assert "60 sources of Gaia DR4, 51 BP + 55 RP coefficients" in done(*command).err
    store = open_store(str(tmp_path / "store"))
    assert (store.release.name, store.attributes["release"]) == ("Gaia DR4", "Gaia DR4")
    assert store.attributes["position"] == "ICRS, epoch J2017.5, degrees"
    ra = json.loads(store.storage.read(f"{store.partitions[0].key}/ra/zarr.json"))
    assert ra["attributes"]["description"] == "Right ascension, ICRS, epoch J2017.5"
    info = json.loads(done("store", "info", tmp_path / "store", "--json").out)
    assert [info[name] for name in ("release", "n_bp", "n_rp", "n_coefficients")] == [
        "Gaia DR4",
        51,
        55,
        106,
    ]
    again = xpscale(*command[:-4], "--release", "dr3")
    assert again.code != 0
    assert "Gaia DR3" in again.err
    assert "51 BP + 55 RP" in again.err


def test_spectra_that_do_not_fit_the_release_are_refused(tmp_path):
    (tmp_path / "xp.csv").write_bytes(spectra_bytes(WIDE, "csv"))
    (tmp_path / "sources.csv").write_bytes(source_table_bytes(WIDE, "csv"))
    options = {"sources": str(tmp_path / "sources.csv"), "release": DR3}
    with pytest.raises(InvalidInputError, match=r"51 BP \+ 55 RP coefficients, Gaia DR3 has 55 BP"):
        ingest(tmp_path / "xp.csv", tmp_path / "store", **options)
    made = ingest(tmp_path / "xp.csv", tmp_path / "second", **{**options, "release": DR4})
    own = tmp_path / "own.toml"
    own.write_text('extends = "dr4"\nname = "Gaia DR4 as of today"\n')
    with pytest.raises(ConflictError, match=r"of Gaia DR4.*of Gaia DR4 as of today"):
        ingest(tmp_path / "xp.csv", made.url, **{**options, "release": find_release(str(own))})


@pytest.mark.parametrize("form", ["csv", "fits", "vot", "hdf5"])
def test_designations_say_the_release(form, tmp_path):
    from tests.support.datalink_files import table_bytes

    (tmp_path / "sources.csv").write_bytes(source_table_bytes(WIDE, "csv"))
    designations = [f"Gaia DR4 {source_id}" for source_id in WIDE.source_id.tolist()]
    data = table_bytes({"designation": np.array(designations, "S32")}, WIDE, form)
    (tmp_path / f"xp.{form}").write_bytes(data)
    made = ingest(
        tmp_path / f"xp.{form}", tmp_path / "store", sources=str(tmp_path / "sources.csv")
    )
    assert made.release.name == "Gaia DR4"


def test_names_of_files_say_the_release_and_two_are_refused(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    first = folder / "XP_CONTINUOUS-Gaia DR4 1.csv"
    first.write_bytes(spectra_bytes(WIDE, "csv"))
    (tmp_path / "s.csv").write_bytes(source_table_bytes(WIDE, "csv"))
    plan = plan_ingest(str(folder), str(tmp_path / "store"), sources=str(tmp_path / "s.csv"))
    assert plan.release.name == "Gaia DR4"
    shutil.copy(first, folder / "XP_CONTINUOUS-Gaia DR3 2.csv")
    with pytest.raises(ConflictError, match=r"DR3 2\.csv is of Gaia DR3, .*DR4 1\.csv of Gaia DR4"):
        plan_ingest(str(folder), str(tmp_path / "store"), sources=str(tmp_path / "s.csv"))


def test_parquet_says_its_release(tmp_path, expected):
    write_hats_spectra(expected, str(tmp_path / "hats"))
    with (tmp_path / "hats" / "hats.properties").open("a") as stream:
        stream.write("xpscale_release=Gaia DR4\n")
    assert open_spectra(tmp_path / "hats").release.name == "Gaia DR4"
    folder = joined(tmp_path, {"release": "Gaia DR4", "n_bp": "51"})
    assert open_parquet(folder).release.name == "Gaia DR4"
    other = spectra_table(WIDE, "joined").replace_schema_metadata({"release": "Gaia DR3"})
    pq.write_table(other, tmp_path / "in" / "yp.parquet")
    with pytest.raises(
        ConflictError, match=r"xp\.parquet is of Gaia DR4, .*yp\.parquet of Gaia DR3"
    ):
        open_parquet(folder)
    designations = pa.array([f"Gaia DR4 {source_id}" for source_id in WIDE.source_id.tolist()])
    table = spectra_table(WIDE, "list").append_column("designation", designations)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    (tmp_path / "one.parquet").write_bytes(sink.getvalue())
    assert open_parquet(str(tmp_path / "one.parquet")).release.name == "Gaia DR4"


@pytest.mark.parametrize(
    ("name", "bands", "rejected"),
    [
        ("cycle4_30", Bands(51, 55), {"no_g_flux": 3}),
        ("cycle4_one", Bands(48, 44), {}),
    ],
)
def test_spectra_of_the_cycle_behind_dr4(name, bands, rejected, tmp_path):
    made = ingest(data_path(f"{name}.parquet"), tmp_path / "store", release=DR4)
    assert (made.bands, made.release.name) == (bands, "Gaia DR4")
    assert made.report["n_rejected"] == rejected
    original = pq.read_table(data_path(f"{name}.parquet"))
    found = made.find(original["source_id"].to_pylist())
    row = original["source_id"].to_pylist().index(int(found.source_id[0]))
    values = [original[f"{band}_coefficients"][row].as_py() for band in ("bp", "rp")]
    np.testing.assert_array_equal(found.coefficients[0], np.float32([*values[0], *values[1]]))
