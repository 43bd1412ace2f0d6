"""Jobs (UWS) and uploaded tables, by pyvo."""

import contextlib
import http.client
import io
import time

import astropy.units as u
import numpy as np
import pyarrow as pa
import pytest
import requests
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table
from hypothesis import given
from hypothesis import strategies as st
from pyvo.dal import DALQueryError, TAPService

from xpscale.query.region import pixels_around
from xpscale.serve.votable_rows import write_votable
from xpscale.sky import healpix_29

LONG = (
    "SELECT COUNT(*) FROM spectra AS a, spectra AS b, spectra AS c"
    " WHERE a.ra + b.dec * c.ra + a.ra*b.ra > 700"
)


@pytest.fixture(scope="module")
def tap(service):
    return TAPService(f"{service}/tap")


@pytest.fixture(scope="module")
def mine(example):
    """Some sources of the catalogue, moved by less than an arcsecond, and some empty places."""
    rows = example.rows.slice(100, 40)
    return Table(
        {
            "RA": np.append(rows["ra"].to_numpy(), [10.0, 20.0]) * u.deg,
            "Dec": np.append(rows["dec"].to_numpy() + 0.5 / 3600, [89.9, -89.9]) * u.deg,
            "name": [f"star é{i}" for i in range(42)],
            "n": MaskedColumn(np.arange(42, dtype=np.int16), mask=np.arange(42) % 5 == 0),
            "pair": np.arange(84, dtype=np.float32).reshape(42, 2),
        }
    )


def until(job, phase):
    """Wait for a phase; pyvo's own way waits for the next one."""
    for _ in range(300):
        if job.phase == phase:
            return
        time.sleep(0.1)
    raise AssertionError(f"the job is {job.phase}")


def test_a_job_from_start_to_end(tap, example):
    job = tap.submit_job("SELECT COUNT(*) AS n FROM latents", maxrec=5)
    assert job.phase == "PENDING"
    job.run()
    until(job, "COMPLETED")
    assert job.fetch_result().to_table()["n"][0] == example.rows.num_rows
    assert job.query == "SELECT COUNT(*) AS n FROM latents"
    assert job.job_id in [listed.jobid for listed in tap.get_job_list()]
    url = job.url
    job.delete()
    assert requests.get(url, timeout=60).status_code == 404


def test_a_wrong_query_is_the_error_of_its_job(tap):
    job = tap.submit_job("SELECT rah FROM latents").run()
    until(job, "ERROR")
    with pytest.raises(DALQueryError, match="no column is called 'rah'"):
        job.raise_if_error()
    error = requests.get(f"{job.url}/error", timeout=60)
    assert "no column is called 'rah'" in error.text


@pytest.mark.parametrize("how", ["abort", "delete"])
def test_a_stopped_job_stops(tap, how):
    job = tap.submit_job(LONG).run()
    until(job, "EXECUTING")
    start = time.monotonic()
    getattr(job, how)()
    if how == "abort":
        assert job.phase == "ABORTED"
    tap.search("SELECT TOP 1 ra FROM latents")  # there is room for others
    assert time.monotonic() - start < 20


def test_a_job_has_no_more_time_than_it_was_given(tap):
    job = tap.submit_job(LONG)
    job.execution_duration = 1
    job.run()
    until(job, "ERROR")
    with pytest.raises(DALQueryError, match="longer than 1 s"):
        job.raise_if_error()


def test_a_job_is_deleted_at_its_destruction_time(tap):
    job = tap.submit_job("SELECT 1 AS one")
    requests.post(f"{job.url}/destruction", {"DESTRUCTION": "2020-01-01T00:00:00Z"}, timeout=60)
    assert requests.get(job.url, timeout=60).status_code == 404


def test_waiting_for_a_change_ends_with_it(tap):
    job = tap.submit_job("SELECT 1 AS one")
    start = time.monotonic()
    requests.get(job.url, {"WAIT": "1"}, timeout=60)
    assert time.monotonic() - start >= 1
    job.run()
    done = requests.get(job.url, {"WAIT": "30", "PHASE": "EXECUTING"}, timeout=60).text
    assert time.monotonic() - start < 20
    assert "<uws:phase>" in done


