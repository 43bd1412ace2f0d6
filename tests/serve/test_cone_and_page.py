"""Simple Cone Search by pyvo, the page for people, a site next to it, and the command itself."""

import re
import socket

import numpy as np
import pytest
import requests
from astropy.coordinates import SkyCoord
from pyvo.dal import SCSService, TAPService

from tests.commands import xpscale
from tests.serve.conftest import serving


@pytest.mark.parametrize(
    ("ra", "dec", "radius"), [(0.0, 0.0, 3.0), (45.0, 41.81, 1.5), (10.0, 89.5, 2.0), (7, -89, 30)]
)
def test_a_cone_holds_what_lies_in_it(service, example, ra, dec, radius):
    found = SCSService(f"{service}/scs").search(pos=(ra, dec), radius=radius)
    rows = example.rows
    sky = SkyCoord(rows["ra"].to_numpy(), rows["dec"].to_numpy(), unit="deg")
    inside = sky.separation(SkyCoord(ra, dec, unit="deg")).deg <= radius
    assert set(found.to_table()["source_id"]) == set(rows["source_id"].to_numpy()[inside])
    assert inside.any()
    assert found[0].pos.separation(SkyCoord(ra, dec, unit="deg")).deg <= radius


def test_verbosity_chooses_columns(service):
    names = {
        verb: SCSService(f"{service}/scs").search((0, 0), 3, verbosity=verb).to_table().colnames
        for verb in (1, 2, 3)
    }
    assert names[1] == ["source_id", "ra", "dec", "phot_g_mean_flux"]
    assert "latent_mean_5" in names[2]
    assert names[3] == [*names[2], "reconstruction", "scatter"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "RA is ''"),
        ({"RA": "1h", "DEC": "1", "SR": "1"}, "RA is '1h'"),
        ({"RA": "1", "DEC": "nan", "SR": "1"}, "DEC is 'nan'"),
        ({"RA": "400", "DEC": "1", "SR": "1"}, "off the sky"),
        ({"RA": "1", "DEC": "-91", "SR": "1"}, "off the sky"),
        ({"RA": "1", "DEC": "1", "SR": "-1"}, "radius"),
        ({"RA": "1", "DEC": "1", "SR": "1", "VERB": "9"}, "VERB"),
        ({"RA": "1", "DEC": "1", "SR": "1", "MAXREC": "x"}, "MAXREC"),
    ],
)
def test_a_wrong_cone_gets_one_clear_line(service, parameters, words):
    reply = requests.get(f"{service}/scs", parameters, timeout=60)
    assert reply.status_code == 400
    (message,) = re.findall('<INFO name="Error" value="(.*)"/>', reply.text)
    assert words in message


def test_a_radius_of_zero_asks_for_columns_only(service):
    reply = requests.get(f"{service}/scs", {"RA": "1", "DEC": "1", "SR": "0"}, timeout=60)
    assert "POS_EQ_RA_MAIN" in reply.text
    assert "<TR>" not in reply.text
    assert "maxSR" in requests.get(f"{service}/scs/capabilities", timeout=60).text


def test_the_page_says_how_to_ask(service):
    page = requests.get(f"{service}/", timeout=60).text
    assert "6,000 sources" in page
    assert f"{service}/tap" in page
    form = re.search(r'name="QUERY" rows="5">(.*?)</textarea>', page, re.S)[1]
    parameters = {"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": form}
    assert requests.post(f"{service}/tap/sync", parameters, timeout=60).text.count("\n") > 1


def test_every_example_runs(service):
    tap = TAPService(f"{service}/tap")
    assert len(tap.examples) == 7
    for example in tap.examples:
        if "TAP_UPLOAD" not in example["QUERY"]:
            assert len(tap.search(example["QUERY"])) > 0, example["QUERY"]


def test_clients_see_the_address_that_was_given(example):
    with serving(example.url, "--url", "https://x.org/s") as address:
        assert "https://x.org/s/tap" in requests.get(f"{address}/tap/capabilities", timeout=60).text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nowhere"], "nowhere"),
        (["{url}", "--site", "nowhere"], "nowhere"),
        (["{url}", "--port", "{taken}"], "cannot listen"),
        (["{url}", "--host", "192.0.2.1"], "cannot listen"),
    ],
)
def test_a_wrong_option_gets_one_clear_line(example, options, words):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        names = {"url": example.url, "taken": taken.getsockname()[1]}
        done = xpscale("serve", *(option.format(**names) for option in options))
    assert done.code in (2, 3, 5)
    assert words in done.err
    assert "Traceback" not in done.err


def test_other_machines_are_warned_of(example):
    with serving(example.url, "--host", "0.0.0.0") as address:
        port = address.rsplit(":", 1)[1]
        tap = TAPService(f"http://127.0.0.1:{port}/tap")
        assert np.all(tap.search("SELECT TOP 3 dec FROM latents").to_table()["dec"] <= 90)
        jobs = requests.get(f"http://127.0.0.1:{port}/tap/async", timeout=60).text
        tap.submit_job("SELECT 1 AS one")
        assert "jobref" not in jobs
