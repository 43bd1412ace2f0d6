"""A published catalogue becomes a whole HATS collection, whatever happens meanwhile."""

import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hats.io.validation import is_valid_collection

from xpscale.catalog.check import check
from xpscale.catalog.clean import clean
from xpscale.catalog.commit import commit
from xpscale.catalog.derived_tables import read_tables
from xpscale.catalog.layout import COLLECTION, INDEX, MARGIN, PAGE, README, STATISTICS_FILE
from xpscale.catalog.manifest import Manifest
from xpscale.catalog.snapshots import current, read_manifest
from xpscale.errors import IncompleteError
from xpscale.flags import Flag
from xpscale.inference.complete import complete
from xpscale.storage import Storage

sys.path.append(str(Path(__file__).parents[1] / "catalog"))
from placed_catalog import PARTITIONS, around, latents_at, publish


def sources() -> pa.Table:
    rng = np.random.default_rng(8)
    places = [around(pixel, rng, 80) for pixel in PARTITIONS]
    ra, dec = (np.concatenate(each) for each in zip(*places, strict=True))
    return latents_at(ra, dec, (np.arange(len(ra)) * 7 + 3) << 30)


@pytest.fixture
def published(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "stars"))
    publish(storage, sources())
    return storage


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Storage, Manifest]:
    storage = Storage(str(tmp_path_factory.mktemp("whole") / "stars"))
    manifest = publish(storage, sources())
    assert not complete(storage).was_complete
    return storage, manifest


def rows_of(storage: Storage, manifest: Manifest) -> pa.Table:
    return pa.concat_tables(
        pq.read_table(f"{storage}/{part.key}") for part in manifest.of("latents")
    )


def test_valid_and_named_in_the_collection(whole):
    storage, manifest = whole
    assert check(storage).ok
    assert check(storage).strays == ()
    assert is_valid_collection(storage.url, strict=True)
    fields = storage.read(COLLECTION).decode().splitlines()
    assert {
        f"all_margins={MARGIN}",
        f"default_margin={MARGIN}",
        f"all_indexes=source_id {INDEX}",
        "default_index=source_id",
    } <= set(fields)
    tables = read_tables(storage, manifest.digest)
    assert tables is not None
    assert tables[INDEX].n_rows == manifest.n_out
    assert tables[MARGIN].n_rows > 100
    assert complete(storage).was_complete


