"""Addresses, and how S3 and web servers refuse: one clear line, for every library the same."""

import pytest

from tests.archive.faulty_web import Fault, faulty_web
from tests.commands import xpscale
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.storage import Storage


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://bucket/x", "scheme"),
        ("s3://", "no bucket"),
        ("s3:///x", "no bucket"),
        ("s3://bucket//x", "empty part"),
        ("s3://bucket/../x", "empty part"),
        ("https://host/a?signature=1", "has a ?"),
        ("https://host/a#b", "has a #"),
    ],
)
def test_an_address_that_libraries_would_disagree_about_is_refused(url, said):
    with pytest.raises(InvalidInputError, match=said.replace("?", r"\?")):
        Storage(url)


@pytest.mark.parametrize("name", ["a b", "50%", "run#1", "what?", "a+b", "a%20b", "Weiße"])
def test_objects_on_the_web_have_the_same_names_as_on_the_server_s_disk(tmp_path, name):
    """Case F08: #, ? and % in an s3:// address."""
    Storage(str(tmp_path)).create(f"{name}/{name}.txt", b"0123456789")
    with faulty_web(tmp_path) as web:
        place = Storage(web.url) / name
        assert place.name == name
        assert place.read(f"{name}.txt") == b"0123456789"
        assert place.read_range(f"{name}.txt", 2, 3) == b"234"
        with place.stream(f"{name}.txt", 4) as stream:
            assert b"".join(stream.blocks) == b"456789"


def test_a_web_server_is_not_asked_for_a_list(tmp_path):
    with faulty_web(tmp_path) as web:
        for look in (Storage(web.url).list, Storage(web.url).objects):
            with pytest.raises(InvalidInputError, match="cannot be listed: it is on a web server"):
                look("folder")


@pytest.mark.parametrize("name", ["spectra", "pq", "parquet", "csv", "zip"])
def test_a_folder_on_the_web_is_no_file_whatever_it_is_called(name, tmp_path):
    Storage(str(tmp_path / "web")).create(name, b"<a href='part-000.parquet'>")  # as servers list
    with faulty_web(tmp_path / "web") as web:
        result = xpscale("ingest", f"{web.url}/{name}", tmp_path / "store", "--workers", 0)
    assert result.code == 2
    assert "cannot be listed: it is on a web server" in result.err


def test_a_server_without_ranges_is_told_in_one_line(tmp_path):
    Storage(str(tmp_path)).create("key", b"0123456789")
    with faulty_web(tmp_path) as web:
        web.always["key"] = Fault(ignore_range=True)
        with pytest.raises(InvalidInputError, match="sends whole files only"):
            Storage(web.url).read_range("key", 2, 3)
        assert Storage(web.url).read("key") == b"0123456789"


@pytest.mark.parametrize("status", [401, 403])
def test_a_web_server_that_refuses_is_no_passing_fault(tmp_path, status):
    Storage(str(tmp_path)).create("key", b"0123456789")
    with faulty_web(tmp_path) as web:
        web.always["key"] = web.heads["key"] = Fault(status=status)
        place = Storage(web.url)
        for look in (place.read, place.size, lambda key: place.read_range(key, 1, 2)):
            with pytest.raises(InvalidInputError, match=r"no permission for http.*key") as raised:
                look("key")
            assert "AWS" not in str(raised.value)


def looks_of(place):
    """Every way to ask a place."""
    return (
        place.list,
        place.is_empty,
        lambda: place.read("key"),
        lambda: place.size("key"),
        lambda: place.create("key", b"1"),
        lambda: place.replace("key", b"1"),
        lambda: place.delete("key"),
    )


@pytest.mark.s3
@pytest.mark.parametrize(
    "change",
    [
        {"AWS_ACCESS_KEY_ID": "wrong"},
        {"AWS_SECRET_ACCESS_KEY": "wrong"},
        {"AWS_SKIP_SIGNATURE": "true"},
        {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
    ],
)
def test_refused_and_missing_credentials_are_no_fault_of_the_network(
    s3, bucket, monkeypatch, tmp_path, change
):
    place, put = bucket
    put("key")
    for name, value in change.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for look in looks_of(Storage(place.url)):
        with pytest.raises(InvalidInputError, match=r"AWS_ACCESS_KEY_ID.*AWS_SKIP_SIGNATURE=true"):
            look()


@pytest.mark.s3
def test_a_bucket_that_is_not_there_is_named(s3):
    for look in looks_of(Storage("s3://nowhere/x"))[:3]:
        with pytest.raises(NotFoundError, match="s3://nowhere/x"):
            look()


@pytest.mark.s3
def test_credentials_of_aws_configure_and_the_endpoint_of_s3_alone_are_used(
    s3, bucket, monkeypatch, tmp_path
):
    place, put = bucket
    put("key")
    (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id={s3.access_key}\naws_secret_access_key={s3.secret_key}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    there = Storage(place.url)
    assert there.list() == {"key": 6}
    assert (there.upath / "key").read_bytes() == b"theirs"


@pytest.mark.parametrize("name", ["AWS_SKIP_SIGNATURE", "AWS_NO_SIGN_REQUEST"])
@pytest.mark.parametrize(
    ("text", "is_anonymous"),
    [("true", True), ("1", True), ("YES", True), ("On", True), ("false", False), ("0", False)],
)
def test_anonymous_reading_is_spelt_as_people_do(monkeypatch, name, text, is_anonymous):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv(name, text)
    place = Storage("s3://bucket/x")
    assert place.upath.fs.anon is is_anonymous
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv(name, "perhaps")
    with pytest.raises(InvalidInputError, match=f"{name}=perhaps is neither true nor false"):
        Storage("s3://bucket/x").read("key")
