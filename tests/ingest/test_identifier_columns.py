"""Identifiers of spectra and of sources in every type and format that people keep them in."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import MaskedColumn, Table

from tests.support.parquet_files import spectra_table
from xpscale.archive.datalink import read_spectra
from xpscale.column_names import ColumnChoice
from xpscale.errors import InvalidInputError
from xpscale.gaia_ids import ids_or_zero
from xpscale.ingest.given_sources import open_sources
from xpscale.ingest.source_index import JoinedSources
from xpscale.release import DR3
from xpscale.row_rules import judge
from xpscale.storage import Storage
from xpscale.store.open import open_parquet
from xpscale.testing.universe import Universe

ROWS = Universe(12, seed=9).spectra()
IDS = ROWS.source_id.tolist()
GAP = [None, *IDS[1:]]
HELD = {
    "int64": pa.array(GAP),
    "uint64": pa.array(GAP, pa.uint64()),
    "decimal": pa.array([i and Decimal(i) for i in GAP], pa.decimal128(20, 0)),
    "text": pa.array([i and f" {i}" for i in GAP]),
    "names": pa.array([i and f"Gaia DR3 {i}" for i in GAP], pa.large_string()),
    "categories": pa.array([i and str(i) for i in GAP]).dictionary_encode(),
    "a list of text": ["null", *map(str, IDS[1:])],
    "a masked column": MaskedColumn(IDS, mask=[True] + [False] * 11),
    "big-endian": np.array([0, *IDS[1:]], ">i8"),
    "bytes of FITS": np.array(["", *map(str, IDS[1:])], "S19"),
    "negative": np.array([-1, *IDS[1:]]),
}
REFUSED = {
    "float64": (pa.array([1e18]), "double cannot hold a source_id exactly"),
    "float64 of numpy": (np.array([1e18]), "double cannot hold"),
    "digits lost": (["4.29e+09"], "x: row 1: '4.29e[+]09' .* written as a float"),
    "too large": (pa.array([1, 2**63 + 5], pa.uint64()), "row 2: .* not from 1 to"),
    "of DR2": (["Gaia DR2 5"], "row 1: 'Gaia DR2 5' is an identifier of Gaia DR2, not of Gaia DR3"),
    "of no kind": (["HD 209458"], "'HD 209458' is no Gaia source_id"),
}


@pytest.mark.parametrize("kind", HELD)
def test_each_type_gives_the_same_numbers_and_marks_what_is_missing(kind):
    found = ids_or_zero(HELD[kind], "x", DR3)
    assert found.dtype == np.int64
    assert found[1:].tolist() == IDS[1:]
    assert found[0] <= 0


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_an_identifier_is_refused_for_its_reason(kind):
    values, reason = REFUSED[kind]
    with pytest.raises(InvalidInputError, match=reason):
        ids_or_zero(values, "x", DR3)


def with_ids(ids, masked, names):
    """A table whose first row has no identifier; its names are in capitals as the archive's."""
    columns = {name.upper(): np.array(names[name].to_pylist()) for name in names.column_names}
    return Table({**columns, "SOURCE_ID": MaskedColumn(ids, mask=masked)})


@pytest.mark.parametrize("form", ["fits", "votable", "ecsv", "parquet"])
def test_in_files_a_row_without_identifier_is_rejected_and_counted(form, tmp_path):
    path, table = tmp_path / f"x.{form}", spectra_table(ROWS, "list")
    masked = np.arange(12) == 0
    if form == "parquet":
        pq.write_table(table.set_column(0, "source_id", pa.array(GAP)), path)
        reader = open_parquet(str(path))
        batch = next(reader.read_row_groups(reader.blocks()[0].where))
    else:
        kind = "ascii.ecsv" if form == "ecsv" else form
        with_ids(IDS, masked, table).write(path, format=kind)
        batch = read_spectra(Storage(str(tmp_path)), path.name).batch
    keep, rejected = judge(batch, whole=False)
    assert rejected == {"no_source_id": 1}
    assert batch.source_id[keep].tolist() == IDS[1:]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_of_sources_have_them_as_names_too(form, tmp_path):
    table = pa.table(
        {
            "source_id": [f"Gaia DR3 {i}" for i in IDS],
            "ra": ROWS.ra,
            "dec": ROWS.dec,
            "phot_g_mean_flux": ROWS.phot_g_mean_flux,
        }
    )
    path = tmp_path / f"s.{form}"
    if form == "csv":
        table.to_pandas().to_csv(path, index=False)
    else:
        pq.write_table(table, path)
    sources, store = open_sources(str(path), ColumnChoice()), Storage(str(tmp_path / "store"))
    sources.prepare(store)
    found = JoinedSources(store, sources.key)(ROWS.source_id)
    assert found.found.all()
    np.testing.assert_array_equal(found.values["ra"], ROWS.ra)
