"""A site's files: what they hold, whose place they take, how they are renewed."""

import gzip
import json

import numpy as np
import pytest

from tests.catalog.random_catalog import LAYOUT, fill, identity
from xpscale.catalog.commit import build_manifest, commit
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError, PlanError
from xpscale.query.catalog import open_catalog
from xpscale.site import make_site
from xpscale.site.bins import Axis, Bins, grid_bins
from xpscale.storage import Storage


def unpack(data):
    """The values of a file: see `xpscale.site.tiles`."""
    planes = np.frombuffer(gzip.decompress(data), np.uint8).reshape(4, -1)
    return np.ascontiguousarray(planes.T).view("<f4")[:, 0]


def described(site):
    return json.loads(site.read("site.json"))


def binned(site, key, column):
    """Counts and means of the coarsest level, all bins."""
    found = described(site)
    level = found["maps"][key]["levels"][0]
    place = f"{found['data']}/{key}/{level['order']}/0"
    counts = unpack(site.read(f"{place}/count.bin"))
    means = np.full(len(counts), np.nan, np.float32)
    means[counts > 0] = unpack(site.read(f"{place}/{column}.bin"))
    return counts, means


def test_the_sky_has_counts_and_means_of_healpix_pixels(catalog, site):
    table = catalog.select().to_table()
    pixel = table["_healpix_29"].to_numpy() >> 2 * (29 - 6)
    counts, means = binned(site, "sky", "kl")
    assert counts.tolist() == np.bincount(pixel, minlength=12 << 12).tolist()
    expected = np.bincount(pixel, table["kl"].to_numpy(), 12 << 12)
    np.testing.assert_allclose((counts * means)[counts > 0], expected[counts > 0], rtol=2e-3)
    _, flagged = binned(site, "sky", "flags")
    share = np.bincount(pixel, table["flags"].to_numpy() != 0, 12 << 12)[counts > 0]
    np.testing.assert_allclose(flagged[counts > 0] * counts[counts > 0], share, rtol=2e-3)


def test_a_map_of_latents_has_every_source_in_the_cell_of_its_latents(catalog, site):
    table = catalog.select().to_table()
    axes = described(site)["axes"]
    cells = [
        ((table[a["name"]].to_numpy() - a["low"]) / (a["high"] - a["low"]) * 256).astype(int)
        for a in (axes[1], axes[4])
    ]
    counts, means = binned(site, "map/1-4", "nll")
    assert counts.sum() == catalog.n_rows
    bins = grid_bins(*(np.clip(c, 0, 255) for c in cells))
    assert counts.tolist() == np.bincount(bins, minlength=1 << 16).tolist()
    expected = np.bincount(bins, table["nll"].to_numpy(), 1 << 16)[counts > 0]
    np.testing.assert_allclose((counts * means)[counts > 0], expected, rtol=2e-3)


@pytest.mark.parametrize("few_parts", [0, 2048])
def test_the_index_of_parts_names_those_with_sources_in_a_cell(
    catalog, tmp_path, monkeypatch, few_parts
):
    monkeypatch.setattr("xpscale.site.part_index.FEW_PARTS", few_parts)
    site = make_site(catalog, str(tmp_path / "site"), columns=("kl",))
    found = described(site)
    axes, place = found["axes"], f"{found['data']}/map/0-1/parts"
    parts = catalog.manifest.of("latents")
    expected = set()
    for number, part in enumerate(parts):
        first, stop = part.pixel.index_range
        inside = catalog.where(f"_healpix_29 >= {first} AND _healpix_29 < {stop}").to_table()
        x, y = (
            ((inside[a["name"]].to_numpy() - a["low"]) / (a["high"] - a["low"]) * 64).astype(int)
            for a in axes[:2]
        )
        cells = grid_bins(np.clip(x, 0, 63), np.clip(y, 0, 63))
        expected |= {(number, cell) for cell in cells.tolist()}
    noted, n = set(), found["maps"]["map/0-1"]["cells"]
    for key in site.list(place):
        block = int(key.rpartition("/")[2].removesuffix(".bin"))
        bits = np.frombuffer(gzip.decompress(site.read(key)), np.uint8).reshape(n, -1)
        cell, number = np.nonzero(np.unpackbits(bits, axis=1, count=len(parts)))
        noted |= set(zip(number.tolist(), (cell + n * block).tolist(), strict=True))
    assert noted == expected


@pytest.mark.parametrize("order", [1, 2, 5])
def test_coarser_bins_hold_the_same_rows(order):
    rng = np.random.default_rng(order)
    bins, fine = rng.integers(0, 4**order, 1000), Bins.zeros(4**order, 1)
    values = np.where(rng.random(1000) < 0.1, np.nan, rng.normal(size=1000))
    for some in np.array_split(np.arange(1000), 3):
        fine.add(bins[some], [values[some]])
    coarse = Bins.zeros(4 ** (order - 1), 1)
    coarse.add(bins >> 2, [values])
    merged = fine.coarser()
    everything = slice(0, 4 ** (order - 1))
    assert merged.counts.tolist() == coarse.counts.tolist()
    np.testing.assert_allclose(merged.mean(0, everything), coarse.mean(0, everything), rtol=1e-4)


def test_values_outside_an_axis_are_counted_at_its_edge():
    axis = Axis("x", -1.0, 1.0)
    assert axis.cells(np.array([-9.0, -1.0, 0.0, 0.999, 1.0, 9.0]), 3).tolist() == [
        0,
        0,
        4,
        7,
        7,
        7,
    ]


