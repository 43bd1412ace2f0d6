"""A HATS catalogue is read whole or refused: its lists and its number of rows are compared."""

import re

import pyarrow.parquet as pq
import pytest

from tests.commands import xpscale
from tests.support.parquet_files import spectra_table
from tests.support.source_tables import write_hats_sources
from xpscale.column_names import ColumnChoice
from xpscale.errors import InvalidInputError
from xpscale.ingest.given_sources import open_sources
from xpscale.store.open import open_parquet
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe

ROWS = Universe(90, seed=31).spectra()
LISTS = ("partition_info.csv", "dataset/_metadata")


@pytest.fixture(params=LISTS)
def hats(request, tmp_path):
    """A catalogue of order 0 with one of the lists of its partitions."""
    folder = tmp_path / "hats"
    write_hats_sources(spectra_table(ROWS, "list"), str(folder), 0)
    if request.param != LISTS[0]:
        (folder / LISTS[0]).unlink()
        footers = []
        for leaf in leaves(folder):
            footers.append(pq.read_metadata(leaf))
            footers[-1].set_file_path(leaf.relative_to(folder / "dataset").as_posix())
        schema = pq.read_schema(leaves(folder)[0])
        pq.write_metadata(schema, folder / LISTS[1], metadata_collector=footers)
    return folder


def leaves(folder):
    return sorted(folder.rglob("Npix=*.parquet"))


def ingest(folder, *more):
    return xpscale("ingest", folder, folder.parent / "store", "--workers", 0, *more)


def test_a_sound_catalogue_passes(hats):
    assert open_parquet(str(hats)).n_rows == 90
    assert len(open_sources(str(hats), ColumnChoice()).files) == len(leaves(hats))


def test_a_catalogue_that_states_no_number_passes(hats):
    properties = hats / "hats.properties"
    properties.write_text(re.sub(r"hats_nrows=.*", "", properties.read_text()))
    shorten(leaves(hats)[1])
    assert open_parquet(str(hats)).n_rows < 90


def test_missing_leaves_are_named(hats):
    gone, other, *_ = leaves(hats)
    n_gone = pq.read_metadata(gone).num_rows
    gone.unlink()
    named = rf"Norder=0/Dir=0/{gone.name} is missing, though its catalogue lists it\. Fetch"
    for opened in (
        lambda: open_parquet(str(hats)),
        lambda: open_sources(str(hats), ColumnChoice()),
    ):
        with pytest.raises(InvalidInputError, match=named):
            opened()
    refused = ingest(hats)
    assert (refused.code, gone.name in refused.err) == (2, True)
    found = ingest(hats, "--skip-damaged")
    assert (found.code, gone.name in found.err) == (20, True), found.err
    assert open_store(str(hats.parent / "store")).n_rows == 90 - n_gone
    other.unlink()
    with pytest.raises(InvalidInputError, match=r"lists it \(and 1 more\)"):
        open_parquet(str(hats))
    assert open_parquet(str(hats / "dataset")).n_rows < 90  # what is there, if one asks for that


def shorten(leaf):
    pq.write_table(pq.read_table(leaf, partitioning=None)[1:], leaf)


@pytest.mark.parametrize("skip_damaged", [False, True])
def test_another_number_of_rows_is_refused_with_both(hats, skip_damaged):
    shorten(leaves(hats)[1])
    with pytest.raises(InvalidInputError, match="has 89 rows, its hats_nrows says 90"):
        open_parquet(str(hats), skip_damaged=skip_damaged)
    with pytest.raises(InvalidInputError, match="has 89 rows, its hats_nrows says 90"):
        open_sources(str(hats), ColumnChoice())


@pytest.mark.parametrize(("name", "text"), [*zip(LISTS, ["a,b\n1,2\n", "PAR1"], strict=True)])
def test_a_damaged_list_is_named(hats, name, text):
    for each in LISTS:
        (hats / each).unlink(missing_ok=True)
    (hats / name).write_text(text)
    with pytest.raises(InvalidInputError, match=f"{name} is no list of partitions"):
        open_parquet(str(hats))
