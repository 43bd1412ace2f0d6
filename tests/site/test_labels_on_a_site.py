"""Labels of a catalogue on its site: columns to colour by, in lists and files, on a star's page."""

import json

import numpy as np
import pytest

from tests.site.labelled_catalog import labelled_catalog, put_random_labels
from tests.site.test_make import binned, described
from tests.site.test_page import MAP, cells, draw_triangle, drawn_at, in_triangle, listed, number
from xpscale.errors import ConflictError, InvalidInputError, PermanentError
from xpscale.flags import LabelFlag
from xpscale.query.catalog import open_catalog
from xpscale.site import make_site
from xpscale.storage import Storage


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return labelled_catalog(Storage(str(tmp_path_factory.mktemp("labelled") / "catalog")))


@pytest.fixture(scope="module")
def site(catalog):
    return make_site(catalog, catalog.storage.parent / "site")


@pytest.fixture(scope="module")
def rows(catalog):
    return catalog.select().with_labels().to_table()


@pytest.fixture
def star(rows):
    return next(row for row in rows.to_pylist() if row["teff_flags"] == 3 and not row["logg_flags"])


def test_maps_are_coloured_by_labels_and_by_the_share_with_their_flags(catalog, site, rows):
    pixel = rows["_healpix_29"].to_numpy() >> 2 * (29 - 6)
    counts, means = binned(site, "sky", "teff")
    sums = np.bincount(pixel, rows["teff"].to_numpy(), 12 << 12)
    np.testing.assert_allclose((counts * means)[counts > 0], sums[counts > 0], rtol=2e-3)
    counts, share = binned(site, "map/0-1", "logg_flags")
    n_flagged = (rows["logg_flags"].to_numpy() != 0).sum()
    assert np.nansum(counts * share) == pytest.approx(n_flagged, rel=2e-3)
    assert [*catalog.label_columns] == described(site)["drawn"][-6:]


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        (("teff",), ["teff"]),
        (("TEFF", "kl"), ["teff", "kl"]),
        (("logg*", "logg"), ["logg", "logg_error", "logg_flags"]),
        (("latent_mean_*",), [f"latent_mean_{i}" for i in range(6)]),
    ],
)
def test_columns_are_named_as_in_queries(catalog, tmp_path, asked, drawn):
    assert described(make_site(catalog, str(tmp_path / "site"), columns=asked))["drawn"] == drawn


def test_columns_that_no_map_can_show_are_named(catalog, tmp_path):
    for name, words in (("tef", "teff"), ("ra", "coloured by 'ra'"), ("scatter", "an array")):
        with pytest.raises(InvalidInputError) as caught:
            make_site(catalog, str(tmp_path / "site"), columns=(name,))
        assert words in f"{caught.value.message} {caught.value.remedy}"


def test_other_labels_make_the_site_anew_and_the_same_ones_do_not(tmp_path):
    storage = Storage(str(tmp_path / "catalog"))
    labelled_catalog(storage)
    place = make_site(storage, str(tmp_path / "site"), columns=("teff",))
    before, said = described(place), []
    make_site(storage, place, columns=("teff",), say=said.append)
    assert said == []
    put_random_labels(storage, 2)
    make_site(storage, place, columns=("teff",))
    assert described(place)["data"] != before["data"]
    assert described(place)["labels"]["made_of"] != before["labels"]["made_of"]


def test_labels_that_do_not_belong_to_the_sources_are_not_shown(tmp_path):
    storage = Storage(str(tmp_path / "catalog"))
    opened = labelled_catalog(storage)
    older = open_catalog(storage)
    assert older.label_columns
    put_random_labels(storage, 2)
    with pytest.raises(ConflictError, match="other labels"):
        make_site(older, str(tmp_path / "site"), columns=("teff",))
    key = open_catalog(storage).label_parts[1].key
    storage.replace(key, storage.read(key)[:-100])
    with pytest.raises(PermanentError, match=key):
        make_site(open_catalog(storage), str(tmp_path / "other"), columns=("teff",))
    make_site(opened, str(tmp_path / "plain"), columns=("kl",))


