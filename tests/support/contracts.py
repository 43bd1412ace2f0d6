"""What every implementation must do, as test classes: inherit one, give it a fixture, run it with
pytest.

class TestLocalStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        return Storage(str(tmp_path / "store"))
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xpscale.errors import ConflictError, NotFoundError
from xpscale.sky import healpix_29
from xpscale.spectra import SpectraBatch, SpectraReader
from xpscale.storage import Storage
from xpscale.storage.object_files import duckdb_name, open_to

__all__ = ["SpectraReaderContract", "StorageContract"]

ODD_NAMES = ("run#1", "what?", "a%20b", "a b+c", "set[1]", "50%", "star*", "Weiße Zwerge")
"""Names that some library could take for something else than they are."""


class StorageContract:
    """Objects are created once, replaced whole, listed, and removed.  Needs a fixture ``storage``,
    fresh and empty.
    """

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
        """Eight threads create the same key at once: one is told that it won, and its bytes are
        there.
        """
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
        """UPath, as hats takes it, and DuckDB read the same bytes."""
        storage.create("a/key", b"value")
        assert (storage.upath / "a" / "key").read_bytes() == b"value"

    def test_litter_is_not_listed_but_is_there(self, storage: Storage) -> None:
        """What macOS, notebooks, Windows and Hadoop leave is passed over by who lists, in every
        folder; a place that holds it is not empty.
        """
        storage.create(".DS_Store", b"1")
        assert storage.first_key() == ".DS_Store"
        for key in ("a/._x.csv", "a/.ipynb_checkpoints/x.csv", "Thumbs.db", "a_$folder$", "x~"):
            storage.create(key, b"1")
        storage.create("a/x.csv", b"1")
        assert storage.list() == {"a/x.csv": 1}
        assert storage.list("a") == {"a/x.csv": 1}
        assert storage.list("a/.ipynb_checkpoints") == {"a/.ipynb_checkpoints/x.csv": 1}
        assert len(storage.objects()) == 7

    def test_only_what_is_ours_is_replaced(self, storage: Storage) -> None:
        """Another's object stays, and is named, however late it came."""
        storage.replace("key", b"ours 1", lambda there: there.startswith(b"ours"))
        storage.replace("key", b"ours 2", lambda there: there.startswith(b"ours"))
        assert storage.read("key") == b"ours 2"
        storage.replace("key", b"theirs")
        with pytest.raises(ConflictError, match="key is there, and xpscale did not write it"):
            storage.replace("key", b"ours 3", lambda there: there.startswith(b"ours"))
        assert storage.read("key") == b"theirs"

    def test_everything_is_removed(self, storage: Storage) -> None:
        """Litter, too."""
        for key in ("a/b/c", ".DS_Store", "a/._b"):
            storage.create(key, b"1")
        storage.remove()
        assert storage.is_empty()

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_a_prefix_is_taken_as_it_is_spelt(self, storage: Storage, name: str) -> None:
        """By us, by UPath (hats), and by DuckDB, for which some characters are patterns."""
        import duckdb

        place, key = storage / f"{name}/cat", "a/part.parquet"
        assert place.create(key, _parquet(1))
        assert (storage / f"{name[:2]}/cat").create(key, _parquet(2))
        assert set(storage.list()) == {f"{name[:2]}/cat/{key}", f"{name}/cat/{key}"}
        assert list(place.list()) == [key]
        assert (place.upath / "a" / "part.parquet").read_bytes() == _parquet(1)
        with duckdb.connect(":memory:") as connection:
            open_to(place, place, connection)
            found = connection.execute("FROM read_parquet($1)", [duckdb_name(place, key)])
            assert found.fetchall() == [(1,)]