@pytest.mark.parametrize(
    "parameters",
    [{"PHASE": "JUMP"}, {"EXECUTIONDURATION": "-3"}, {"DESTRUCTION": "tomorrow"}],
)
def test_a_wrong_wish_for_a_job(tap, parameters):
    job = tap.submit_job("SELECT 1 AS one")
    reply = requests.post(job.url, parameters, timeout=60)
    assert reply.status_code == 400
    assert next(iter(parameters.values())) in reply.text


def test_a_job_runs_once(tap):
    job = tap.submit_job("SELECT 1 AS one").run()
    until(job, "COMPLETED")
    assert requests.post(f"{job.url}/phase", {"PHASE": "RUN"}, timeout=60).status_code == 400
    assert requests.post(f"{job.url}/parameters", {"QUERY": "x"}, timeout=60).status_code == 400


@pytest.mark.parametrize("how", ["run_sync", "run_async"])
def test_an_uploaded_table_comes_back(tap, mine, how):
    found = getattr(tap, how)("SELECT * FROM TAP_UPLOAD.mine ORDER BY ra", uploads={"mine": mine})
    table = found.to_table()
    expected = mine[np.argsort(mine["RA"], kind="stable")]
    assert table.colnames == mine.colnames
    assert table["RA"].unit == "deg"
    assert list(table["name"]) == list(expected["name"])
    np.testing.assert_array_equal(table["n"].mask, expected["n"].mask)
    np.testing.assert_array_equal(table["pair"], expected["pair"])


CROSSMATCH = (
    "SELECT m.name, l.source_id, DISTANCE(POINT(l.ra, l.dec), POINT(m.ra, m.dec))*3600 AS d"
    " FROM TAP_UPLOAD.mine AS m {} JOIN latents AS l"
    " ON 1 = CONTAINS(POINT(l.ra, l.dec), CIRCLE(m.ra, m.dec, 1/3600.)) ORDER BY d"
)


def test_crossmatch_with_an_uploaded_table(tap, mine, example):
    found = tap.search(CROSSMATCH.format(""), uploads={"mine": mine}).to_table()
    rows = example.rows.slice(100, 40)
    assert set(zip(found["name"], found["source_id"], strict=True)) >= {
        (f"star é{i}", source) for i, source in enumerate(rows["source_id"].to_pylist())
    }
    assert np.all(found["d"] <= 1)


def test_a_left_join_keeps_unmatched_rows(tap, mine):
    found = tap.search(CROSSMATCH.format("LEFT OUTER"), uploads={"mine": mine}).to_table()
    assert set(found["name"]) == set(mine["name"])
    assert np.sum(np.ma.getmaskarray(found["source_id"])) == 2


@pytest.mark.parametrize("radius", [1e-4, 0.5, 4.0, 40.0])
@pytest.mark.parametrize("kind", ["JOIN", "LEFT JOIN", ","])
def test_crossmatch_equals_that_of_astropy(tap, example, radius, kind):
    rng = np.random.default_rng(3)
    ra = np.concatenate([rng.uniform(0, 360, 20), [0, 360, 45, 10, 200]])
    dec = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, 20))), [0, 0, 41.81, 90, -90]])
    theirs = SkyCoord(example.rows["ra"].to_numpy(), example.rows["dec"].to_numpy(), unit="deg")
    ours, found, *_ = theirs.search_around_sky(SkyCoord(ra, dec, unit="deg"), radius * u.deg)
    expected = set(zip(ours.tolist(), example.rows["source_id"].to_numpy()[found], strict=True))
    word = "WHERE" if kind == "," else "ON"
    result = tap.search(
        f"SELECT m.i, l.source_id FROM TAP_UPLOAD.m AS m {kind} latents AS l {word}"
        f" 1=CONTAINS(POINT(l.ra, l.dec), CIRCLE(m.ra, m.dec, {radius}))",
        uploads={"m": Table({"i": np.arange(len(ra)), "ra": ra, "dec": dec})},
        maxrec=1_000_000,
    ).to_table()
    pairs = [pair for pair in zip(result["i"], result["source_id"], strict=True)
             if pair[1] is not np.ma.masked]  # fmt: skip
    assert len(pairs) == len(expected)
    assert set(pairs) == expected
    assert kind != "LEFT JOIN" or set(result["i"]) == set(range(len(ra)))


