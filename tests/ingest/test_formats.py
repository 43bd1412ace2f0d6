"""Whatever format the rows come in, the store is the same; every row is accounted for; nothing is
guessed.
"""

import json

import numpy as np
import pytest

from tests.commands import done, xpscale
from tests.conftest import data_path
from tests.support.datalink_files import source_table_bytes, spectra_bytes, write_hdf5_copies
from tests.support.parquet_files import write_hats_spectra, write_parquet_files
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.ingest.build import build_store
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.storage import Storage
from xpscale.store.check import check_store
from xpscale.store.open import open_spectra
from xpscale.testing.universe import Universe

ROWS = Universe(240, seed=12).spectra()
MAX_ROWS = 50


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("expected") / "store")
    attributes = {"release": "Gaia DR3", "origin": "universe"}
    return build_store([("all", ROWS)], url, attributes=attributes, max_rows=MAX_ROWS)


@pytest.fixture
def sources(tmp_path):
    path = tmp_path / "gaia_source.parquet"
    path.write_bytes(source_table_bytes(ROWS, "parquet"))
    return str(path)


def datalink_folder(folder, form, n_files=3):
    folder.mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(ROWS)), n_files)):
        (folder / f"XP_CONTINUOUS_COMBINED_{number}.{form}").write_bytes(
            spectra_bytes(ROWS.take(rows), form)
        )
    (folder / "XP_SAMPLED_COMBINED.csv").write_text("source_id,flux\n1,2\n")
    (folder / "README.md").write_text("what I asked for")
    return str(folder)


def ingest(source, store, **options):
    made, _ = run_ingest(plan_ingest(str(source), str(store), max_rows=MAX_ROWS, **options))
    assert check_store(made).ok
    return made


@pytest.mark.parametrize("form", ["csv", "ecsv", "fits", "vot", "zip", "hdf5", "parquet"])
def test_tables_without_positions_are_joined(form, expected, sources, tmp_path):
    plan = plan_ingest(
        datalink_folder(tmp_path / "in", form), str(tmp_path / "store"), sources=sources
    )
    named = {"vot": "VOTable", "zip": "zip", "parquet": "Parquet"}.get(form, form.upper())
    assert f"3 {named}, " in str(plan)
    assert f"positions from {sources}" in str(plan)
    left_aside = str(plan).split("left aside: ")[1].splitlines()[0]
    assert "README.md" in left_aside
    assert "XP_SAMPLED_COMBINED.csv" in left_aside
    store = ingest(tmp_path / "in", tmp_path / "store", sources=sources)
    assert store.digest == expected.digest
    assert [file["n_read"] for file in store.report["files"]] == [80, 80, 80]


@pytest.mark.parametrize("shape", ["list", "fixed", "joined", "scalars", "scalars_from_1"])
def test_parquet_and_hats_give_the_same_store(shape, expected, tmp_path):
    write_hats_spectra(expected, str(tmp_path / "hats"), shape)
    assert ingest(tmp_path / "hats", tmp_path / "from-hats").digest == expected.digest
    write_parquet_files(ROWS, str(tmp_path / "plain"), shape, n_files=2, row_group_rows=50)
    store = ingest(tmp_path / "plain", tmp_path / "from-plain")
    assert store.digest == expected.digest
    assert [(file["name"], file["n_read"]) for file in store.report["files"]] == [
        ("part-000.parquet", 120),
        ("part-001.parquet", 120),
    ]


def test_hdf5_copies_find_their_sources_beside_them(expected, sources, tmp_path):
    write_hdf5_copies(ROWS, str(tmp_path / "copies"))
    assert ingest(tmp_path / "copies", tmp_path / "store").digest == expected.digest
    write_hdf5_copies(ROWS, str(tmp_path / "whole"), all_in_one=True)
    store = ingest(tmp_path / "whole" / "xp.h5", tmp_path / "store-2", sources=sources)
    assert store.digest == expected.digest
    assert len(store.report["files"]) == 2


