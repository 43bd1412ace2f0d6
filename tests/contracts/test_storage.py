"""Every kind of storage keeps the storage contract."""

import itertools

import pytest

from xpscale.errors import InvalidInputError, TryAgainError
from xpscale.storage import Storage
from xpscale.testing.contracts import StorageContract
from xpscale.testing.s3 import seaweedfs

NUMBERS = itertools.count()


class TestLocalStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        return Storage(str(tmp_path / "not yet" / "made"))


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with (
        seaweedfs(tmp_path_factory.mktemp("weed"), ("first", "xpscale")) as service,
        service.apply(),
    ):
        yield service


@pytest.mark.s3
class TestS3Storage(StorageContract):
    @pytest.fixture
    def storage(self, s3):
        return Storage(f"s3://xpscale/storage-{next(NUMBERS)}")


@pytest.mark.s3
def test_a_whole_bucket_is_a_storage(s3):
    storage = Storage("s3://first")
    assert storage.is_empty()
    assert storage.create("key", b"1")
    assert storage.list() == {"key": 1}


@pytest.mark.s3
def test_wrong_credentials_are_named(s3, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(InvalidInputError, match="AWS_SECRET_ACCESS_KEY"):
        Storage("s3://xpscale/there").read("key")


def test_a_full_disk_or_a_file_in_the_way_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((TryAgainError, InvalidInputError), match="file"):
        Storage(str(tmp_path / "file")).create("key", b"1")


@pytest.mark.parametrize("url", ["gs://bucket/x", "ftp://host/x"])
def test_unknown_schemes_are_refused(url):
    with pytest.raises(InvalidInputError, match="scheme"):
        Storage(url)


def test_the_web_is_read_only():
    with pytest.raises(InvalidInputError, match="read only"):
        Storage("https://example.invalid/x").create("key", b"1")
