"""A spectra store written and read back, and everything that can be wrong with one."""

import json
import pickle

import numpy as np
import pytest
import zarr

from xpscale.bands import Bands
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.release import DR3
from xpscale.sky import Pixel, healpix_29
from xpscale.spectra import SpectraBatch
from xpscale.storage import Storage
from xpscale.store import writer
from xpscale.store.check import check_store
from xpscale.store.info import store_info
from xpscale.store.layout import ARRAYS, CHUNK_ROWS
from xpscale.store.reader import open_store
from xpscale.store.writer import sort_by_position, write_partition
from xpscale.testing.universe import Universe
from xpscale.types import Stopwatch


def same(a, b):
    for spec in ARRAYS:
        left, right = getattr(a, spec.name), getattr(b, spec.name)
        assert left.dtype == right.dtype == spec.dtype
        assert left.tobytes() == right.tobytes()


def test_rows_come_back_bit_for_bit_sorted_by_position(store, universe_rows):
    assert len(store.partitions) > 5
    same(SpectraBatch.concatenate(store.read(p) for p in store.partitions), universe_rows)
    index = healpix_29(universe_rows.ra, universe_rows.dec)
    assert np.all(np.diff(index) >= 0)
    assert (store.n_rows, store.n_coefficients, store.bands) == (500, 110, Bands(55, 55))
    first = store.partitions[0]
    assert store.read(first, errors=False).coefficient_errors is None
    assert check_store(store).ok
    info = store_info(store.storage)
    assert sum(info.magnitudes.values()) == info.n_rows == 500
    assert info.n_read == 502


def test_only_the_arrays_that_are_asked_for_are_fetched(store, monkeypatch):
    fetched = []
    read = Storage.read
    monkeypatch.setattr(Storage, "read", lambda at, key: fetched.append(at.url) or read(at, key))
    store.read_columns(store.partitions[0], ["phot_g_mean_flux", "ra"])
    assert {url.rsplit("/", 1)[-1] for url in fetched} == {"phot_g_mean_flux", "ra"}


def test_every_array_is_one_object_and_plain_zarr_reads_it(store, universe_rows):
    root = zarr.open_group(store.url, mode="r")
    assert root.attrs["credit"].startswith("This work has made use of data from")
    n = 0
    for partition in store.partitions:
        group = root[partition.key]
        keys = [key for key in store.storage.list(partition.key) if "/c/" in key]
        assert len(keys) == len(ARRAYS)
        for spec in ARRAYS:
            assert group[spec.name].attrs["units"] == spec.unit
            expected = getattr(universe_rows, spec.name)[n : n + partition.n_rows]
            assert np.array_equal(group[spec.name][:], expected)
        n += partition.n_rows
    assert n == 500


def test_a_partition_of_several_chunks_is_still_one_object_an_array(
    tmp_path, universe_rows, monkeypatch, build
):
    monkeypatch.setattr(writer, "CHUNK_ROWS", 64)
    store = build(tmp_path / "chunks", universe_rows, max_rows=10**6)
    assert max(p.n_rows for p in store.partitions) > 64
    same(SpectraBatch.concatenate(store.read(p) for p in store.partitions), universe_rows)
    assert sum("/c/" in key for key in store.storage.list()) == len(ARRAYS) * len(store.partitions)


def test_find_follows_movers(store, universe_rows):
    rng = np.random.default_rng(0)
    wanted = rng.choice(universe_rows.source_id, 40, replace=False).tolist()
    moved = []
    for partition in store.partitions:
        ids = store.read(partition).source_id
        low, high = partition.pixel.range_at(12)
        moved += ids[(ids >> 35 < low) | (ids >> 35 >= high)].tolist()
    assert moved, "the universe has no movers between partitions"
    found = store.find([*wanted, *moved, 17])
    assert sorted(found.source_id.tolist()) == sorted({*wanted, *moved})
    row = {i: r for r, i in enumerate(universe_rows.source_id.tolist())}
    same(found, universe_rows.take(np.array([row[i] for i in found.source_id.tolist()])))
    assert len(store.find([17])) == len(store.find([])) == 0


