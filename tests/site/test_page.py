"""The page in a real Chromium: what it shows is what the catalogue holds."""

import csv
import functools
import gzip
import http.server
import json
import re
import threading

import numpy as np
import pytest

from tests.catalog.random_catalog import fill, identity
from xpscale.catalog.commit import build_manifest, commit
from xpscale.query.catalog import open_catalog
from xpscale.schema import Flag
from xpscale.site import make_site
from xpscale.site.web_server import site_server
from xpscale.storage import Storage

MAP = "canvas.map[data-order]"


def number(text):
    return float(text.replace("−", "-").replace(",", ""))


def search(page, text):
    page.fill("#query", text)
    page.press("#query", "Enter")


def cells(page, heading):
    """Rows of the table below a heading."""
    rows = page.locator(f"section[aria-labelledby={heading}] tbody tr").all()
    return [row.locator("td").all_inner_texts() for row in rows]


@pytest.fixture
def star(catalog):
    return catalog.with_spectra().to_table().slice(700, 1).to_pylist()[0]


def test_search_finds_a_star_and_its_page_has_the_numbers_of_the_catalogue(page, catalog, star):
    page.goto(page.base)
    search(page, f"Gaia DR3 {star['source_id']}")
    page.wait_for_selector("#neighbours-title ~ div td")
    assert str(star["source_id"]) in page.inner_text("h1:visible")
    for i, (latent, mean, error) in enumerate(cells(page, "latents-title")):
        assert int(latent) == i
        assert number(mean) == pytest.approx(star[f"latent_mean_{i}"], rel=1e-3)
        assert number(error) == pytest.approx(np.exp(star[f"latent_log_var_{i}"] / 2), rel=1e-2)
    shown = {name.split(" / ")[0]: number(value) for name, value, _ in cells(page, "others-title")}
    assert shown["reduced_chi2"] == pytest.approx(star["reduced_chi2"], rel=1e-4)
    assert {"phot_g_mean_flux", "nll", "kl", "n_coefficients"} <= set(shown)
    words = set(page.locator(".flag").all_inner_texts())
    assert words == {f.name.replace("_", " ").lower() for f in Flag if f & star["flags"]}


def test_neighbours_are_the_nearest_of_the_catalogue(page, catalog, star):
    page.goto(f"{page.base}#/star/{star['source_id']}")
    page.wait_for_selector("#neighbours-title ~ div td")
    table = catalog.select().to_table()
    z = np.stack([table[f"latent_mean_{i}"].to_numpy() for i in range(6)], 1)
    here = z[table["source_id"].to_numpy() == star["source_id"]]
    distance = np.hypot.reduce(z - here, axis=1)
    nearest = np.argsort(distance)[1:11]
    shown = cells(page, "neighbours-title")
    assert [int(name) for name, _ in shown] == table["source_id"].to_numpy()[nearest].tolist()
    assert [number(d) for _, d in shown] == pytest.approx(distance[nearest], rel=1e-2)


def test_neighbours_that_come_from_a_sample_say_so(browser, serving, tmp_path, monkeypatch):
    monkeypatch.setattr("xpscale.site.first_look.SAMPLE_ROWS", 800)
    storage = Storage(str(tmp_path / "catalog"))
    commit(storage, build_manifest(storage, fill(storage)))
    source = open_catalog(storage).columns("source_id").to_table()["source_id"][700]
    site = make_site(storage, storage.parent / "site", columns=("kl",))
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{serving(site)}#/star/{source}")
        page.wait_for_selector("#neighbours-title ~ div td")
        said = page.inner_text("#neighbours-title ~ p")
    assert said.startswith("Of a regular sample of 800 of the 1600 sources; of all, by")
    assert f"xpscale query CATALOG --like {source} -n 10" in said


def test_the_spectrum_is_that_of_the_catalogue(page, catalog, star):
    from xpscale.query.wavelength import sample

    page.goto(f"{page.base}#/star/{star['source_id']}")
    line = page.wait_for_selector("path.line-both")
    mean, scatter = (np.array([star[name]]) for name in ("reconstruction", "scatter"))
    ids = np.array([star["source_id"]])
    flux = sample(ids, mean, scatter, catalog.bands, catalog.release).flux[0]
    drawn = np.array(
        [xy.split(",") for xy in line.get_attribute("d")[1:].split("L")], np.float64
    )  # (W, 2)
    assert len(drawn) == len(flux)
    assert np.corrcoef(-drawn[:, 1], flux)[0, 1] > 0.9999
    page.click("summary")
    widths = [
        len(page.locator(f"details [role=img] path.line-{band}").get_attribute("d").split("L"))
        for band in ("bp", "rp")
    ]
    assert widths == [catalog.bands.n_bp, catalog.bands.n_rp]


