"""Every kind of storage keeps the storage contract."""

import itertools
import os
import pickle

import pytest

from tests.archive.faulty_web import Fault, faulty_web
from tests.support.contracts import StorageContract
from tests.support.services import seaweedfs
from xpscale.errors import InvalidInputError, NotFoundError, TryAgainError
from xpscale.storage import Storage
from xpscale.storage.failures import Busy

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


# -- what reading promises, of places that cannot be written, too

OBJECTS = {"a/key": bytes(range(256)) * 5, "a/b=1/empty": b"", "big": os.urandom(3 << 20)}


class StoredObjects:
    """Objects that lie somewhere are read.  Needs a fixture ``storage`` of `OBJECTS`."""

    def test_whole_and_in_parts(self, storage):
        for key, data in OBJECTS.items():
            assert storage.read(key) == data
            assert storage.size(key) == len(data)
            assert storage.exists(key)
        assert storage.read_range("a/key", 1_270, 3) == bytes([246, 247, 248])
        assert storage.read_range("a/key", 1_275, 100) == bytes([251, 252, 253, 254, 255])
        assert storage.read_range("a/key", 10, 0) == b""
        assert (storage / "a").read("key") == OBJECTS["a/key"]

    def test_as_a_file_by_range_or_by_block(self, storage):
        for buffer_bytes in (0, 1_000):
            with storage.open("big", buffer_bytes=buffer_bytes) as file:
                assert file.read(5_000) == OBJECTS["big"][:5_000]
                assert file.seek(-2, os.SEEK_END) == len(OBJECTS["big"]) - 2
                assert file.read() == OBJECTS["big"][-2:]
                assert file.read(1) == b""

    @pytest.mark.parametrize("offset", [0, 1, 3_000_000])
    def test_as_a_stream_from_an_offset(self, storage, offset):
        with storage.stream("big", offset) as stream:
            assert (stream.start, stream.n_bytes) == (offset, len(OBJECTS["big"]))
            assert b"".join(stream.blocks) == OBJECTS["big"][offset:]

    def test_what_is_not_there_is_named(self, storage):
        assert storage.size("nothing") is None
        assert not storage.exists("nothing")
        for read in (storage.read, storage.open, lambda key: storage.read_range(key, 0, 1)):
            with pytest.raises(NotFoundError, match="nothing does not exist"):
                read("nothing")
        with pytest.raises(NotFoundError, match="nothing"), storage.stream("nothing"):
            pass

    def test_it_travels_as_its_url(self, storage):
        assert storage.read("a/key")
        copy = pickle.loads(pickle.dumps(storage))
        assert (copy, hash(copy)) == (storage, hash(storage))
        assert copy.read("a/key") == OBJECTS["a/key"]


class TestStoredOnDisk(StoredObjects):
    @pytest.fixture
    def storage(self, tmp_path):
        return filled(Storage(str(tmp_path)))


class StoredOnAServer(StoredObjects):
    def test_an_object_that_is_shorter_than_believed_is_damaged(self, storage):
        with pytest.raises(InvalidInputError, match="has 1280 bytes and is asked for byte 5000"):
            storage.read_range("a/key", 5_000, 10)


@pytest.mark.s3
class TestStoredInABucket(StoredOnAServer):
    @pytest.fixture
    def storage(self, s3):
        return filled(Storage(f"s3://xpscale/stored-{next(NUMBERS)}"))


class TestStoredOnTheWeb(StoredOnAServer):
    @pytest.fixture
    def storage(self, tmp_path):
        filled(Storage(str(tmp_path)))
        with faulty_web(tmp_path) as web:
            yield Storage(web.url)

    def test_it_is_read_only(self, storage):
        for write in (storage.create, storage.replace):
            with pytest.raises(InvalidInputError, match="read only"):
                write("key", b"1")
        with pytest.raises(InvalidInputError, match="read only"):
            storage.delete("a/key")
        assert not storage.can_list


def filled(storage):
    for key, data in OBJECTS.items():
        storage.replace(key, data)
    return storage


def test_a_busy_server_says_when_to_come_back_and_one_that_refuses_is_not_asked_again(tmp_path):
    filled(Storage(str(tmp_path)))
    with faulty_web(tmp_path) as web:
        storage = Storage(web.url)
        web.once["a/key"].append(Fault(status=503, retry_after="7"))
        with pytest.raises(Busy) as raised, storage.stream("a/key"):
            pass
        assert raised.value.wait_s == 7
        web.heads["a/key"] = Fault(status=400)
        with pytest.raises(InvalidInputError, match="400"):
            storage.size("a/key")


@pytest.mark.parametrize("kind", ["disk", pytest.param("bucket", marks=pytest.mark.s3)])
def test_a_place_is_removed_with_its_folders(kind, tmp_path, request):
    if kind == "bucket":
        request.getfixturevalue("s3")
    parent = Storage("s3://xpscale/removed" if kind == "bucket" else str(tmp_path / "removed"))
    for name in ("one", "two"):
        filled(parent / name)
    (parent / "one").remove()
    assert list(parent.list()) == [f"two/{key}" for key in sorted(OBJECTS)]
    (parent / "two").remove()
    assert parent.is_empty()
    assert not (tmp_path / "removed").exists()


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


@pytest.mark.parametrize("url", ["hdfs://bucket/x", "ftp://host/x"])
def test_unknown_schemes_are_refused(url):
    with pytest.raises(InvalidInputError, match="scheme"):
        Storage(url)


def test_the_web_is_read_only():
    with pytest.raises(InvalidInputError, match="read only"):
        Storage("https://example.invalid/x").create("key", b"1")
