"""The service and a page in one process."""

import json
import shutil
import urllib.request
from urllib.parse import urljoin

import pytest

from tests.query.conftest import example, model  # noqa: F401
from tests.serve.conftest import serving
from xpscale.query.catalog import open_catalog
from xpscale.site import make_site


def get(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
        return answer.status, answer.read()


@pytest.mark.parametrize("where", ["site", "catalog/page"])
def test_the_page_and_the_files_that_it_reads(example, tmp_path, where):  # noqa: F811
    shutil.copytree(example.url, tmp_path / "catalog")
    site = make_site(str(tmp_path / "catalog"), str(tmp_path / where), columns=("kl",))
    (tmp_path / "secret.txt").write_text("not shown")
    part = open_catalog(example.url).manifest.of("latents")[0].key
    with serving(str(tmp_path / "catalog"), "--site", str(site.folder)) as address:
        page = f"{address}/{where if where == 'site' else 'page'}/"
        assert b"<!doctype html>" in get(page)[1]
        catalog = urljoin(page, json.loads(site.read("site.json"))["catalog"])
        assert get(catalog + part, Range="bytes=0-3") == (206, b"PAR1")
        assert get(f"{address}/tap/availability")[0] == 200
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"{address}/secret.txt")
