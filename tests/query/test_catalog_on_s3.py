from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.services import seaweedfs
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.query.catalog import open_catalog
from xpscale.storage import Storage


@pytest.fixture(scope="module")
def remote(example, tmp_path_factory):
    """The example catalogue, copied into a bucket."""
    with seaweedfs(tmp_path_factory.mktemp("s3"), buckets=("derived",)) as service, service.apply():
        storage = Storage("s3://derived/dr3/cat")
        for path in Path(example.url).rglob("*"):
            if path.is_file():
                storage.replace(path.relative_to(example.url).as_posix(), path.read_bytes())
        yield storage


@pytest.mark.s3
def test_queries_on_s3_are_those_on_disk(cat, example, remote):
    there = open_catalog(remote.url)
    assert repr(there) == repr(cat)
    for query in (
        lambda c: c.cone(0, 0, 2).where("reduced_chi2 < 1").with_spectra(),
        lambda c: c.at([*example.movers[:3], 17]),
    ):
        assert query(there).to_table().equals(query(cat).to_table())
    assert there.at([17]).missing.tolist() == [17]
    select = "SELECT count(*) AS n, max(scatter[1]) AS s FROM spectra"
    assert there.sql(select).equals(cat.sql(select))


@pytest.mark.s3
def test_s3_is_read_only_and_gaps_are_named(remote):
    there = open_catalog(remote.url)
    part = there.manifest.of("latents")[3]
    before = remote.list()
    for query in (
        f"COPY latents TO '{remote.url}/{part.key}'",
        f"SELECT * FROM '{remote.url}/stray.parquet'",
    ):
        with pytest.raises(InvalidInputError):
            there.sql(query)
    assert remote.list() == before
    remote.delete(part.key)
    with pytest.raises(NotFoundError, match="catalog check"):
        there.where("reduced_chi2 < 1").to_table()
    with pytest.raises(NotFoundError, match="not an xpscale catalogue"):
        open_catalog("s3://derived/nothing")