@pytest.mark.parametrize("there", ["index.html", "notes.txt", "deep/in/a/folder.txt"])
def test_a_place_with_other_files_is_left_alone(catalog, tmp_path, there):
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).write_text("mine")
    with pytest.raises(ConflictError, match=r"index.html|notes.txt|folder.txt"):
        make_site(catalog, str(tmp_path))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / there]
    assert (tmp_path / there).read_text() == "mine"


def test_places_that_cannot_hold_a_site_are_named(catalog, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConflictError, match="is a file"):
        make_site(catalog, str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(InvalidInputError, match="can only be read"):
        make_site(catalog, "https://example.org/page")


def test_the_site_of_another_catalogue_is_left_alone(site, tmp_path):
    other = Storage(str(tmp_path / "catalog"))
    commit(other, build_manifest(other, fill(other, identity(model_id="model-2"))))
    before = site.list()
    with pytest.raises(ConflictError, match="belongs to another catalogue's site"):
        make_site(other, site)
    assert site.list() == before


def test_a_new_version_replaces_the_older_one_and_keeps_what_is_current(catalog, tmp_path):
    place = make_site(catalog, str(tmp_path / "site"), columns=("kl",))
    older = described(place)["data"]
    make_site(catalog, place, columns=("kl", "nll"))
    newer = described(place)["data"]
    assert newer != older
    assert {key.split("/")[1] for key in place.list("data")} == {newer.split("/")[1]}
    assert described(place)["drawn"] == ["kl", "nll"]


def test_an_interrupted_build_goes_on_with_the_maps_that_are_missing(catalog, tmp_path):
    place, read = Storage(str(tmp_path / "site")), []

    def stop_late(n):
        read.append(n)
        if sum(read) > 2.5 * catalog.n_rows:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_site(catalog, place, columns=("kl",), allowed_bytes=1 << 20, on_rows=stop_late)
    assert not place.exists("site.json")
    finished = {key for key in place.list("data") if key.endswith("map.json")}
    assert 0 < len(finished) < 16
    said = []
    make_site(catalog, place, columns=("kl",), say=said.append)
    assert f"{16 - len(finished)} of 16 maps" in " ".join(said)
    whole = make_site(catalog, str(tmp_path / "whole"), columns=("kl",))
    assert place.list("data") == whole.list("data")


def test_memory_bounds_the_maps_of_a_pass(catalog, tmp_path):
    said = []
    make_site(catalog, str(tmp_path / "a"), columns=("kl",), allowed_bytes=3 << 20, say=said.append)
    assert sum(line.startswith("pass ") for line in said) == 3
    with pytest.raises(PlanError, match="--memory"):
        make_site(catalog, str(tmp_path / "b"), columns=("kl",), allowed_bytes=100_000)


def test_an_unknown_column_is_named_and_nothing_is_written(catalog, tmp_path):
    with pytest.raises(InvalidInputError, match="kll"):
        make_site(catalog, str(tmp_path / "site"), columns=("kll",))
    assert not (tmp_path / "site").exists()


def test_a_catalogue_in_the_middle_of_its_first_commit_is_none(tmp_path):
    storage = Storage(str(tmp_path / "catalog"))
    fill(storage)
    with pytest.raises(NotFoundError, match="published"):
        make_site(storage, str(tmp_path / "site"))
    assert not (tmp_path / "site").exists()


def test_a_part_that_cannot_be_read_is_named(tmp_path):
    storage = Storage(str(tmp_path / "catalog"))
    commit(storage, build_manifest(storage, fill(storage)))
    part = open_catalog(storage).manifest.of("latents")[1].key
    path = tmp_path / "catalog" / part
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidInputError, match=part):
        make_site(storage, str(tmp_path / "site"))
    path.unlink()
    with pytest.raises(NotFoundError, match=part):
        make_site(storage, str(tmp_path / "site"))


def test_where_the_page_looks_for_the_catalogue(catalog, tmp_path):
    from xpscale.site.data_url import data_url

    inside, beside = Storage("/a/cat/page"), Storage("/a/page")
    assert data_url(Storage("/a/cat"), inside, None) == "../"
    assert data_url(Storage("/a/cat"), beside, None) == "../cat/"
    assert data_url(Storage("/a/cat"), Storage("/b/page"), None) == ""
    assert data_url(Storage("/a/50% of #1"), beside, None) == "../50%25%20of%20%231/"
    assert data_url(Storage("s3://b/cat"), Storage("s3://b/page"), None) == "../cat/"
    assert data_url(Storage("s3://b/cat"), Storage("/b/page"), None) == ""
    assert data_url(Storage("https://h/cat"), Storage("/b"), None) == "https://h/cat/"
    assert data_url(Storage("/a/cat"), Storage("/b"), "https://h/x") == "https://h/x/"


def test_catalogues_keep_sound_with_a_site_inside(tmp_path):
    from xpscale.catalog.check import check

    storage = Storage(str(tmp_path / "catalog"))
    commit(storage, build_manifest(storage, fill(storage)))
    make_site(storage, storage / "site")
    assert check(storage).problems == ()


def test_flags_of_the_page_are_those_of_the_schema(site):
    from xpscale.schema import Flag

    assert {int(bit) for bit in described(site)["flags"]} == {flag.value for flag in Flag}
    names = [column["name"] for column in described(site)["columns"]]
    assert names == [column.name for column in LAYOUT.columns("latents")]