def _parquet(number: int) -> bytes:
    """A Parquet file of one number."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"number": [number]}), buffer)
    return buffer.getvalue()


class SpectraReaderContract:
    """Every row once, in its partition, sorted by position and, at one place, by identifier.

    Needs two fixtures: ``spectra``, the rows as one batch with errors, in any order; and
    ``reader``, a fresh reader of exactly these rows.
    """

    @pytest.fixture
    def spectra(self) -> SpectraBatch:
        """All rows."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def reader(self) -> SpectraReader:
        """A reader of the rows of ``spectra``."""
        raise NotImplementedError("override this fixture")

    def test_partitions_are_disjoint_and_sorted(self, reader: SpectraReader) -> None:
        """No pixel lies in another, and they follow the sky's integer axis."""
        ranges = [partition.pixel.index_range for partition in reader.partitions]
        assert len(ranges) > 1
        assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(ranges))
        keys = [partition.key for partition in reader.partitions]
        assert len(set(keys)) == len(keys)

    def test_every_row_is_read_once_and_as_it_was_given(
        self, reader: SpectraReader, spectra: SpectraBatch
    ) -> None:
        """Bit for bit, in order of ``_healpix_29``, each in its partition's pixel."""
        batches = [reader.read(partition) for partition in reader.partitions]
        assert [len(batch) for batch in batches] == [
            partition.n_rows for partition in reader.partitions
        ]
        for partition, batch in zip(reader.partitions, batches, strict=True):
            index = healpix_29(batch.ra, batch.dec)
            low, high = partition.pixel.index_range
            assert low <= index[0] <= index[-1] < high
            assert np.all(np.diff(index) >= 0)
        found = SpectraBatch.concatenate(batches)
        expected = spectra.take(
            np.lexsort((spectra.source_id, healpix_29(spectra.ra, spectra.dec)))
        )
        assert found.bands == expected.bands == reader.bands
        for field in dataclasses.fields(SpectraBatch):
            values = getattr(found, field.name)
            if not isinstance(values, np.ndarray):
                continue
            assert values.dtype == getattr(expected, field.name).dtype
            np.testing.assert_array_equal(values, getattr(expected, field.name), err_msg=field.name)

    def test_the_width_is_known_before_reading(
        self, reader: SpectraReader, spectra: SpectraBatch
    ) -> None:
        """C is that of the rows."""
        assert reader.n_coefficients == spectra.n_coefficients

    def test_errors_are_left_out_if_not_asked_for(self, reader: SpectraReader) -> None:
        """All else is the same."""
        partition = reader.partitions[0]
        bare = reader.read(partition, errors=False)
        assert bare.coefficient_errors is None
        np.testing.assert_array_equal(bare.coefficients, reader.read(partition).coefficients)

    def test_arrays_are_read_alone(self, reader: SpectraReader) -> None:
        """Any choice of them, with the rows in the order of `read`."""
        partition = reader.partitions[0]
        whole = reader.read(partition)
        arrays = sorted({f.name for f in dataclasses.fields(whole)} - {"bands", "companions"})
        for names in (["phot_g_mean_flux"], ["dec", "coefficients"], ["source_id"], arrays, []):
            columns = reader.read_columns(partition, names)
            assert list(columns) == names
            for name, values in columns.items():
                assert values.dtype == getattr(whole, name).dtype
                np.testing.assert_array_equal(values, getattr(whole, name), err_msg=name)

    def test_a_worker_gets_the_same_reader(self, reader: SpectraReader) -> None:
        """Reader and partitions travel by pickle, small, before and after use."""
        partition = reader.partitions[-1]
        batch = reader.read(partition)
        data = pickle.dumps(reader)
        assert len(data) < 10_000
        copy, its_partition = pickle.loads(data), pickle.loads(pickle.dumps(partition))
        assert copy.digest == reader.digest
        assert its_partition == partition
        np.testing.assert_array_equal(copy.read(its_partition).source_id, batch.source_id)
        assert copy.partitions == reader.partitions

    def test_the_digest_is_of_the_content(self, reader: SpectraReader) -> None:
        """A hash of 256 bits, the same before and after reading."""
        before = reader.digest
        reader.read(reader.partitions[0])
        assert reader.digest == before
        assert len(bytes.fromhex(before)) == 32
