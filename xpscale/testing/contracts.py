"""What every implementation must do, as test classes: inherit one, give it a fixture, run it with pytest.

class TestLocalStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        return Storage(str(tmp_path / "store"))
"""

from __future__ import annotations

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from xpscale.errors import NotFoundError
from xpscale.storage import Storage

__all__ = ["StorageContract"]


class StorageContract:
    """Objects are created once, replaced whole, listed, and removed.  Needs a fixture ``storage``, fresh and empty."""

    @pytest.fixture
    def storage(self) -> Storage:
        """A place where nothing is stored."""
        raise NotImplementedError("override this fixture")

    def test_nothing_is_there_at_first(self, storage: Storage) -> None:
        """An unwritten place is empty, not an error."""
        assert storage.is_empty()
        assert storage.list() == {}
        assert storage.list("some/folder") == {}
        assert storage.size("key") is None
        assert not storage.exists("key")
        with pytest.raises(NotFoundError, match="key does not exist"):
            storage.read("key")

    def test_what_is_created_reads_back(self, storage: Storage) -> None:
        """Bytes of any size and nesting come back as they were."""
        objects = {"empty": b"", "a/b=1/c.bin": os.urandom(1_000), "big": os.urandom(12 << 20)}
        for key, data in objects.items():
            assert storage.create(key, data)
            assert storage.read(key) == data
            assert storage.size(key) == len(data)
            assert storage.exists(key)
        assert not storage.is_empty()
        assert not storage.exists("a")
        assert not storage.exists("a/b=1")

    def test_the_first_writer_wins(self, storage: Storage) -> None:
        """A second create neither overwrites nor raises; an equal one counts as its own."""
        assert storage.create("key", b"first")
        assert not storage.create("key", b"second")
        assert storage.create("key", b"first")
        assert storage.read("key") == b"first"

    def test_of_many_writers_one_wins(self, storage: Storage) -> None:
        """Eight threads create the same key at once: one is told that it won, and its bytes are there."""
        start = threading.Barrier(8)

        def write(number: int) -> bool:
            start.wait()
            return storage.create("key", bytes([number]) * 100_000)

        for _ in range(3):
            with ThreadPoolExecutor(8) as pool:
                won = list(pool.map(write, range(8)))
            assert sum(won) == 1
            assert storage.read("key") == bytes([won.index(True)]) * 100_000
            storage.delete("key")

    def test_replace_overwrites_whole(self, storage: Storage) -> None:
        """A shorter object leaves nothing of a longer one."""
        storage.replace("a/key", b"long" * 100)
        storage.replace("a/key", memoryview(b"short"))
        assert storage.read("a/key") == b"short"
        assert storage.list() == {"a/key": 5}

    def test_list_is_sorted_and_below_a_folder(self, storage: Storage) -> None:
        """Keys are relative to the storage; a prefix is a folder, not the beginning of a name."""
        for key in ("b/2", "b/10", "a", "bb/1", "b/c/3"):
            storage.create(key, key.encode())
        assert list(storage.list()) == ["a", "b/10", "b/2", "b/c/3", "bb/1"]
        assert storage.list("b") == {"b/10": 4, "b/2": 3, "b/c/3": 5}
        assert storage.list("b/") == storage.list("b")
        assert list((storage / "b").list()) == ["10", "2", "c/3"]

    def test_keys_with_odd_characters_survive(self, storage: Storage) -> None:
        """Spaces, equal signs, percent and plus signs are part of the key."""
        keys = ["with space", "k=v/p+q", "100%", "ünïcode"]
        for key in keys:
            assert storage.create(key, key.encode())
        assert sorted(storage.list()) == sorted(keys)
        assert all(storage.read(key) == key.encode() for key in keys)

    def test_an_open_object_reads_at_any_offset(self, storage: Storage) -> None:
        """As a file: from its start, its end, and where the last read stopped."""
        storage.create("key", bytes(range(100)))
        with storage.open("key") as file:
            assert file.read(3) == bytes([0, 1, 2])
            assert file.seek(-2, os.SEEK_END) == 98
            assert file.read() == bytes([98, 99])
            assert file.read(1) == b""
            file.seek(10)
            file.seek(5, os.SEEK_CUR)
            assert (file.read(2), file.tell()) == (bytes([15, 16]), 17)
        with pytest.raises(NotFoundError, match="nothing does not exist"):
            storage.open("nothing")

    def test_delete_removes_and_forgives(self, storage: Storage) -> None:
        """What is not there need not be deleted."""
        storage.create("a/key", b"1")
        storage.create("other", b"2")
        storage.delete("a/key", "never/there")
        assert storage.list() == {"other": 1}
        assert storage.create("a/key", b"3")

    def test_a_copy_in_another_process_sees_the_same(self, storage: Storage) -> None:
        """Storage travels by pickle, after use as before."""
        storage.create("key", b"value")
        copy = pickle.loads(pickle.dumps(storage))
        assert copy == storage
        assert copy.read("key") == b"value"
        assert copy.create("another", b"1")
        assert storage.read("another") == b"1"

    def test_other_libraries_open_the_same_objects(self, storage: Storage) -> None:
        """The doors for fsspec and UPath lead to the same bytes."""
        storage.create("a/key", b"value")
        with storage.filesystem.open(f"{storage.path}/a/key", "rb") as stream:
            assert stream.read() == b"value"
        assert (storage.upath / "a" / "key").read_bytes() == b"value"
