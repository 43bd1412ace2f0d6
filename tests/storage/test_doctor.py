"""``xpscale doctor`` says what is wrong with a place, with workers or with credentials, and what to
do; and leaves nothing behind.
"""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.archive.faulty_web import faulty_web
from tests.commands import xpscale
from xpscale.doctor import places, workers
from xpscale.runtime.executors.dask import local_cluster
from xpscale.storage import Storage
from xpscale.storage.remote import RemoteBackend


def examined(*arguments):
    """Exit code, and the findings about everything but this machine."""
    result = xpscale("doctor", *arguments, "--json")
    answer = json.loads(result.out)
    assert answer["exit_code"] == result.code
    for finding in answer["findings"]:
        assert bool(finding["remedy"]) is (finding["level"] != "ok")
        assert "\n" not in finding["text"] + finding["remedy"]
    return result.code, [one for one in answer["findings"] if one["subject"] != "this machine"]


def texts(findings, level):
    return " / ".join(
        f"{one['text']}: {one['remedy']}" for one in findings if one["level"] == level
    )


@pytest.mark.s3
def test_a_good_bucket_and_a_good_folder(bucket, tmp_path):
    place, put = bucket
    put("key")
    (tmp_path / "key").write_bytes(b"theirs")
    for url in (place.url, str(tmp_path)):
        code, findings = examined(url)
        assert code == 0
        well = texts(findings, "ok")
        for word in ("listing: key is there", "reading: 6 bytes", "the first one wins", "clock: 0"):
            assert word in well
        assert Storage(url).list() == {"key": 6}
    assert "credentials: AWS_ACCESS_KEY_ID" in texts(examined(place.url)[1], "ok")


def test_a_place_that_is_not_there_yet_is_tried_and_not_made(tmp_path):
    code, findings = examined(tmp_path / "new" / "store")
    assert code == 0
    assert "nothing is there yet" in texts(findings, "ok")
    assert not list(tmp_path.iterdir())


@pytest.mark.s3
@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, 2, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_CREDENTIAL_EXPIRATION": "2020-01-01T00:00:00Z"}, 2, "ended at 2020-01-01"),
        ({"AWS_ENDPOINT_URL": "ftp://nowhere"}, 75, "ftp"),
    ],
)
def test_a_bad_place_is_told_with_its_remedy(bucket, monkeypatch, change, code, said):
    place, _ = bucket
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    found, findings = examined(place.url)
    assert said in texts(findings, "problem")
    assert found == code


@pytest.mark.s3
def test_a_bucket_that_is_not_there_and_the_worst_of_two(s3, tmp_path):
    code, findings = examined(tmp_path, "s3://nowhere/x")
    assert "s3://nowhere" in texts(findings, "problem")
    assert code == 3


@pytest.mark.s3
def test_a_server_that_ignores_preconditions(bucket, monkeypatch):
    place, _ = bucket
    monkeypatch.setattr(
        RemoteBackend, "create", lambda self, key, data: self.replace(key, data, "") or True
    )
    code, findings = examined(place.url)
    assert "conditional PUT is ignored" in texts(findings, "problem")
    assert code == 20
    assert place.is_empty()


@pytest.mark.s3
@pytest.mark.parametrize(
    ("ahead_s", "level"), [(3600, "problem"), (-3600, "problem"), (90, "warning")]
)
def test_a_clock_that_is_wrong(bucket, monkeypatch, ahead_s, level):
    place, _ = bucket
    now = time.time
    monkeypatch.setattr(places.time, "time", lambda: now() + ahead_s)
    _, findings = examined(place.url)
    assert "timedatectl" in texts(findings, level)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"AWS_CREDENTIAL_EXPIRATION": "SOON"}, "end in"),
        ({"AWS_SESSION_TOKEN": "token"}, "nobody knows when"),
        ({"AWS_CREDENTIAL_EXPIRATION": "tomorrow"}, "nobody knows when"),
    ],
)
def test_credentials_that_end_are_a_warning(monkeypatch, change, said):
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for name, value in {"AWS_ACCESS_KEY_ID": "key", **change}.items():
        monkeypatch.setenv(name, value.replace("SOON", soon))
    found = places.Diagnosis()
    place = Storage("s3://bucket/x")
    places.look_at_credentials(found, place, places.cloud_of(place.url))
    assert said in found.findings[0].text
    assert found.findings[0].level == "warning"


@pytest.mark.parametrize(("until", "code"), [("2020-01-01", 2), ("2099-01-01T00:00:00Z", 0)])
def test_a_signature_of_azure_says_its_end(monkeypatch, until, code):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", f"?sv=2019-12-12&se={until}&sig=x")
    found = places.Diagnosis()
    with found.noting("place"):
        place = Storage("az://container/x")
        places.look_at_credentials(found, place, places.cloud_of(place.url))
    assert found.exit_code == code
    assert "a shared access signature" in found.findings[0].text


def test_a_web_address_is_read_only(tmp_path):
    Storage(str(tmp_path)).create("catalog/collection.properties", b"x")
    with faulty_web(tmp_path) as web:
        code, findings = examined(f"{web.url}/catalog")
        assert (code, "it is read only" in texts(findings, "ok")) == (0, True)
        code, findings = examined(f"{web.url}/nothing")
        assert (code, "no store, catalogue or model" in texts(findings, "problem")) == (3, True)


def test_settings_say_what_to_look_at(tmp_path):
    places = {name: tmp_path / name for name in ("store", "model", "catalog")}
    lines = [f'{name} = "{place}"' for name, place in places.items()]
    cluster = '[cluster]\nkind = "scheduler"\naddress = "nonsense://127.0.0.1:9"\n'
    (tmp_path / "xps.toml").write_text("\n".join(["[data]", *lines, cluster]))
    code, findings = examined("--settings", tmp_path / "xps.toml")
    subjects = {one["subject"] for one in findings}
    assert subjects == {*map(str, places.values()), "nonsense://127.0.0.1:9"}
    assert code == 3


def test_no_scheduler():
    code, findings = examined("--scheduler", "nonsense://127.0.0.1:9")
    assert code == 3
    assert "no Dask scheduler answers" in texts(findings, "problem")


def test_workers_are_compared_with_us_and_reach_the_place(tmp_path, monkeypatch):
    with local_cluster(1) as client:
        address = client.scheduler.address
        code, findings = examined(tmp_path, "--scheduler", address)
        assert code == 0, findings
        assert "1 workers with 1 threads" in texts(findings, "ok")
        assert "reaches every place" in texts(findings, "ok")
        expected = {**workers.software(), "torch": "0.1"}
        monkeypatch.setattr(workers, "software", lambda: expected)
        code, findings = examined("s3://bucket//x", "--scheduler", address)
        assert code == 2
        assert "instead of 0.1" in texts(findings, "problem")
