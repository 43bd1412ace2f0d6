"""Any table of sources takes the place of ``gaia_source``: of any format and order, read in part,
with what else it knows; or the identifiers alone place the sources.
"""

import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.commands import xpscale
from tests.support.archive_files import write_archive
from tests.support.datalink_files import source_table_bytes
from tests.support.source_tables import gaia_source_table, write_hats_sources
from xpscale.column_names import ColumnChoice
from xpscale.companions import COMPANIONS, OF_SPECTRA
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.ingest.given_sources import open_sources
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.ingest.source_index import SourceIndex
from xpscale.ingest.source_rows import sorted_parts
from xpscale.release import DR3
from xpscale.schema import TableLayout
from xpscale.sky import MAX_ORDER, healpix_29, source_id_pixel, source_id_position
from xpscale.storage import Storage
from xpscale.store.hats_listing import hats_pixel
from xpscale.store.open import open_spectra
from xpscale.testing.universe import Universe

UNIVERSE = Universe(300, seed=17, mover_fraction=0.05)
ROWS = UNIVERSE.spectra()
NONE = ColumnChoice(companions=())
OF_SOURCES = [name for name in COMPANIONS if name not in OF_SPECTRA]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    write_archive(UNIVERSE, str(folder), n_files=4)
    return folder


