"""A catalogue that lies in a bucket or on a web server is served as one on disk."""

import contextlib
import io
from pathlib import Path

import pytest
from astropy.table import Table
from starlette.testclient import TestClient

from tests.query.conftest import example, label_models, labelled, model  # noqa: F401
from xpscale.query.catalog import open_catalog
from xpscale.serve.app import application
from xpscale.serve.database import Database
from xpscale.serve.limits import Limits
from xpscale.storage import Storage
from xpscale.testing.services import seaweedfs
from xpscale.testing.web import counted_web

QUERY = (
    "SELECT TOP 50 l.source_id, t.teff, s.scatter FROM latents AS l JOIN labels AS t ON"
    " l.source_id = t.source_id JOIN spectra AS s ON s.source_id = l.source_id WHERE"
    " 1 = CONTAINS(POINT(l.ra, l.dec), CIRCLE(0, 0, 2)) ORDER BY l.source_id"
)
MATCH = (
    "SELECT m.star, l.source_id FROM TAP_UPLOAD.mine AS m JOIN latents AS l ON"
    " 1 = CONTAINS(POINT(l.ra, l.dec), CIRCLE(m.ra, m.dec, 0.001)) ORDER BY m.star"
)


@contextlib.contextmanager
def client_of(url):
    with TestClient(application(Database(open_catalog(url), Limits()))) as client:
        yield client


def answers(client, mine):
    for query, more in ((QUERY, {}), (MATCH, {"UPLOAD": "mine,param:here"})):
        sent = {"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "csv", **more}
        reply = client.post("/tap/sync", data=sent, files={"here": mine} if more else None)
        assert reply.status_code == 200, reply.text
        yield reply.text
    yield client.get("/scs", params={"RA": 0, "DEC": 0, "SR": 1, "VERB": 3}).text
    yield client.get("/tap/tables").text


@pytest.fixture(scope="module")
def mine(example):  # noqa: F811
    rows = example.rows.slice(0, 20).to_pydict()
    table = Table({"star": range(20), "ra": rows["ra"], "dec": rows["dec"]})
    file = io.BytesIO()
    table.write(file, format="votable")
    return file.getvalue()


@pytest.mark.parametrize("where", ["https", pytest.param("s3", marks=pytest.mark.s3)])
def test_answers_are_those_of_the_catalogue_on_disk(labelled, mine, where, tmp_path):  # noqa: F811
    with contextlib.ExitStack() as stack:
        expected = [*answers(stack.enter_context(client_of(labelled)), mine)]
        if where == "https":
            web = stack.enter_context(counted_web(Path(labelled).parent, tls=tmp_path))
            stack.enter_context(web.trusted())
            there = stack.enter_context(client_of(f"{web.url}/cat"))
        else:
            service = stack.enter_context(seaweedfs(tmp_path))
            stack.enter_context(service.apply())
            for path in filter(Path.is_file, Path(labelled).rglob("*")):
                key = path.relative_to(labelled).as_posix()
                Storage("s3://xpscale/cat").create(key, path.read_bytes())
            there = stack.enter_context(client_of("s3://xpscale/cat"))
        assert [*answers(there, mine)] == expected
        assert expected[0].count("\n") == 51
        if where == "https":
            web.forget()
            assert [*answers(there, mine)] == expected
            assert not [each for each in web.requests if each[0] == "HEAD"]
            assert web.n_bytes < Path(labelled, "latents").stat().st_size + 8_000_000
