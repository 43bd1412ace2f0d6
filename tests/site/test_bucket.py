"""A site in a bucket: the same files, with types by which a browser shows them; and a browser that
shows them, reading the catalogue's parts by ranges.
"""

import json

import pytest

from tests.support.services import seaweedfs
from xpscale.site import make_site
from xpscale.storage import Storage


@pytest.mark.s3
def test_a_site_in_a_bucket(catalog, browser, tmp_path):
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
            name: place.upath.fs.info(f"xpscale/site/{name}")["ContentType"]
            for name in ("index.html", "page.js", "page.css", "site.json")
        }
        service.add_identity("anonymous", "Read:xpscale")
        star = catalog.with_spectra().to_table().slice(700, 1).to_pylist()[0]
        with browser.new_page() as page:
            read = []
            page.on("response", lambda reply: read.append((reply.url, reply.status)))
            page.goto(f"{service.endpoint}/xpscale/site/index.html")
            page.fill("#query", str(star["source_id"]))
            page.press("#query", "Enter")
            page.wait_for_selector("#latents-title")
            shown = page.locator("section[aria-labelledby=latents-title] tbody tr").first
            mean = float(shown.locator("td").nth(1).inner_text().replace("−", "-"))
    assert mean == pytest.approx(star["latent_mean_0"], rel=1e-3)
    assert {status for url, status in read if url.endswith(".parquet")} == {206}
    assert types == {
        "index.html": "text/html",
        "page.js": "text/javascript",
        "page.css": "text/css",
        "site.json": "application/json",
    }