def test_a_single_file_and_worker_processes(expected, tmp_path, sources, two_processes):
    (tmp_path / "one.fits").write_bytes(spectra_bytes(ROWS, "fits"))
    assert (
        ingest(tmp_path / "one.fits", tmp_path / "one", sources=sources).digest == expected.digest
    )
    write_parquet_files(ROWS, str(tmp_path / "plain"), n_files=3)
    plan = plan_ingest(str(tmp_path / "plain"), str(tmp_path / "store"), max_rows=MAX_ROWS)
    store, is_new = run_ingest(plan, executor=two_processes)
    assert (is_new, store.digest) == (True, expected.digest)
    assert run_ingest(plan, executor=two_processes)[1] is False


def spoilt_rows():
    """Five rows with faults, one of them twice."""
    batch = ROWS.take(np.arange(len(ROWS)))
    batch.coefficients[0, :55] = batch.coefficient_errors[0, :55] = np.nan
    batch.coefficients[1, 60] = np.nan
    batch.coefficient_errors[2, 3] = -1
    batch.phot_g_mean_flux[3] = np.nan
    batch.ra[4] = np.nan
    return batch.take(np.append(np.arange(len(batch)), 9))


FAULTS = {"no_g_flux": 1, "no_position": 1}  # what is missing of a spectrum is no fault


@pytest.mark.parametrize("shape", ["list", "fixed", "scalars"])
def test_parquet_rows_are_accounted_for(shape, tmp_path):
    write_parquet_files(spoilt_rows(), str(tmp_path / "in"), shape, n_files=2)
    assert sum(part.n_rows for part in open_spectra(tmp_path / "in").partitions) == 241
    report = ingest(tmp_path / "in", tmp_path / "store").report
    assert report["n_rejected"] == {**FAULTS, "duplicate_source_id": 1}
    assert (report["n_read"], report["n_written"]) == (241, 238)


@pytest.mark.parametrize("form", ["csv", "fits", "vot"])
def test_table_rows_are_accounted_for(form, tmp_path):
    rows = spoilt_rows()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"xp.{form}").write_bytes(spectra_bytes(rows, form))
    (tmp_path / "in" / "sources.csv").write_bytes(
        source_table_bytes(rows.take(slice(0, 236)), "csv")
    )
    report = ingest(
        tmp_path / "in", tmp_path / "store", sources=str(tmp_path / "in" / "sources.csv")
    ).report
    assert report["n_rejected"] == {**FAULTS, "duplicate_source_id": 1, "no_gaia_source": 4}
    assert report["n_read"] == report["n_written"] + sum(report["n_rejected"].values()) == 241


def test_real_products_all_at_once(tmp_path):
    """Every file of three sources in all formats, some with the one source that has no BP."""
    folder = data_path("datalink")
    ids = [5937083312263887616, 5853498713190525696, 5762406957886626816, 5405570973190252288]
    lines = [f"{source_id},{10 * i},{-5 * i},{1000.5 + i}" for i, source_id in enumerate(ids)]
    (tmp_path / "s.csv").write_text("\n".join(["source_id,ra,dec,phot_g_mean_flux", *lines]) + "\n")
    result = done(
        "ingest", folder, tmp_path / "store", "--sources", tmp_path / "s.csv", "--workers", 0
    )
    assert "3 CSV, 3 ECSV, 3 FITS, 5 VOTable, 1 zip" in result.err
    report = json.loads((tmp_path / "store" / "_xpscale" / "report.json").read_text())
    assert report["n_rejected"] == {"duplicate_source_id": 26}
    assert (report["n_read"], report["n_written"], len(report["files"])) == (30, 4, 15)
    assert sorted(open_spectra(tmp_path / "store").find(ids).source_id.tolist()) == sorted(ids)


def test_no_positions_no_ingest(tmp_path):
    result = xpscale("ingest", datalink_folder(tmp_path / "in", "csv"), tmp_path / "store")
    assert result.code == InvalidInputError.exit_code
    assert "lacks ra, dec, phot_g_mean_flux or phot_g_mean_mag; " in result.err
    assert "--sources FILE" in result.err
    assert not (tmp_path / "store").exists()