@pytest.fixture(scope="module")
def alone(archive, tmp_path_factory):
    """The archive without its source files."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copytree(archive, folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "gaia_source")
    return folder


@pytest.fixture(scope="module")
def sources(archive):
    return gaia_source_table(archive)


def ingest(source, store, sources="", choice=NONE):
    plan = plan_ingest(str(source), str(store), sources=str(sources), columns=choice, max_rows=90)
    return run_ingest(plan)[0]


@pytest.fixture(scope="module")
def expected(archive, tmp_path_factory):
    return ingest(archive, tmp_path_factory.mktemp("expected") / "store")


def shuffled(table):
    return table.take(np.random.default_rng(3).permutation(len(table)))


def write_form(form, table, folder):
    """The table in one of the forms that people have."""
    folder.mkdir()
    narrow = table.select(["source_id", "ra", "dec", "phot_g_mean_flux"])
    if form == "hats":
        write_hats_sources(table, str(folder), 3, row_group_rows=20)
    elif form == "folder":
        for part in range(3):
            pq.write_table(table.slice(part * 200, 200), folder / f"{part}.parquet")
    elif form == "shuffled":
        pq.write_table(shuffled(table), folder / "s.parquet", row_group_size=10)
    elif form == "csv.gz":
        with pa.CompressedOutputStream(folder / "s.csv.gz", "gzip") as sink:
            pyarrow.csv.write_csv(shuffled(narrow), sink)
        return folder / "s.csv.gz"
    else:
        (folder / f"s.{form}").write_bytes(source_table_bytes(ROWS, form))
        return folder / f"s.{form}"
    return folder


FORMS = ("hats", "folder", "shuffled", "csv.gz", "csv", "ecsv", "fits", "vot", "hdf5", "parquet")


@pytest.mark.parametrize("form", FORMS)
def test_a_bulk_archive_is_joined_with_any_table(form, alone, sources, expected, tmp_path):
    place = write_form(form, sources, tmp_path / "sources")
    store = ingest(alone, tmp_path / "store", place)
    assert store.digest == expected.digest
    assert not store.storage.list("_xpscale/staging")
    again = plan_ingest(str(alone), store.url, sources=str(place), columns=NONE, max_rows=90)
    assert run_ingest(again)[1] is False


def test_an_archive_alone_is_refused_with_the_remedy(alone, tmp_path):
    with pytest.raises(NotFoundError, match="table of sources: --sources"):
        plan_ingest(str(alone), str(tmp_path / "store"))


def test_sources_that_the_table_lacks_are_counted(alone, sources, tmp_path):
    kept = sources.filter(pa.compute.greater(sources["source_id"], int(ROWS.source_id[20])))
    pq.write_table(kept, tmp_path / "s.parquet")
    report = ingest(alone, tmp_path / "store", tmp_path / "s.parquet").report
    assert report["n_rejected"] == {
        "no_gaia_source": int((ROWS.source_id <= ROWS.source_id[20]).sum())
    }


@pytest.mark.parametrize("text", ["source_id,ra,dec,phot_g_mean_flux\n1,x,2,3\n", "a,b\n1,2\n", ""])
def test_a_wrong_table_is_refused_in_one_line(text, alone, tmp_path):
    (tmp_path / "s.csv").write_text(text)
    options = ["--sources", tmp_path / "s.csv", "--workers", 0]
    result = xpscale("ingest", alone, tmp_path / "store", *options)
    assert result.code == InvalidInputError.exit_code
    assert "s.csv" in result.err


# -- looking up


PIECES = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=12), min_size=1, max_size=6)


@given(PIECES, st.lists(st.integers(0, 61), max_size=30), st.integers(1, 7))
def test_the_index_finds_what_a_dictionary_finds(tmp_path_factory, pieces, wanted, group_rows):
    """In any order, over any row groups, the first row of each source."""
    folder, truth, n_rows = tmp_path_factory.mktemp("index"), {}, 0
    for number, ids in enumerate(pieces):
        rows = np.arange(n_rows, n_rows + len(ids), dtype=float)
        for source_id, row in zip(ids, rows.tolist(), strict=True):
            truth.setdefault(source_id, row)
        columns = {"source_id": np.array(ids), "ra": rows, "dec": rows, "phot_g_mean_flux": rows}
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", row_group_size=group_rows)
        n_rows += len(ids)
    given_table = open_sources(str(folder), NONE)
    place = Storage(str(tmp_path_factory.mktemp("store")))
    given_table.prepare(place)
    index = SourceIndex.from_json(place.read(f"{given_table.key}.json"))
    found = index.match(np.array(wanted, int))
    assert found.found.tolist() == [source_id in truth for source_id in wanted]
    expected = [truth.get(source_id, np.nan) for source_id in wanted]
    np.testing.assert_array_equal(found.values["ra"], expected)


@given(PIECES)
def test_rows_are_sorted_and_those_of_one_source_keep_their_order(pieces):
    arrays = [np.array(ids, np.int64) for ids in pieces]
    starts = np.cumsum([0, *(len(ids) for ids in arrays)])
    rows = (
        (a, {"ra": np.arange(s, s + len(a), dtype=float)})
        for a, s in zip(arrays, starts, strict=False)
    )
    found = pa.concat_tables(sorted_parts(rows))
    every = np.concatenate(arrays)
    order = np.argsort(every, kind="stable")
    np.testing.assert_array_equal(found["source_id"].to_numpy(), every[order])
    np.testing.assert_array_equal(found["ra"].to_numpy(), order)


# -- companions


@pytest.fixture(scope="module")
def rich(sources):
    """The table of sources with values for all companions but one, which it lacks."""
    rng = np.random.default_rng(5)
    table = sources.drop_columns([name for name in COMPANIONS if name in sources.column_names])
    for name in OF_SOURCES[:-1]:
        values = rng.normal(size=len(table)).astype(COMPANIONS[name].dtype)
        table = table.append_column(name, pa.array(values, mask=rng.random(len(table)) < 0.1))
    return table


@pytest.mark.parametrize("chosen", [OF_SOURCES, ["parallax", "ruwe"], ["ruwe"], []])
@pytest.mark.parametrize("form", ["hats", "shuffled"])
def test_companions_come_along(form, chosen, alone, rich, tmp_path):
    place = write_form(form, rich, tmp_path / "sources")
    store = ingest(alone, tmp_path / "store", place, ColumnChoice(companions=tuple(chosen)))
    assert store.companions == tuple(name for name in chosen if name != "ruwe")
    ids = rich["source_id"].to_numpy()
    for partition in store.partitions:
        batch = store.read(partition)
        rows = [np.flatnonzero(ids == source_id)[0] for source_id in batch.source_id]
        assert tuple(batch.companions) == store.companions
        for name, values in batch.companions.items():
            np.testing.assert_array_equal(values, rich[name].take(rows).to_numpy())
            assert values.dtype == COMPANIONS[name].dtype


def test_companions_of_the_archive_and_of_parquet(archive, alone, sources, tmp_path):
    """From gaia_source as from a table of the same rows; and Parquet is read as the store is."""
    pq.write_table(sources, tmp_path / "s.parquet")
    own = ingest(archive, tmp_path / "own", choice=ColumnChoice())
    joined = ingest(alone, tmp_path / "joined", tmp_path / "s.parquet", ColumnChoice())
    assert own.companions == tuple(COMPANIONS)
    assert own.digest == joined.digest


def test_companion_columns_have_unit_ucd_and_description():
    layout = TableLayout(6, 110, DR3, companions=tuple(COMPANIONS))
    columns = {column.name: column for column in layout.columns("latents")}
    for name, companion in COMPANIONS.items():
        assert columns[name].unit == companion.unit
        assert columns[name].ucd == companion.ucd
        assert companion.description in columns[name].description


def test_an_unknown_companion_is_refused(alone, tmp_path):
    result = xpscale("ingest", alone, tmp_path / "store", "--companions", "ruwe,colour")
    assert result.code == InvalidInputError.exit_code
    assert "'colour'" in result.err
    assert "ruwe" in result.err


# -- positions


def test_positions_from_identifiers(alone, sources, tmp_path):
    """G flux is all that the table needs to have; the store says what its positions are."""
    bright = sources.select(["source_id", "phot_g_mean_mag", "phot_g_mean_flux"])
    pq.write_table(bright.drop_columns(["phot_g_mean_mag"]), tmp_path / "s.parquet")
    options = ["--sources", tmp_path / "s.parquet", "--workers", 0]
    refused = xpscale("ingest", alone, tmp_path / "store", *options)
    assert refused.code == InvalidInputError.exit_code
    assert "lacks ra, dec" in refused.err
    options += ["--positions", "from-source-id"]
    assert xpscale("ingest", alone, tmp_path / "store", *options).code == 0
    store = open_spectra(tmp_path / "store")
    assert store.pixel_positions
    assert "level-12 HEALPix pixel" in store.attributes["position"]
    assert store.report["n_written"] == len(ROWS)
    found = store.find(ROWS.source_id.tolist())
    index = healpix_29(found.ra, found.dec) >> 2 * (29 - MAX_ORDER)
    np.testing.assert_array_equal(index, source_id_pixel(found.source_id, MAX_ORDER))
    columns = TableLayout(6, 110, store.release, pixel_positions=True).columns("latents")
    assert "level-12" in next(column for column in columns if column.name == "ra").description


@given(st.lists(st.integers(0, 12 * 4**MAX_ORDER - 1), max_size=20))
def test_the_centre_of_a_pixel_lies_in_it(pixels):
    ids = (np.array(pixels, np.int64) << 35) + 17
    ra, dec = source_id_position(ids)
    np.testing.assert_array_equal(healpix_29(ra, dec) >> 2 * (29 - MAX_ORDER), pixels)


# -- the real archive, on S3


@pytest.mark.s3
def test_the_archive_without_gaia_source_from_hats_on_s3(real_archive, tmp_path, monkeypatch):
    """Of a catalogue of sources with 152 columns only the needed columns of the needed row groups
    are read.
    """
    from tests.support.services import seaweedfs

    shutil.copytree(
        real_archive / "xp_continuous_mean_spectrum", tmp_path / "in/xp_continuous_mean_spectrum"
    )
    rng, table = np.random.default_rng(1), gaia_source_table(real_archive)
    needed = {"source_id", "ra", "dec", "phot_g_mean_flux", *COMPANIONS}
    for i, field in enumerate(table.schema):  # a real catalogue does not compress to nothing
        if field.name not in needed and field.type == pa.float64():
            table = table.set_column(i, field.name, pa.array(rng.normal(size=len(table))))
    elsewhere = table.slice(0, 500)
    others = {"ra": rng.uniform(250, 260, 500), "source_id": np.arange(500) + (150_000 << 43)}
    for name, values in others.items():
        i = table.column_names.index(name)
        elsewhere = elsewhere.set_column(i, name, pa.array(values))
    n_read, read_range = Counter(), Storage.read_range

    def counted(storage, key, start, n_bytes):
        n_read[key] += n_bytes
        return read_range(storage, key, start, n_bytes)

    expected = ingest(real_archive, tmp_path / "expected", choice=ColumnChoice())
    with seaweedfs(tmp_path / "weed") as service, service.apply():
        place = "s3://xpscale/gaia"
        write_hats_sources(pa.concat_tables([table, elsewhere]), place, 2, row_group_rows=20_000)
        sizes = {f"dataset/{key}": n for key, n in Storage(f"{place}/dataset").list().items()}
        monkeypatch.setattr(Storage, "read_range", counted)
        plan = plan_ingest(
            str(tmp_path / "in"), str(tmp_path / "store"), sources=place, max_rows=90
        )
        n_planned = n_read.total()
        n_read.clear()
        store = run_ingest(plan)[0]
    of_sources = {key: n for key, n in n_read.items() if key in sizes}
    print(f"{sum(sizes.values()):,} bytes in {len(sizes)} leaves of sources: {n_planned:,} read of")
    print(f"their footers, {sum(of_sources.values()):,} of {len(of_sources)} leaves for the join")
    assert store.digest == expected.digest
    assert store.report["n_rejected"] == expected.report["n_rejected"]
    largest = max(sizes, key=sizes.get)
    print(f"of the largest leaf {of_sources[largest]:,} of {sizes[largest]:,}")
    assert of_sources[largest] < sizes[largest] / 5
    index = healpix_29(elsewhere["ra"].to_numpy(), elsewhere["dec"].to_numpy())
    mine = healpix_29(table["ra"].to_numpy(), table["dec"].to_numpy())
    unneeded = {*(index >> 54).tolist()} - {*(mine >> 54).tolist()}
    assert unneeded
    assert not {hats_pixel(key).number for key in of_sources} & unneeded
