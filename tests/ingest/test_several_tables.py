"""Files that hold several tables, or files: spectra are found in them, or it is said what they
are.
"""

import io
import zipfile

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import from_table, tree
from astropy.table import Table

from tests.commands import xpscale
from tests.support.datalink_files import source_table_bytes, spectra_bytes
from xpscale.errors import InvalidInputError
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.testing.universe import Universe

ROWS = Universe(40, seed=12).spectra()
OTHER = Table({"night": [1, 2], "seeing": [0.7, 0.9]})


def hdus(*tables):
    return fits.HDUList([fits.PrimaryHDU(), *tables])


def spectra_hdu():
    return fits.open(io.BytesIO(spectra_bytes(ROWS, "fits")))[1]


def sources_table():
    return Table(
        {name: getattr(ROWS, name) for name in ("source_id", "ra", "dec", "phot_g_mean_flux")}
    )


def ingested(path, folder, sources=""):
    store, _ = run_ingest(plan_ingest(str(path), str(folder), sources=str(sources)))
    rows = store.read(store.partitions[0])
    assert store.n_rows == 40
    return rows.source_id[np.argsort(rows.source_id)], store.digest


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    (folder / "s.parquet").write_bytes(source_table_bytes(ROWS, "parquet"))
    (folder / "x.fits").write_bytes(spectra_bytes(ROWS, "fits"))
    return ingested(folder / "x.fits", folder / "store", folder / "s.parquet")[1]


def write_votable(path, tables):
    file = from_table(tables[0])
    for table in tables[1:]:
        file.resources[0].tables.append(from_table(table).resources[0].tables[0])
    assert isinstance(file, tree.VOTableFile)
    file.to_xml(str(path))


@pytest.mark.parametrize("form", ["fits", "vot", "zip"])
@pytest.mark.parametrize("before_it", ["other", "sources", "both"])
def test_spectra_in_a_later_table_are_found(expected, form, before_it, tmp_path):
    before = {"other": [OTHER], "sources": [sources_table()], "both": [OTHER, sources_table()]}
    path = tmp_path / f"x.{form}"
    if form == "vot":
        spectra = Table.read(io.BytesIO(spectra_bytes(ROWS, "vot")), format="votable")
        write_votable(path, [*before[before_it], spectra])
    else:
        data = io.BytesIO()
        tables = map(fits.BinTableHDU, before[before_it])
        hdus(*tables, spectra_hdu(), fits.BinTableHDU(OTHER)).writeto(data)
        path.write_bytes(data.getvalue())
        if form == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("x.fits", data.getvalue())
    sources = ""
    if before_it == "other":
        sources = tmp_path / "s.fits"
        hdus(fits.BinTableHDU(OTHER), fits.BinTableHDU(sources_table())).writeto(sources)
    assert ingested(path, tmp_path / "store", sources)[1] == expected


def test_tables_that_were_seen_are_named(tmp_path):
    hdus(fits.BinTableHDU(OTHER), fits.BinTableHDU(sources_table())).writeto(tmp_path / "x.fits")
    result = xpscale("ingest", tmp_path / "x.fits", tmp_path / "store")
    assert result.code == InvalidInputError.exit_code
    assert "2 tables, none with XP coefficients: table 1: night, seeing; table 2" in result.err
    assert "--columns-map" in result.err


@pytest.mark.parametrize("form", ["parquet", "fits", "hdf5", "vot"])
def test_a_zip_of_any_format(expected, form, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number, rows in enumerate(np.array_split(np.arange(40), 2)):
            archive.writestr(f"a/{number}.{form}", spectra_bytes(ROWS.take(rows), form))
    (tmp_path / "s.csv").write_bytes(source_table_bytes(ROWS, "csv"))
    assert ingested(tmp_path / "x.zip", tmp_path / "store", tmp_path / "s.csv")[1] == expected


@pytest.mark.parametrize("in_folder", [False, True])
@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("x.tar", b"", "tar archive"),
        ("x.tar.gz", b"\x1f\x8b", "tar archive"),
        ("X.TGZ", b"\x1f\x8b", "tar archive"),
        ("x.7z", b"", "7-Zip archive"),
        ("x.rar", b"", "RAR archive"),
        ("x.csv.bz2", b"", "bzip2"),
        ("x.csv", b"7z\xbc\xaf\x27\x1c\x00\x04", "7-Zip archive"),
        ("x.fits", b"PK\x03\x04\x14\x00\x00\x00", "zip archive"),
        ("x.xml", b"\xfd7zXZ\x00\x00\x04", "xz"),
    ],
)
def test_what_must_be_unpacked_is_called_by_its_kind(name, head, kind, in_folder, tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    (place / name).write_bytes(head + bytes(100))
    result = xpscale("ingest", place if in_folder else place / name, tmp_path / "store")
    assert result.code == InvalidInputError.exit_code
    assert kind in result.err
    assert "Unpack it" in result.err