@pytest.fixture(scope="module")
def address(serving, site):
    return serving(site)


def test_the_page_of_a_star_has_its_labels(page, star):
    page.goto(f"{page.base}#/star/{star['source_id']}")
    page.wait_for_selector("#labels-title ~ div td")
    teff, logg = cells(page, "labels-title")
    assert teff[0] == "teff / K"
    assert logg[0] == "logg"
    for name, shown in (("teff", teff), ("logg", logg)):
        assert number(shown[1]) == pytest.approx(star[name], rel=1e-4)
        assert number(shown[2]) == pytest.approx(star[f"{name}_error"], rel=1e-2)
    assert logg[3] == "none"
    words = page.locator("section[aria-labelledby=labels-title] .flag").all_inner_texts()
    assert words == [flag.words for flag in LabelFlag]


def test_a_lasso_lists_labels(page, rows):
    page.goto(f"{page.base}#/latents")
    page.wait_for_selector(f"#latents {MAP}")
    page.select_option("#latents-colour", "teff")
    page.wait_for_selector("#latents .legend >> text=mean teff / K")
    box, triangle = draw_triangle(page)
    found = listed(page)
    at = drawn_at(page, box)
    inside = {
        row["source_id"]: row["teff"]
        for row in rows.to_pylist()
        if in_triangle(at(row["latent_mean_0"], row["latent_mean_1"]), triangle)
    }
    assert len(inside) > 50
    assert {int(row["source_id"]): float(row["teff"]) for row in found} == pytest.approx(inside)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function(
        "/, mean teff /.test(document.querySelector('#latents .status').textContent)"
    )


def test_a_list_of_the_sky_has_the_column_that_colours_it(page, rows, star):
    page.goto(f"{page.base}#/star/{star['source_id']}")
    page.click("text=Show on the sky")
    page.wait_for_selector(f"#sky {MAP}")
    page.select_option("#sky-colour", "teff_flags")
    page.wait_for_selector("#sky .legend >> text=share with teff_flags")
    page.focus("#sky canvas.map")
    page.keyboard.press("Enter")
    found = {int(row["source_id"]): int(row["teff_flags"]) for row in listed(page)}
    assert found[star["source_id"]] == 3
    by_id = dict(zip(rows["source_id"].to_pylist(), rows["teff_flags"].to_pylist(), strict=True))
    assert found == {source: by_id[source] for source in found}


def test_labels_that_were_replaced_get_a_line(browser, serving, tmp_path):
    """The page was made of the older ones; the rest of it goes on."""
    storage = Storage(str(tmp_path / "catalog"))
    source = labelled_catalog(storage).columns("source_id").to_table()["source_id"][700]
    site = make_site(storage, storage.parent / "site", columns=("teff",))
    put_random_labels(storage, 2)
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{serving(site)}#/star/{source}")
        page.wait_for_selector("text=have been replaced since this page was made")
        page.wait_for_selector("#neighbours-title ~ div td")


def test_a_copy_with_some_columns_of_labels_shows_those(browser, serving, catalog, tmp_path):
    from xpscale.query.download import download

    copy = tmp_path / "copy"
    columns = ("latent_mean_*", "latent_log_var_*", "flags", "teff", "teff_error")
    download(catalog.columns(*columns), str(copy), products=("latents", "labels"))
    source = catalog.columns("source_id").to_table()["source_id"][700]
    site = make_site(str(copy), str(tmp_path / "site"))
    assert described(site)["labels"]["of"] == [{"name": "teff", "error": "teff_error"}]
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{serving(site)}#/star/{source}")
        page.wait_for_selector("#labels-title ~ div td")
        assert [row[-1] for row in cells(page, "labels-title")] == ["–"]


def test_the_page_says_what_columns_of_labels_mean(site):
    found = json.loads(site.read("site.json"))
    described_columns = {column["name"]: column for column in found["columns"]}
    assert described_columns["teff"]["unit"] == "K"
    assert "predicted from the latents" in described_columns["teff"]["description"]