def test_writing_again_changes_nothing_and_other_rows_conflict(store, universe_rows):
    partition = store.partitions[0]
    rows = store.read(partition)
    before = store.storage.list()
    first, second = (write_partition(store.storage, partition.pixel, rows, DR3) for _ in range(2))
    assert first == second
    assert store.storage.list() == before
    changed = SpectraBatch(*(getattr(rows, spec.name).copy() for spec in ARRAYS), bands=rows.bands)
    changed.coefficients[0, 0] += 1
    with pytest.raises(ConflictError, match="other content"):
        write_partition(store.storage, partition.pixel, changed, DR3)


def test_rows_that_do_not_belong_are_not_written(store):
    rows = store.read(store.partitions[0])
    pixel = store.partitions[0].pixel
    for bad, where in [
        (rows.take(np.arange(len(rows))[::-1]), pixel),
        (rows, store.partitions[1].pixel),
        (rows.take(slice(0)), pixel),
    ]:
        with pytest.raises(InvalidInputError, match="empty, unsorted or reach outside"):
            write_partition(store.storage, where, bad, DR3)


def test_a_store_travels_as_its_address_and_notices_when_it_is_replaced(
    store, tmp_path, universe_rows, build
):
    copy = pickle.loads(pickle.dumps(store))
    assert copy.partitions == store.partitions
    assert len(pickle.dumps(store)) < 1000
    same(copy.read(copy.partitions[0]), store.read(store.partitions[0]))
    frozen = pickle.dumps(build(tmp_path / "other", universe_rows))
    import shutil

    shutil.rmtree(tmp_path / "other")
    build(tmp_path / "other", universe_rows, max_rows=400)
    with pytest.raises(ConflictError, match="replaced"):
        pickle.loads(frozen)


def rewrite(store, key, change):
    value = json.loads(store.storage.read(key))
    change(value)
    store.storage.replace(key, json.dumps(value).encode())


