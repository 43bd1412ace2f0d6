"""The small web server answers ranges as RFC 9110 has it."""

import http.client
from urllib.parse import urlsplit

import pytest

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.site.web_server import site_server


@pytest.fixture
def ask(site, address):
    where = urlsplit(address)
    connection = http.client.HTTPConnection(where.hostname, where.port)

    def get(path, **headers):
        connection.request("GET", where.path + path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers

    yield get
    connection.close()


@pytest.mark.parametrize(
    ("asked", "run"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=10-99", slice(10, 100)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=5-99999999", slice(5, None)),
        ("bytes=-99999999", slice(0, None)),
    ],
)
def test_ranges(site, ask, asked, run):
    whole = site.read("page.js")
    status, body, headers = ask("page.js", Range=asked)
    assert (status, body) == (206, whole[run])
    first, last = run.indices(len(whole))[:2]
    assert headers["Content-Range"] == f"bytes {first}-{last - 1}/{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0", "bytes=9-3"])
def test_ranges_that_hold_nothing(ask, asked):
    status, body, _ = ask("page.js", Range=asked)
    assert (status, body) == (416, b"")


@pytest.mark.parametrize("asked", ["", "bytes=-", "lines=1-2", "bytes=0-1,5-6"])
def test_other_requests_get_the_whole(site, ask, asked):
    assert ask("page.js", Range=asked)[:2] == (200, site.read("page.js"))


def test_nothing_outside_the_folder_is_shown(ask):
    assert ask("../../../../../../etc/passwd")[0] == 404
    assert ask("%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd")[0] == 404


def test_a_folder_without_a_site_and_a_port_in_use_are_named(site, address, tmp_path):
    with pytest.raises(NotFoundError, match="no finished site"):
        site_server(tmp_path)
    with pytest.raises(InvalidInputError, match="--port"):
        site_server(site.folder, urlsplit(address).port)
