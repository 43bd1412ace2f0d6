"""A site in a bucket: the same files, with types by which a browser shows them."""

import json

import pytest

from xpscale.site import make_site
from xpscale.storage import Storage
from xpscale.testing.services import seaweedfs


@pytest.mark.s3
def test_a_site_in_a_bucket(catalog, tmp_path):
    local = make_site(catalog, str(tmp_path / "site"), columns=("kl",))
    with seaweedfs(tmp_path / "weed", ("xpscale",)) as service, service.apply():
        bucket = Storage("s3://xpscale")
        for key in catalog.storage.list():
            bucket.create(f"catalog/{key}", catalog.storage.read(key))
        place = make_site(bucket / "catalog", bucket / "site", columns=("kl",))
        # the address of the catalogue differs
        sizes = place.list() | {"site.json": local.size("site.json")}
        assert sizes == local.list()
        assert json.loads(place.read("site.json"))["catalog"] == "../catalog/"
        types = {
            name: place.filesystem.info(f"xpscale/site/{name}")["ContentType"]
            for name in ("index.html", "page.js", "page.css", "site.json")
        }
    assert types == {
        "index.html": "text/html",
        "page.js": "text/javascript",
        "page.css": "text/css",
        "site.json": "application/json",
    }