def flip(store, part):
    key = next(k for k in sorted(store.storage.list()) if part in k)
    data = bytearray(store.storage.read(key))
    data[len(data) // 2] ^= 1
    store.storage.replace(key, bytes(data))


DAMAGE = {
    "flipped byte": (lambda s: flip(s, "/coefficients/c/0/0"), "sha256 differs"),
    "flipped byte in metadata": (lambda s: flip(s, "/ra/zarr.json"), "sha256 differs"),
    "missing shard": (
        lambda s: s.storage.delete(
            next(k for k in s.storage.list() if "/coefficient_errors/c" in k)
        ),
        "does not exist",
    ),
    "short object": (
        lambda s: s.storage.replace(
            k := next(k for k in s.storage.list() if "/dec/c" in k), s.storage.read(k)[:-1]
        ),
        "bytes, the store lists",
    ),
    "wrong count": (
        lambda s: rewrite(
            s, "_xpscale/partitions.json", lambda v: v[0].update(n_rows=v[0]["n_rows"] + 1)
        ),
        "does not have the",
    ),
    "partition left out": (
        lambda s: rewrite(s, "_xpscale/partitions.json", lambda v: v.pop()),
        "not list it",
    ),
    "table of another store": (
        lambda s: rewrite(s, "zarr.json", lambda v: v["attributes"].update(digest="0" * 64)),
        "digest",
    ),
    "stray object": (lambda s: s.storage.replace("Norder=3/Npix=1/stray", b"x"), "not list it"),
    "report that does not reconcile": (
        lambda s: rewrite(s, "_xpscale/report.json", lambda v: v.update(n_read=499)),
        "does not reconcile",
    ),
    "file that does not reconcile": (
        lambda s: rewrite(s, "_xpscale/report.json", lambda v: v["files"][0].update(n_written=1)),
        "file f does not reconcile",
    ),
    "report of another number of rows": (
        lambda s: rewrite(s, "_xpscale/report.json", lambda v: v.update(n_read=12, n_written=10)),
        "rows in partitions",
    ),
    "no report": (lambda s: s.storage.delete("_xpscale/report.json"), "report.json"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_every_damage_is_found(name, store):
    plant, says = DAMAGE[name]
    plant(store)
    problems = check_store(open_store(store.url)).problems
    assert any(says in problem for problem in problems), problems


def spoil(kind):
    def change(partitions):
        first, second = list(partitions)[:2]
        rows = partitions[first]
        if kind == "unsorted":
            partitions[first] = rows.take(np.arange(len(rows))[::-1])
        elif kind == "outside":
            partitions[first], partitions[second] = partitions[second], rows
        else:
            partitions[first] = SpectraBatch.concatenate([rows.take([0]), rows])

    return change


@pytest.mark.parametrize(
    ("kind", "says"),
    [("unsorted", "not sorted"), ("outside", "outside its pixel"), ("twice", "a source_id twice")],
)
def test_rows_misplaced_on_purpose_are_found(
    kind, says, tmp_path, universe_rows, build, monkeypatch
):
    monkeypatch.setattr(
        writer.np, "diff", lambda index: np.zeros(1)
    )  # the writer would refuse them
    monkeypatch.setattr(Pixel, "index_range", property(lambda self: (0, 12 * 4**29)))
    store = build(tmp_path / "bad", universe_rows, change=spoil(kind))
    monkeypatch.undo()
    assert any(says in problem for problem in check_store(store).problems)


def test_a_lost_object_is_an_error_and_not_zeros(store):
    partition = store.partitions[1]
    store.storage.delete(f"{partition.key}/coefficients/c/0/0")
    with pytest.raises(NotFoundError, match=f"{partition.key}/coefficients/c/0/0 does not exist"):
        store.read(partition)


def test_what_is_no_finished_store_of_this_version_is_refused(store, tmp_path):
    with pytest.raises(NotFoundError, match="not a spectra store"):
        open_store(str(tmp_path / "nothing"))
    rewrite(store, "zarr.json", lambda v: v["attributes"].update(format_version=99))
    with pytest.raises(InvalidInputError, match="version 99"):
        open_store(store.url)
    rewrite(store, "zarr.json", lambda v: v["attributes"].update(format="another"))
    with pytest.raises(InvalidInputError, match="no spectra store"):
        open_store(store.url)
    store.storage.replace("zarr.json", b"{")
    with pytest.raises(InvalidInputError, match="not JSON"):
        open_store(store.url)
    store.storage.delete("zarr.json")
    store.storage.replace("_xpscale/ingest.json", b"{}")
    with pytest.raises(InvalidInputError, match="has not finished"):
        open_store(store.url)


def test_sorting_is_by_position_then_identifier(universe_rows):
    shuffled = universe_rows.take(np.random.default_rng(1).permutation(len(universe_rows)))
    same(sort_by_position(shuffled), universe_rows)
    twice = SpectraBatch.concatenate([universe_rows.take([5]), universe_rows.take([5])])
    twice.source_id[0] += 1
    assert sort_by_position(twice).source_id.tolist() == sorted(twice.source_id.tolist())


@pytest.mark.parametrize("n_rows", [CHUNK_ROWS, 20_000, 10**9])
def test_blocks_are_the_rows_of_a_read_and_of_plain_zarr(n_rows, tmp_path, build):
    def no_flux(partitions):  # of a chunk that is all zeros zarr keeps nothing
        for rows in partitions.values():
            rows.phot_g_mean_flux[:CHUNK_ROWS] = 0

    store = build(
        tmp_path / "store", Universe(200_000, seed=5).spectra(), max_rows=60_000, change=no_flux
    )
    (partition, *_) = sorted(store.partitions, key=lambda partition: -partition.n_rows)
    assert partition.n_rows > CHUNK_ROWS
    whole, watch, start = zarr.open_group(f"{store.url}/{partition.key}", mode="r"), Stopwatch(), 0
    for batch in store.read_in_blocks(partition, n_rows, watch=watch):
        rows = slice(start, start + n_rows)
        for name in ("source_id", "ra", "phot_g_mean_flux", "coefficients", "coefficient_errors"):
            np.testing.assert_array_equal(getattr(batch, name), whole[name][rows], strict=True)
        start += len(batch)
    assert start == partition.n_rows
    assert watch.n_bytes > 700 * start
    assert {"read_s", "decode_s"} == set(watch.seconds)


def test_a_shard_that_is_cut_off_or_spoilt_is_named(store):
    partition = store.partitions[0]
    key = f"{partition.key}/coefficients/c/0/0"
    data = store.storage.read(key)
    for spoilt in (data[: len(data) // 2], data[:20], bytes(16) + data[16:]):
        store.storage.replace(key, spoilt)
        with pytest.raises(InvalidInputError, match=r"coefficients .*Run 'xpscale store check'"):
            store.read(partition)