def listed(page):
    """The rows of the list, from the file that it saves."""
    page.wait_for_selector("#list-save:enabled")
    page.wait_for_selector("#list-stop", state="hidden")
    with page.expect_download() as download:
        page.click("#list-save")
    return list(csv.DictReader(download.value.path().open()))


def draw_triangle(page):
    """Draw a lasso about the middle of the map of latents: the map's box, and the corners."""
    page.click("#latents-lasso")
    box = page.locator("#latents canvas.map").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    triangle = [(x - 180, y + 140), (x + 200, y + 130), (x + 10, y - 150)]
    page.mouse.move(*triangle[0])
    page.mouse.down()
    for corner in (*triangle[1:], triangle[0]):
        page.mouse.move(*corner)
    page.mouse.up()
    return box, triangle


def test_a_lasso_lists_the_rows_inside_it(page, catalog):
    page.goto(f"{page.base}#/latents")
    page.wait_for_selector(f"#latents {MAP}")
    page.select_option("#latents-x", "3")
    page.select_option("#latents-y", "2")
    page.select_option("#latents-colour", "kl")
    box, triangle = draw_triangle(page)
    found = listed(page)
    table = catalog.columns("source_id", "latent_mean_3", "latent_mean_2", "kl").to_table()
    by_id = {row["source_id"]: row for row in table.to_pylist()}
    at = drawn_at(page, box)
    inside = {
        i
        for i, row in by_id.items()
        if in_triangle(at(row["latent_mean_3"], row["latent_mean_2"]), triangle)
    }
    assert 50 < len(inside) < len(by_id) / 2
    assert {int(row["source_id"]) for row in found} == inside
    for row in found:
        assert float(row["kl"]) == pytest.approx(by_id[int(row["source_id"])]["kl"])


def drawn_at(page, box):
    """Where a point of the map is drawn, by the view that the map states and its margins."""
    canvas = page.locator("#latents canvas.map")
    (x0, x1), (y0, y1) = json.loads(canvas.get_attribute("data-view"))
    left, top, right, bottom = 54, 10, 12, 40
    width, height = box["width"] - left - right, box["height"] - top - bottom
    return lambda x, y: (
        box["x"] + left + (x - x0) / (x1 - x0) * width,
        box["y"] + top + (y1 - y) / (y1 - y0) * height,
    )


def in_triangle(point, corners):
    signs = [
        (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0]) > 0
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True)
    ]
    return len(set(signs)) == 1


def test_the_map_of_latents_zooms_and_its_view_can_be_listed(page, catalog):
    page.goto(f"{page.base}#/latents")
    page.wait_for_selector(f"#latents {MAP}")
    canvas = page.locator("#latents canvas.map")
    before = canvas.get_attribute("data-view")
    canvas.focus()
    for key in ("+", "+", "ArrowLeft"):
        page.keyboard.press(key)
    page.wait_for_function(
        "before => document.querySelector('#latents canvas.map').dataset.view !== before",
        arg=before,
    )
    page.click("#latents-list")
    found = listed(page)
    (x0, x1), (y0, y1) = json.loads(canvas.get_attribute("data-view"))
    where = f"latent_mean_0 BETWEEN {x0} AND {x1} AND latent_mean_1 BETWEEN {y0} AND {y1}"
    expected = catalog.where(where).columns("source_id").to_table()["source_id"].to_pylist()
    assert 10 < len(expected) < catalog.n_rows
    assert sorted(int(row["source_id"]) for row in found) == sorted(expected)


@pytest.mark.parametrize("how", ["degrees", "sexagesimal"])
def test_a_position_shows_the_sources_around_it(page, catalog, star, how):
    from astropy.coordinates import SkyCoord

    place = SkyCoord(star["ra"], star["dec"], unit="deg")
    text = place.to_string("hmsdms" if how == "sexagesimal" else "decimal", precision=6)
    page.goto(page.base)
    search(page, text)
    found = listed(page)
    assert int(found[0]["source_id"]) == star["source_id"]
    assert float(found[0]["separation_arcsec"]) < 0.01
    expected = catalog.cone(star["ra"], star["dec"], 1 / 60).count()
    assert len(found) == expected


def test_a_click_on_the_sky_lists_what_is_there(page, catalog, star):
    page.goto(f"{page.base}#/star/{star['source_id']}")
    page.click("text=Show on the sky")
    page.wait_for_selector(f"#sky {MAP}")
    page.wait_for_function(
        "/ in view/.test(document.querySelector('#sky .status').textContent)"
    )  # single stars are drawn at this zoom
    page.focus("#sky canvas.map")
    page.keyboard.press("Enter")
    assert str(star["source_id"]) in [row["source_id"] for row in listed(page)]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("361 10", "0 to 360"),
        ("10 -91", "−90 to +90"),
        ("12:60:00 +10:00:00", "below 60"),
        ("99999999999999999999", "resolver"),
        ("9999999999999999999", "so many digits"),
        ("NGC 188", "sends the name over the internet"),
        ("", "Type an identifier"),
    ],
)
def test_what_cannot_be_found_gets_a_line(page, text, answer):
    page.goto(page.base)
    search(page, text)
    assert re.search(re.escape(answer), page.inner_text("#found"))