def test_lsdb_finds_identifiers_and_has_the_margin(whole):
    import lsdb

    storage, manifest = whole
    table = rows_of(storage, manifest)
    catalog = lsdb.open_catalog(storage.url)
    for row in (0, 77, table.num_rows - 1):
        wanted = table["source_id"][row].as_py()
        found = catalog.id_search(values={"source_id": wanted}).compute()
        assert found["source_id"].tolist() == [wanted]
    assert len(catalog.id_search(values={"source_id": 5}).compute()) == 0
    assert len(catalog.margin.compute()) > 100
    assert catalog.dtypes["ra"] == "double[pyarrow]"
    assert catalog.original_schema.field("ra").metadata[b"unit"] == b"deg"
    some = table.select(["ra", "dec", "source_id"]).slice(0, 400).to_pandas()
    mine = lsdb.from_dataframe(some, ra_column="ra", dec_column="dec", lowest_order=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*margin.*")
        matched = mine.crossmatch(
            catalog,
            radius_arcsec=9,
            n_neighbors=50,
            suffixes=("_mine", ""),
            suffix_method="all_columns",
        ).compute()
    from astropy.coordinates import SkyCoord
    from astropy.units import arcsec

    ours = SkyCoord(some["ra"], some["dec"], unit="deg")
    all_of_it = SkyCoord(table["ra"].to_numpy(), table["dec"].to_numpy(), unit="deg")
    mine_at, _, _, _ = all_of_it.search_around_sky(ours, 9 * arcsec)
    assert len(matched) == len(mine_at) > len(some)


def test_statistics_are_those_of_the_rows(whole):
    from hats import read_hats

    storage, manifest = whole
    table = rows_of(storage, manifest)
    found = read_hats(f"{storage}/latents").aggregate_column_statistics(exclude_hats_columns=False)
    assert set(found.index) == set(table.column_names)
    for name in table.column_names:
        values = table[name].to_numpy()
        assert found.loc[name, "min_value"] == pytest.approx(values.min(), rel=1e-12)
        assert found.loc[name, "max_value"] == pytest.approx(values.max(), rel=1e-12)
        assert found.loc[name, "row_count"] == len(values)
    by_part = pq.read_table(storage.folder / STATISTICS_FILE)
    assert by_part.num_rows == len(manifest.of("latents"))
    assert sum(by_part["ra::row_count"].to_pylist()) == manifest.n_out


def test_the_coverage_map_has_every_source_and_little_else(whole):
    from astropy.units import deg
    from mocpy import MOC

    storage, manifest = whole
    table, moc = rows_of(storage, manifest), MOC.load(storage.folder / "latents/moc.fits")
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    assert moc.contains_lonlat(ra * deg, dec * deg).all()
    cells = np.unique(table["_healpix_29"].to_numpy() >> 38)
    assert moc.sky_fraction == pytest.approx(len(cells) / (12 * 4**10))


class Outline(HTMLParser):
    """Fails on tags that are not closed in order; keeps the text."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_names_every_column_flag_and_tool(whole):
    storage, manifest = whole
    page = Outline()
    page.feed(storage.read(PAGE).decode())
    page.close()
    assert page.open == []
    text = " ".join(page.text)
    for column in manifest.identity.columns("latents"):
        assert column.name in page.text
        assert column.description in text
    for flag in Flag:
        assert flag.words in text
        assert flag.meaning in text
    for tool in ("xpscale", "lsdb", "DuckDB", "polars", "STILTS", "astropy", "pyarrow"):
        assert tool in text
    least = rows_of(storage, manifest)["ra"].to_numpy().min()
    assert f"{least:.6g} to " in text
    for address in page.addresses:  # nothing is loaded from elsewhere
        assert address.startswith(("#", "data:", "https://"))
    assert 'src="http' not in storage.read(PAGE).decode()
    readme = storage.read(README).decode()
    assert readme.startswith("---\npretty_name:")
    assert f"data_dir: {MARGIN}/dataset" in readme


@pytest.mark.parametrize("key", [STATISTICS_FILE, "margin", "index", PAGE, "latents/moc.fits"])
@pytest.mark.parametrize("damage", ["byte", "missing"])
def test_damage_is_named_and_repaired(published: Storage, key: str, damage: str):
    complete(published)
    tables = read_tables(published, read_manifest(published, current(published)).digest)
    assert tables is not None
    named = {"margin": tables[MARGIN].files[0].key, "index": tables[INDEX].files[0].key}
    key = named.get(key, key)
    data = published.read(key)
    if damage == "byte":
        published.replace(key, data[:20] + bytes([data[20] ^ 1]) + data[21:])
    else:
        published.delete(key)
    assert any(problem.startswith(f"{key} ") for problem in check(published).problems)
    published.delete(key)
    complete(published)
    assert check(published).ok
    assert published.read(key) == data


def test_killed_between_any_two_objects_and_run_again(published: Storage, monkeypatch):
    class Killed(BaseException):
        pass

    replace, left = Storage.replace, 0

    def counted(self: Storage, *arguments):
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return replace(self, *arguments)

    monkeypatch.setattr(Storage, "replace", counted)
    for allowed in (0, 3, 14, 16, 17, 18, 19, 20, 40):
        left = allowed
        try:
            complete(published)
        except Killed:
            assert is_valid_collection(published.url, strict=True)
            is_named = MARGIN in published.read(COLLECTION).decode()
            left = 10**6
            assert is_named <= check(published).ok
    left = 10**6
    complete(published)
    assert check(published).ok


def test_a_later_version_renews_them(tmp_path: Path):
    storage = Storage(str(tmp_path / "stars"))
    table, last = sources(), PARTITIONS[-1]
    start, stop = np.searchsorted(table["_healpix_29"].to_numpy(), last.index_range)
    first = pa.concat_tables([table.slice(0, start), table.slice(stop)])
    publish(storage, first)
    complete(storage)
    old = read_manifest(storage, current(storage))
    manifest = publish(storage, table)
    assert current(storage).number == 2
    assert MARGIN not in storage.read(COLLECTION).decode()
    assert check(storage).ok
    complete(storage)
    assert check(storage).ok
    assert not [stray for stray in check(storage).strays if "earlier version" in stray]
    tables = read_tables(storage, manifest.digest)
    assert tables is not None
    assert tables[INDEX].n_rows == manifest.n_out > old.n_out
    clean(storage, older_than_s=-1, dry_run=False)
    assert len(storage.list("_xpscale/hats")) == 1
    assert check(storage).strays == ()
    assert commit(storage, manifest).number == 2
    assert check(storage).ok


def test_what_others_put_there_stays(published: Storage):
    published.replace(README, b"my own words")
    published.replace(f"{MARGIN}/dataset/Norder=1/Dir=0/Npix=0.parquet", b"theirs")
    with pytest.raises(IncompleteError, match="xpscale did not write it"):
        complete(published)
    published.delete(f"{MARGIN}/dataset/Norder=1/Dir=0/Npix=0.parquet")
    complete(published)
    assert published.read(README) == b"my own words"
    assert check(published).ok
