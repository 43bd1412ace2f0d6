"""A small catalogue, its site, and a real browser to look at it."""

import contextlib
import threading

import pytest

from tests.catalog.random_catalog import fill
from tests.debian import debian_command
from xpscale.catalog.commit import build_manifest, commit
from xpscale.query.catalog import open_catalog
from xpscale.site import make_site
from xpscale.site.web_server import site_server
from xpscale.storage import Storage


@pytest.fixture(scope="session")
def catalog(tmp_path_factory):
    storage = Storage(str(tmp_path_factory.mktemp("shown") / "50% of #1"))
    commit(storage, build_manifest(storage, fill(storage)))
    return open_catalog(storage)


@pytest.fixture(scope="session")
def site(catalog):
    return make_site(catalog, catalog.storage.parent / "site")


@pytest.fixture(scope="session")
def serving():
    """Serves sites, as long as there are tests."""
    with contextlib.ExitStack() as stack:

        def serve(site):
            server, address = site_server(site.folder)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return address

        yield serve


@pytest.fixture(scope="session")
def address(site, serving):
    return serving(site)


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        path = debian_command("chromium")
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture
def page(browser, address):
    """A page on which every complaint of the browser fails the test."""
    with browser.new_context(viewport={"width": 1200, "height": 900}) as context:
        page, problems = context.new_page(), []
        page.set_default_timeout(5_000)
        page.on("console", lambda m: m.type in ("error", "warning") and problems.append(m.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.base = address
        yield page
        assert problems == []