def test_a_damaged_file_is_named_and_the_others_are_kept(expected, sources, tmp_path):
    folder = tmp_path / "in"
    datalink_folder(folder, "fits")
    whole = (folder / "XP_CONTINUOUS_COMBINED_1.fits").read_bytes()
    (folder / "XP_CONTINUOUS_COMBINED_1.fits").write_bytes(whole[:9_000])
    result = xpscale(
        "ingest",
        folder,
        tmp_path / "store",
        "--sources",
        sources,
        "--workers",
        0,
        "--max-rows",
        MAX_ROWS,
    )
    assert result.code != 0
    assert "XP_CONTINUOUS_COMBINED_1.fits" in result.err
    (folder / "XP_CONTINUOUS_COMBINED_1.fits").write_bytes(whole)
    assert ingest(folder, tmp_path / "repaired", sources=sources).digest == expected.digest


def test_damaged_parquet_is_named(tmp_path):
    write_parquet_files(ROWS, str(tmp_path / "in"), n_files=2)
    part = tmp_path / "in" / "part-001.parquet"
    sound = part.read_bytes()
    part.write_bytes(sound[:-100])
    with pytest.raises(InvalidInputError, match=r"part-001\.parquet is not sound"):
        open_spectra(tmp_path / "in")
    part.write_bytes(sound[:2000] + bytes(40_000) + sound[42_000:])
    with pytest.raises(InvalidInputError, match=r"part-001\.parquet is not sound"):
        ingest(tmp_path / "in", tmp_path / "store")


def test_other_content_is_not_taken_for_the_same(tmp_path, sources):
    folder, store = datalink_folder(tmp_path / "in", "csv"), tmp_path / "store"
    ingest(folder, store, sources=sources)
    (tmp_path / "in" / "XP_CONTINUOUS_COMBINED_0.csv").write_bytes(
        spectra_bytes(ROWS.take(slice(0, 70)), "csv")
    )
    with pytest.raises(ConflictError, match="have changed since"):
        ingest(folder, store, sources=sources)


def test_what_cannot_be_ingested_says_why(tmp_path, expected, sources):
    def refused(source, error, match, **options):
        with pytest.raises(error, match=match):
            plan_ingest(str(source), str(tmp_path / "store"), **options)

    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", NotFoundError, "holds no archive file, and no table of spectra")
    refused(tmp_path / "nowhere", NotFoundError, "nowhere holds no")
    refused(expected.url, InvalidInputError, "is a spectra store")
    mixed = tmp_path / "mixed"
    datalink_folder(mixed, "csv")
    (mixed / "more.parquet").write_bytes(spectra_bytes(ROWS, "parquet"))
    refused(mixed, InvalidInputError, "Parquet files and others")
    write_parquet_files(ROWS, str(tmp_path / "plain"))
    (tmp_path / "plain" / "part-001.parquet").write_bytes(source_table_bytes(ROWS, "parquet"))
    refused(
        tmp_path / "plain", InvalidInputError, r"part-001\.parquet has no column bp_coefficient"
    )
    refused(sources, InvalidInputError, "no XP coefficients")


@pytest.mark.s3
def test_formats_on_s3(expected, tmp_path):
    from tests.support.services import seaweedfs

    with seaweedfs(tmp_path / "weed") as service, service.apply():
        storage = Storage("s3://xpscale/in")
        for number, form in enumerate(("fits", "hdf5", "zip")):
            rows = ROWS.take(slice(number * 80, number * 80 + 80))
            storage.replace(f"xp {number}.{form}", spectra_bytes(rows, form))
        Storage("s3://xpscale/s").replace("sources.vot", source_table_bytes(ROWS, "vot"))
        store = ingest(
            "s3://xpscale/in", "s3://xpscale/store", sources="s3://xpscale/s/sources.vot"
        )
        assert store.digest == expected.digest
        write_parquet_files(ROWS, "s3://xpscale/plain", "scalars", n_files=2)
        assert ingest("s3://xpscale/plain", "s3://xpscale/store-2").digest == expected.digest
