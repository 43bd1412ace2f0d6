"""What a query may take of the machine, and that one that nobody waits for ends."""

import time

import pytest
import requests

from tests.serve.conftest import serving

LONG = (
    "SELECT COUNT(*) FROM spectra AS a, spectra AS b, spectra AS c"
    " WHERE a.ra + b.dec * c.ra + a.ra*b.ra > 700"
)
LARGE = (
    "SELECT COUNT(*) FROM (SELECT a.ra * b.dec AS x, COUNT(*) AS n FROM latents AS a, latents AS b"
    " GROUP BY a.ra * b.dec) AS g"
)


def ask(address, query, **more):
    parameters = {"LANG": "ADQL", "QUERY": query}
    return requests.post(f"{address}/tap/sync", parameters, **{"timeout": 60, **more})


def test_time_and_memory_are_bounded(example):
    options = ("--seconds", "5", "--memory-gb", "0.1", "--max-rows", "7")
    with serving(example.url, *options) as address:
        late = ask(address, LONG)
        assert (late.status_code, "longer than 5 s" in late.text) == (400, True), late.text
        large = ask(address, LARGE)
        assert (large.status_code, "fewer rows" in large.text) == (400, True), large.text
        some = ask(address, "SELECT ra FROM latents")
        assert some.status_code == 200
        assert "OVERFLOW" in some.text


def test_a_client_that_goes_away_stops_its_query(example):
    with serving(example.url, "--queries", "1") as address:
        with pytest.raises(requests.Timeout):
            ask(address, LONG, timeout=1)
        start = time.monotonic()
        assert ask(address, "SELECT TOP 1 ra FROM latents").status_code == 200
        assert time.monotonic() - start < 20  # the other one would take a minute
