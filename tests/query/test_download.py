"""Copies of catalogues, and of shares of them: whole, verified, resumable, and catalogues."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.commands import xpscale
from tests.support.faults import Fault, faulty, make_room, small_disk
from tests.support.services import seaweedfs
from tests.support.web import counted_web
from xpscale.catalog.check import check
from xpscale.catalog.layout import RUN, snapshot_key
from xpscale.catalog.manifest import Manifest
from xpscale.errors import (
    ConflictError,
    IncompleteError,
    InvalidInputError,
    NotFoundError,
    PermanentError,
    TryAgainError,
)
from xpscale.query.catalog import open_catalog
from xpscale.query.download import download as copy
from xpscale.query.reconstruct import reconstruct
from xpscale.schema import IDENTITY_COLUMNS
from xpscale.storage import Storage


def parts_of(url):
    catalog = open_catalog(str(url))
    return {part.key: part.sha256 for part in catalog.manifest.parts}


@pytest.fixture
def own(example, tmp_path):
    """A catalogue to damage."""
    shutil.copytree(example.url, tmp_path / "source")
    return open_catalog(str(tmp_path / "source"))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_whole_copy_is_the_catalogue_and_again_reads_nothing(cat, example, tmp_path):
    done = copy(cat.select(), str(tmp_path / "copy"))
    assert done.n_read == cat.manifest.n_bytes
    assert parts_of(tmp_path / "copy") == parts_of(example.url)
    assert check(Storage(str(tmp_path / "copy"))).problems == ()
    there = open_catalog(str(tmp_path / "copy"))
    assert there.identity == cat.identity
    assert there.where("kl > 0").with_spectra().count() == cat.where("kl > 0").count() > 0
    again = copy(cat.select(), str(tmp_path / "copy"))
    assert (again.n_read, again.snapshot) == (0, done.snapshot)


def test_latents_alone_answer_with_spectra_by_decoding(cat, example, tmp_path):
    copy(cat.select(), str(tmp_path / "copy"), products=["latents"])
    there = open_catalog(str(tmp_path / "copy"))
    assert there.identity.products == ("latents",)
    assert check(there.storage).problems == ()
    ids = example.rows["source_id"].to_numpy()[:20]
    mine, theirs = reconstruct(there.at(ids)), reconstruct(cat.at(ids))
    np.testing.assert_allclose(
        mine.mean, theirs.mean, rtol=1e-5, atol=1e-5 * abs(theirs.mean).max()
    )
    assert there.sql("SELECT max(nll) FROM latents").num_rows == 1


@pytest.mark.parametrize(
    ("narrow", "products"),
    [
        (lambda c: c.cone(0, 0, 3), ("latents", "spectra")),
        (lambda c: c.cone(10, 90, 4).where("flags = 0"), ("latents", "spectra")),
        (
            lambda c: c.where("reconstruction[1] > 0").columns("kl", "scatter"),
            ("latents", "spectra"),
        ),
        (lambda c: c.where("scatter[2] > 0 AND flags < 2").columns("kl"), ("latents",)),
        (lambda c: c.columns("nll"), ("latents",)),
    ],
)
def test_a_share_is_a_catalogue_of_exactly_the_rows_and_columns(cat, tmp_path, narrow, products):
    wanted = narrow(cat)
    copy(wanted, str(tmp_path / "share"))
    there = open_catalog(str(tmp_path / "share"))
    assert there.identity.products == products
    assert check(there.storage).problems == ()
    names = [name for name in there.column_names if name in cat.column_names]
    assert {*wanted.names} <= {*names}
    expected = wanted.columns(*names).to_table().sort_by("_healpix_29")
    assert 0 < expected.num_rows == there.n_rows
    assert there.select().columns(*names).to_table().sort_by("_healpix_29").equals(expected)


def test_a_copy_of_a_share_is_that_share(cat, tmp_path):
    few = cat.cone(0, 0, 5).columns("kl", "flags")
    copy(few, str(tmp_path / "1"), products=["latents"])
    one = open_catalog(str(tmp_path / "1"))
    copy(one.select(), str(tmp_path / "2"))
    two = open_catalog(str(tmp_path / "2"))
    assert (two.identity, two.manifest.parts) == (one.identity, one.manifest.parts)
    copy(two.where("flags = 0").columns("dec"), str(tmp_path / "3"))
    three = open_catalog(str(tmp_path / "3"))
    assert three.column_names == IDENTITY_COLUMNS
    assert {*three["source_id"]} == {*few.where("flags = 0")["source_id"]} != set()
    for name in "123":
        assert check(Storage(str(tmp_path / name))).problems == ()


def test_a_share_of_identifiers_finds_movers(cat, example, tmp_path):
    ids = [*example.movers[:5], *example.rows["source_id"].to_pylist()[:5], 17]
    copy(cat.at(ids), str(tmp_path / "share"))
    there = open_catalog(str(tmp_path / "share"))
    assert {*there.select().to_table()["source_id"].to_pylist()} == {*map(int, ids[:-1])}
    with pytest.raises(ConflictError, match="kept_rows"):
        copy(cat.at(ids[1:]), str(tmp_path / "share"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda c: c.cone(0, 0, 3), lambda c: c.cone(1e-7, 0, 3)),
        (lambda c: c.box((0, 9), (0, 9)), lambda c: c.box((0, 9), (0, 9.0000001))),
        (
            lambda c: c.polygon([(0, 0), (9, 0), (9, 9), (5, 9), (0, 9)]),
            lambda c: c.polygon([(0, 0), (9, 0), (9, 9), (5, 9), (0, 8)]),
        ),
        (lambda c: c.pixel(2, range(16)), lambda c: c.pixel(2, [*range(15), 20])),
    ],
)
def test_a_share_of_another_region_is_another_copy(cat, tmp_path, one, other):
    copy(one(cat), str(tmp_path / "share"))
    assert copy(one(cat), str(tmp_path / "share")).n_read == 0
    with pytest.raises(ConflictError, match="kept_rows"):
        copy(other(cat), str(tmp_path / "share"))


def test_the_first_rows_of_all_are_no_share(cat, tmp_path):
    with pytest.raises(InvalidInputError, match="limit"):
        copy(cat.select().limit(10), str(tmp_path / "share"))
    assert not (tmp_path / "share").exists()


def test_a_wrong_byte_is_named_and_publishes_nothing(own, tmp_path):
    part = own.manifest.of("spectra")[2]
    path = Path(own.storage.url) / part.key
    good = path.read_bytes()
    flip(path)
    for narrow in (own.select(), own.where("kl > 0").columns("scatter")):
        place = tmp_path / f"copy of {narrow.query}"
        with pytest.raises(IncompleteError, match=rf"{part.key} is damaged.*other mirror"):
            copy(narrow, str(place))
        with pytest.raises(NotFoundError, match="no published version"):
            open_catalog(str(place))
    path.write_bytes(good)
    place = tmp_path / f"copy of {own.select().query}"
    done = copy(own.select(), str(place))
    task = sum(p.n_bytes for p in own.manifest.parts if p.pixel == part.pixel)
    assert done.n_read == task  # the others were kept
    assert check(Storage(str(place))).problems == ()


def test_a_wrong_model_is_refused(own, tmp_path):
    flip(Path(own.storage.url) / "_xpscale/model/model.safetensors")
    with pytest.raises(InvalidInputError, match=r"model"):
        copy(own.select(), str(tmp_path / "copy"))
    assert not list((tmp_path / "copy").rglob("*.parquet"))


@pytest.mark.s3
def test_cut_connections_are_survived_or_nothing_is_published(cat, example, tmp_path):
    with seaweedfs(tmp_path / "s3") as s3, faulty(s3) as proxy, proxy.apply():
        place = Storage("s3://xpscale/cat")
        for path in Path(example.url).rglob("*"):
            if path.is_file():
                place.create(path.relative_to(example.url).as_posix(), path.read_bytes())
        there = open_catalog(place.url)
        proxy.arm(Fault("lost", at=8, n=3, method="GET"), Fault("busy", at=20, method="GET"))
        copy(there.select(), str(tmp_path / "copy"))
        assert proxy.struck.get("lost")
        proxy.arm()
        assert check(Storage(str(tmp_path / "copy"))).problems == ()
        copy(cat.cone(0, 0, 5), "s3://xpscale/share")
        assert check(Storage("s3://xpscale/share")).problems == ()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_from_a_web_server_that_lists_nothing(cat, example, tmp_path, scheme):
    tls = tmp_path if scheme == "https" else ""
    with counted_web(Path(example.url).parent, tls=tls) as web, web.trusted():
        there = open_catalog(f"{web.url}/cat")
        web.forget()
        copy(there.select(), str(tmp_path / "copy"))
        # every part once, of the model three files and a look, and whether there are labels
        assert web.n_requests <= len(cat.manifest.parts) + 5
        assert 1 <= web.n_bytes / cat.manifest.n_bytes < 1.5
        copy(there.cone(0, 0, 3), str(tmp_path / "share"))
    assert parts_of(tmp_path / "copy") == parts_of(example.url)
    for name in ("copy", "share"):
        assert check(Storage(str(tmp_path / name))).problems == ()


def test_a_full_disk_is_seen_before_and_survived_after(cat, tmp_path, monkeypatch):
    monkeypatch.setattr("xpscale.runtime.attempt.RETRY_DELAYS_S", (0.01,))
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(tmp_path / "disk", 300_000))
        except NotFoundError as error:
            pytest.skip(str(error))
        with pytest.raises(PermanentError, match=r"needs .* and its disk has .* free"):
            copy(cat.select(), str(disk / "copy"))
        assert not (disk / "copy").exists()
        # of a share nobody knows the size before: the disk fills up on the way
        wanted = cat.cone(0, 90, 30)
        with pytest.raises(TryAgainError, match=r"No space left(?s:.*)again"):
            copy(wanted, str(disk / "copy"))
        with pytest.raises(NotFoundError, match="no published version"):
            open_catalog(str(disk / "copy"))
        make_room(disk, 4 * cat.manifest.n_bytes)
        copy(wanted, str(disk / "copy"))
        assert check(Storage(str(disk / "copy"))).problems == ()


def test_what_is_at_the_destination_stays(cat, example, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ConflictError, match="already holds something else"):
        copy(cat.select(), str(tmp_path / "mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    with pytest.raises(InvalidInputError, match="the catalogue itself"):
        copy(cat.select(), example.url)
    with pytest.raises(InvalidInputError, match="no source in cone"):
        copy(cat.cone(200, 30, 1e-6), str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    for products, message in (
        (["spectra"], "without latents"),
        (["images"], "no product 'images'"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            copy(cat.select(), str(tmp_path / "new"), products=products)


def test_no_manifest_leads_out_of_its_catalogue(own, tmp_path):
    (tmp_path / "secret").write_bytes(b"x" * 9)
    manifest = own.manifest
    for key in ("../secret", "latents/../../secret", "latents/dataset/Norder=0/Dir=0/Npix=1.pq"):
        evil = replace(manifest.parts[0], key=key)
        with pytest.raises(InvalidInputError, match="do not trust"):
            replace(manifest, parts=(evil, *manifest.parts[1:]), stored_digest="")
        text = manifest.to_json().replace(manifest.parts[0].key, key)
        with pytest.raises(InvalidInputError, match="do not trust"):
            Manifest.from_json(text)


def second_version(catalog, n_less):
    """Publish a version that lacks some pixels before the one that is there, and both numbers."""
    parts = catalog.manifest.parts
    pixels = sorted({part.pixel for part in parts}, key=lambda pixel: pixel.index_range)
    kept = tuple(part for part in parts if part.pixel not in pixels[:n_less])
    n = sum(part.n_rows for part in kept if part.key.startswith("latents"))
    older = Manifest(catalog.identity, kept, n)
    storage = catalog.storage
    storage.create(f"_xpscale/manifests/{older.digest}.json", older.to_json().encode())
    first = replace(catalog.snapshot, manifest_key=f"_xpscale/manifests/{older.digest}.json")
    second = replace(catalog.snapshot, number=2, parent=1)
    storage.replace(snapshot_key(1), first.to_json().encode())
    storage.create(snapshot_key(2), second.to_json().encode())
    return older


def test_older_versions_open_and_copies_follow(own, tmp_path):
    older = second_version(own, 3)
    url = own.storage.url
    first, newest = open_catalog(url, snapshot=1), open_catalog(url)
    assert (first.n_rows, newest.n_rows) == (older.n_out, own.n_rows)
    with pytest.raises(NotFoundError, match=r"no snapshot 3(?s:.*)snapshots up to 2"):
        open_catalog(url, snapshot=3)
    copy(first.select(), str(tmp_path / "copy"))
    update = copy(newest.select(), str(tmp_path / "copy"))
    assert update.n_read == newest.manifest.n_bytes - first.manifest.n_bytes
    assert update.snapshot.number == 2
    assert check(Storage(str(tmp_path / "copy"))).problems == ()
    copy(newest.select(), str(tmp_path / "new"), since=1)
    new = open_catalog(str(tmp_path / "new"))
    assert new.n_rows == newest.n_rows - first.n_rows
    assert check(new.storage).problems == ()
    (Path(url) / first.snapshot.manifest_key).unlink()
    with pytest.raises(NotFoundError, match=r"snapshot 1 of .* is gone"):
        open_catalog(url, snapshot=1)


def test_catalogues_of_an_earlier_xpscale_open_and_are_copied(own, tmp_path):
    """They lack columns that are known today, and their identity lacks fields."""
    import hashlib

    import pyarrow.parquet as pq

    from xpscale.catalog.footer import footer_sizes
    from xpscale.catalog.hats import write_hats

    root, parts = Path(own.storage.url), []
    for part in own.manifest.parts:
        table = pq.read_table(root / part.key)
        table = table.drop_columns(
            [n for n in ("in_distribution_score",) if n in table.schema.names]
        )
        pq.write_table(table, root / part.key)
        data = (root / part.key).read_bytes()
        sizes = dict(zip(("footer_bytes", "packed_footer_bytes"), footer_sizes(data), strict=True))
        digest = hashlib.sha256(data).hexdigest()
        parts.append(replace(part, n_bytes=len(data), sha256=digest, **sizes))
    identity = replace(own.identity, schema_version="0")
    fields = json.loads(replace(own.manifest, identity=identity, parts=tuple(parts)).to_json())
    for name in ("kept_products", "kept_columns", "kept_rows", "pixel_positions"):
        del fields["identity"][name]
    text = json.dumps(fields).encode()
    key = f"_xpscale/manifests/{hashlib.sha256(text).hexdigest()}.json"
    own.storage.create(key, text)
    snapshot = replace(own.snapshot, manifest_key=key)
    own.storage.replace(snapshot_key(1), snapshot.to_json().encode())
    own.storage.replace(RUN, json.dumps(fields["identity"]).encode())
    write_hats(own.storage, Manifest.from_json(text), snapshot)

    old = open_catalog(own.storage.url)
    table = old.cone(0, 0, 2).to_table()
    assert "in_distribution_score" not in table.schema.names
    assert table.num_rows
    assert table.schema.field("kl").metadata[b"ucd"] == b"stat.value"
    assert check(own.storage).problems == ()
    copy(old.select(), str(tmp_path / "copy"))
    assert check(Storage(str(tmp_path / "copy"))).problems == ()
    with pytest.raises(InvalidInputError, match="columns of version 0"):
        copy(old.cone(0, 0, 2), str(tmp_path / "share"))


def test_from_the_command_line(example, tmp_path):
    said = xpscale("download", example.url, tmp_path / "dry", "--dry-run")
    assert said.code == 0
    assert "6,000 sources" in said.err
    assert not (tmp_path / "dry").exists()
    arguments = ("--products", "latents", "--cone", "0,0,2", "--columns", "kl", "--json")
    done = xpscale("download", example.url, tmp_path / "share", *arguments)
    assert done.code == 0, done.err
    numbers = json.loads(done.out)
    assert numbers["n_rows"] == open_catalog(str(tmp_path / "share")).n_rows > 0
    asked = xpscale("query", example.url, "--snapshot", "7")
    assert asked.code == 3
    assert "no snapshot 7" in asked.err