@given(
    st.floats(0, 359.99),
    st.floats(-90, 90),
    st.floats(1e-6, 34),
    st.floats(0, 360),
    st.floats(0, 1),
)
def test_the_pixels_around_a_place_hold_its_cone(ra, dec, radius, angle, part):
    centre = SkyCoord(ra, dec, unit="deg")
    there = centre.directional_offset_by(angle * u.deg, part * radius * u.deg)
    order, cells, _ = pixels_around(np.array([ra]), np.array([dec]), radius)
    inside = healpix_29(np.array([there.ra.deg]), np.array([there.dec.deg])) >> 2 * (29 - order)
    assert inside[0] in cells
    assert len(set(cells)) == len(cells)


def test_the_result_of_a_job_can_be_uploaded(tap, service):
    job = tap.submit_job("SELECT TOP 7 source_id FROM latents").run()
    until(job, "COMPLETED")
    query = "SELECT COUNT(*) AS n FROM TAP_UPLOAD.t AS t JOIN latents AS l USING (source_id)"
    assert tap.search(query, uploads={"t": job.result_uri}).to_table()["n"][0] == 7


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not a table", "no VOTable"),
        (b"<VOTABLE><RESOURCE><TABLE/></RESOURCE></VOTABLE>", "no columns"),
        (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><VOTABLE>&a;', "no VOTable"),
        (b"<TR>" * 200_001, "more than 200,000 rows"),
    ],
)
def test_a_wrong_upload_gets_one_clear_line(service, content, words):
    reply = requests.post(
        f"{service}/tap/sync",
        {"LANG": "ADQL", "QUERY": "SELECT * FROM TAP_UPLOAD.t", "UPLOAD": "t,param:x"},
        files={"x": content},
        timeout=60,
    )
    assert reply.status_code == 400
    assert words in reply.text
    assert "root:" not in reply.text


@pytest.mark.parametrize(
    "address",
    ["http://169.254.169.254/latest", "file:///etc/passwd", "param:other", "s3://bucket/key"],
)
def test_nothing_else_is_read_for_an_upload(service, address):
    reply = requests.post(
        f"{service}/tap/sync",
        {"LANG": "ADQL", "QUERY": "SELECT * FROM TAP_UPLOAD.t", "UPLOAD": f"t,{address}"},
        timeout=60,
    )
    assert reply.status_code == 400
    assert "only VOTables inside the request" in reply.text


def test_ten_million_rows_are_refused_unread(service):
    connection = http.client.HTTPConnection(service.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/tap/sync")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(10_000_000 * 24))
    connection.endheaders(b"--x\r\n")
    reply = connection.getresponse()  # although nearly nothing was sent
    assert reply.status == 413
    assert b"larger than 67,108,864 bytes. Send fewer rows" in reply.read()


def test_an_upload_of_unstated_size_is_read_up_to_the_bound(service):
    def endless():
        while True:
            sent.append(1)
            yield bytes(1 << 20)

    sent = []
    with contextlib.suppress(requests.ConnectionError):  # the service stops listening
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        reply = requests.post(f"{service}/tap/sync", endless(), headers=headers, timeout=60)
        assert reply.status_code in (400, 413)
    assert len(sent) < 100


def test_a_long_votable_in_binary_is_refused(tap):
    batch = pa.record_batch({"ra": np.zeros(200_001)})
    buffer = io.BytesIO()
    write_votable(buffer, batch.schema, [batch], {}, is_text=False, overflow=lambda: False)
    buffer.seek(0)
    with pytest.raises(DALQueryError, match="more than 200,000 rows"):
        tap.search("SELECT COUNT(*) FROM TAP_UPLOAD.t", uploads={"t": buffer})