def test_a_name_is_asked_for_only_on_request_and_offline_that_is_said(page):
    asked = []
    page.route(re.compile("cds"), lambda route: (asked.append(route.request.url), route.abort()))
    page.goto(page.base)
    search(page, "NGC 188")
    assert asked == []
    # not by aborting the request, which the browser would report as a fault
    page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError('offline')) }")
    page.click("text=Ask it")
    page.wait_for_selector("text=are you offline")


def test_a_source_that_is_absent_gets_a_line(page):
    page.goto(f"{page.base}#/star/4295806720")
    page.wait_for_selector("text=has no source 4295806720")
    page.goto(f"{page.base}#/star/x")
    page.wait_for_selector("text=is no Gaia source_id")


@pytest.mark.parametrize("view", ["sky", "latents", "about", "star"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, address, star, view, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with browser.new_context(color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(f"{address}#/{view}" + (f"/{star['source_id']}" if view == "star" else ""))
        page.wait_for_selector(
            {"about": "#about dd", "star": "#neighbours-title ~ div td"}.get(view, f"#{view} {MAP}")
        )
        if view == "latents":
            page.click("#latents-list")
            page.wait_for_selector("#list-save:enabled")
        found = axe.Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["target"]) for v in found] == []


def test_the_first_view_is_small_and_nothing_comes_from_elsewhere(browser, address):
    with browser.new_context(viewport={"width": 390, "height": 844}) as context:
        page, sizes = context.new_page(), {}
        page.on("response", lambda r: sizes.update({r.url: len(r.body())}))
        page.goto(address)
        page.wait_for_selector(f"#sky {MAP}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert sum(sizes.values()) < 1e6
    assert all(url.startswith((address, "data:")) for url in sizes)


def test_where_a_server_sends_whole_files_small_ones_are_read_whole(browser, site, star):
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(site.folder.parent)
    )
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/site/#/star/{star['source_id']}")
        page.wait_for_selector("path.band", state="attached")
        page.close()
        server.shutdown()


def test_large_files_of_a_server_without_ranges_are_not_read(browser, address, star):
    """Every part is stated to be larger than it is; the server forgets ranges."""
    page = browser.new_page()
    page.add_init_script(
        "const own = fetch; window.fetch = (url, options) => own(url, {...options, headers: {}})"
    )
    page.route("**/parts.bin", lambda route: route.fulfill(body=large(route.fetch().body())))
    page.goto(f"{address}#/star/{star['source_id']}")
    page.wait_for_selector("text=sends whole files only")
    page.close()


def test_a_catalogue_of_latents_alone_says_that_it_has_no_spectra(browser, tmp_path):
    storage = Storage(str(tmp_path / "catalog"))
    commit(storage, build_manifest(storage, fill(storage, identity(outputs=("latents",)))))
    source = open_catalog(storage).columns("source_id").to_table()["source_id"][700]
    site = make_site(storage, storage.parent / "site", columns=("kl",))
    server, address = site_server(site.folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"{address}#/star/{source}")
    page.wait_for_selector("text=has no reconstructed spectra")
    page.wait_for_selector("#neighbours-title ~ div td")
    page.close()
    server.shutdown()
    server.server_close()


def test_a_site_that_cannot_reach_its_catalogue_shows_maps_and_says_so(browser, catalog, tmp_path):
    site = make_site(catalog, str(tmp_path / "elsewhere"), columns=("kl",))
    server, address = site_server(site.folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"{address}#/latents")
    page.wait_for_selector(f"#latents {MAP}")
    page.click("#latents-list")
    page.wait_for_selector("text=no way to the catalogue")
    assert "xpscale query CATALOG --where" in page.inner_text("#list-command")
    page.goto(f"{address}#/star/4295806720")
    page.wait_for_selector("text=--data-url")
    page.close()
    server.shutdown()
    server.server_close()


def large(parts):
    rows = json.loads(gzip.decompress(parts))
    for row in rows:
        row[3] += 10**8
    return gzip.compress(json.dumps(rows).encode())


def test_leaving_the_sky_while_it_moves_hangs_nothing(page):
    page.goto(page.base)
    page.wait_for_selector(f"#sky {MAP}")
    page.focus("#sky canvas.map")
    page.keyboard.press("+")
    page.click("nav >> text=Latents")
    page.wait_for_selector(f"#latents {MAP}")
    page.wait_for_timeout(500)
    assert page.evaluate("1 + 1") == 2
