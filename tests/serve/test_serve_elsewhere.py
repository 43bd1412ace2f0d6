"""A catalogue that lies in a bucket or on a web server is served as one on disk."""

import contextlib
import io
from pathlib import Path

import pytest
from astropy.table import Table

from tests.query.conftest import example, label_models, labelled, model  # noqa: F401
from tests.support.services import seaweedfs
from tests.support.web import counted_web
from xpscale.query.catalog import open_catalog
from xpscale.serve.cone import cone_request
from xpscale.serve.database import Database, Stop
from xpscale.serve.limits import Limits
from xpscale.serve.requests import Parameters, tap_request
from xpscale.serve.uploads import read_uploads
from xpscale.storage import Storage

LIMITS = Limits()
QUERY = (
    "SELECT l.source_id, t.teff, s.scatter FROM latents AS l JOIN labels AS t ON"
    " l.source_id = t.source_id JOIN spectra AS s ON s.source_id = l.source_id WHERE"
    " 1 = CONTAINS(POINT(l.ra, l.dec), CIRCLE(0, 0, 2))"
)
MATCH = (
    "SELECT m.star, l.source_id FROM TAP_UPLOAD.mine AS m JOIN latents AS l ON"
    " 1 = CONTAINS(POINT(l.ra, l.dec), CIRCLE(m.ra, m.dec, 0.001))"
)


def answers(url, mine):
    """Lines of results in any order: no query asks for one."""
    database = Database(open_catalog(url), LIMITS)
    cone = Parameters.of([("RA", "0"), ("DEC", "0"), ("SR", "1"), ("VERB", "3")])
    requests = [cone_request(cone, LIMITS, ("reconstruction", "scatter"))]
    for query in (QUERY, MATCH):
        sent = {"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "csv"}
        sent |= {"UPLOAD": "mine,param:here"} if query == MATCH else {}
        requests.append(tap_request(Parameters.of(sent.items()), LIMITS))
    found = []
    for request in requests:
        uploads = read_uploads(request.uploads, {"here": mine}, lambda _: None, LIMITS)
        file = io.BytesIO()
        n_rows = database.answer(request, uploads, file, Stop(), 60, 1)
        assert n_rows > 10
        found.append(sorted(file.getvalue().splitlines()))
    database.close()
    return found, database.tables


@pytest.fixture(scope="module")
def on_disk(example, labelled):  # noqa: F811
    rows = example.rows.slice(0, 20).to_pydict()
    table = Table({"star": range(20), "ra": rows["ra"], "dec": rows["dec"]})
    mine = io.BytesIO()
    table.write(mine, format="votable")
    return mine, answers(labelled, mine)


def test_on_a_web_server(labelled, on_disk, tmp_path):  # noqa: F811
    with counted_web(Path(labelled).parent, tls=tmp_path) as web, web.trusted():
        mine, expected = on_disk
        assert answers(f"{web.url}/cat", mine) == expected
        parts = [each for each in web.requests if "/dataset/" in each[1]]
        assert not [each for each in parts if each[0] == "HEAD"]
        assert 0 < len(parts) < 100


@pytest.mark.s3
def test_in_a_bucket(labelled, on_disk, tmp_path):  # noqa: F811
    with contextlib.ExitStack() as stack:
        stack.enter_context(stack.enter_context(seaweedfs(tmp_path)).apply())
        for path in filter(Path.is_file, Path(labelled).rglob("*")):
            key = path.relative_to(labelled).as_posix()
            Storage("s3://xpscale/cat").create(key, path.read_bytes())
        mine, expected = on_disk
        assert answers("s3://xpscale/cat", mine) == expected
