"""A derived catalogue on a plain web server is queried as on disk. Case F19."""

from dataclasses import replace

import pytest

from tests.archive.faulty_web import Fault, faulty_web
from tests.catalog.random_catalog import fill
from tests.support.web import counted_web
from xpscale.catalog.check import check
from xpscale.catalog.commit import build_manifest, commit
from xpscale.catalog.layout import snapshot_key
from xpscale.catalog.manifest import Quarantined
from xpscale.catalog.snapshots import current, read_manifest
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.query.catalog import open_catalog
from xpscale.storage import Storage


@pytest.fixture(params=["cat", "run #1 [a]"])
def served(request, tmp_path):
    storage = Storage(str(tmp_path / request.param / "cat"))
    commit(storage, build_manifest(storage, fill(storage)))
    with faulty_web(tmp_path) as web:
        yield storage, Storage(web.url) / request.param / "cat", web


def test_it_is_queried_as_on_disk(served):
    storage, place, _ = served
    here, there = open_catalog(storage), open_catalog(place.url)
    assert repr(there) == repr(here)
    rows = here.where("reduced_chi2 > 0").with_spectra().to_table()
    assert there.where("reduced_chi2 > 0").with_spectra().to_table().equals(rows)
    some = rows["source_id"].to_pylist()[:5]
    assert there.at(some).to_table().equals(here.at(some).to_table())
    count = "SELECT count(*) AS n, max(scatter[1]) AS s FROM spectra"
    assert there.sql(count).equals(here.sql(count))


def test_a_server_without_ranges_or_without_a_part_is_told_in_one_line(served):
    storage, place, web = served
    there = open_catalog(place.url)
    part = there.manifest.of("latents")[0]
    web.fault = lambda method, key: Fault(ignore_range=True)
    with pytest.raises(InvalidInputError, match="sends whole files only"):
        there.sql("SELECT sum(kl) FROM latents")
    del web.fault
    storage.delete(part.key)
    with pytest.raises(NotFoundError, match=r"Npix.* is in the manifest"):
        there.sql("SELECT sum(kl) FROM latents")


@pytest.mark.parametrize("status", [403, 404])
def test_versions_are_counted_also_where_what_is_not_there_is_forbidden(served, status):
    _, place, web = served
    web.always["*"] = None
    fault = type(web).fault.__get__(web)
    web.fault = lambda method, key: (
        Fault(status=status) if key.endswith("000002.json") else fault(method, key)
    )
    assert open_catalog(place.url).snapshot.number == 1
    web.fault = lambda method, key: Fault(status=403)
    with pytest.raises(InvalidInputError, match="no permission"):
        open_catalog(place.url)


def test_the_newest_version_is_found_with_few_requests(tmp_path):
    storage = Storage(str(tmp_path / "cat"))
    reports = fill(storage)
    commit(storage, build_manifest(storage, reports))
    manifest = read_manifest(storage, current(storage))
    for number in range(2, 9):
        more = Quarantined(f"task {number}", 1, "made up")
        commit(storage, replace(manifest, quarantined=(more,), stored_digest=""))
    with counted_web(tmp_path) as web:
        assert open_catalog(f"{web.url}/cat").snapshot.number == 8
        assert web.n_requests == 3
        storage.delete(snapshot_key(8))  # a commit that has written its HATS metadata
        assert open_catalog(f"{web.url}/cat").snapshot.number == 7
        storage.delete("collection.properties")
        assert open_catalog(f"{web.url}/cat").snapshot.number == 7


def test_it_is_checked_without_a_listing(served):
    storage, place, _ = served
    assert check(Storage(place.url)).ok
    part = open_catalog(storage).manifest.parts[0]
    data = bytearray(storage.read(part.key))
    data[99] ^= 1
    storage.replace(part.key, bytes(data))
    assert check(Storage(place.url), deep=False).ok
    assert "sha256" in check(Storage(place.url)).problems[0]
    storage.delete(part.key)
    assert check(Storage(place.url), deep=False).problems[0].endswith("is missing")
