"""Every kind of spectra keeps the reader contract: the Zarr store, and Parquet in all shapes, here
and on S3.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from tests.support.contracts import SpectraReaderContract
from tests.support.parquet_files import write_hats_spectra, write_parquet_files
from tests.support.services import seaweedfs
from xpscale.ingest.build import build_store
from xpscale.spectra import SpectraReader
from xpscale.store.open import open_parquet, open_spectra
from xpscale.store.parquet import ParquetSpectra
from xpscale.store.reader import SpectraStore
from xpscale.testing.universe import Universe

SHAPES = ("list", "fixed", "joined", "scalars", "scalars_from_1")
NUMBERS = itertools.count()
ROWS = Universe(300, seed=8).spectra()
ROWS.ra[100:103], ROWS.dec[100:103] = ROWS.ra[100], ROWS.dec[100]  # one place, three identifiers


def make_store(url):
    return build_store(
        [("all", ROWS)],
        url,
        attributes={"release": "synthetic", "origin": "u"},
        max_rows=40,
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return make_store(str(tmp_path_factory.mktemp("original") / "store"))


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with seaweedfs(tmp_path_factory.mktemp("weed")) as service, service.apply():
        yield service


@pytest.fixture(scope="module", params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def place(request, tmp_path_factory):
    """A prefix to write below."""
    if request.param == "local":
        return str(tmp_path_factory.mktemp("spectra"))
    request.getfixturevalue("s3")
    return f"s3://xpscale/{next(NUMBERS)}"


class OfRows(SpectraReaderContract):
    @pytest.fixture
    def spectra(self):
        return ROWS


class TestZarr(OfRows):
    @pytest.fixture(scope="module")
    @staticmethod
    def url(place):
        return make_store(f"{place}/store").url

    @pytest.fixture
    def reader(self, url):
        opened = open_spectra(url)
        assert isinstance(opened, SpectraStore)
        return opened


@dataclass(frozen=True)
class LeastReader(SpectraReader):
    """What a reader must have, and no more: the rest is the protocol's own."""

    store: SpectraStore

    @property
    def partitions(self):
        return self.store.partitions

    @property
    def bands(self):
        return self.store.bands

    @property
    def release(self):
        return self.store.release

    @property
    def digest(self):
        return self.store.digest

    def read(self, partition, *, errors=True):
        return self.store.read(partition, errors=errors)


class TestDefaults(OfRows):
    @pytest.fixture
    def reader(self, original):
        return LeastReader(original)


class TestHats(OfRows):
    @pytest.fixture(scope="module", params=SHAPES)
    @staticmethod
    def url(request, place, original):
        url = f"{place}/hats-{request.param}"
        write_hats_spectra(original, url, request.param)
        return url

    @pytest.fixture
    def reader(self, url):
        opened = open_spectra(url)
        assert isinstance(opened, ParquetSpectra)
        assert opened.is_hats
        return opened

    def test_its_pixels_are_the_partitions(self, reader, original):
        described = [(partition.key, partition.n_rows) for partition in reader.partitions]
        assert described == [(partition.key, partition.n_rows) for partition in original.partitions]
        assert reader.read_factor == 1


class TestPlainFiles(OfRows):
    """Rows in random order over four files: every row group reaches into most partitions."""

    @pytest.fixture(scope="module", params=SHAPES)
    @staticmethod
    def url(request, place):
        url = f"{place}/plain-{request.param}"
        shuffled = ROWS.take(np.random.default_rng(1).permutation(len(ROWS)))
        write_parquet_files(shuffled, url, request.param, n_files=4, row_group_rows=30)
        return url

    @pytest.fixture
    def reader(self, url):
        return open_parquet(url, max_rows=40)

    def test_its_partitions_are_those_of_an_ingest(self, reader, original):
        described = [(partition.key, partition.n_rows) for partition in reader.partitions]
        assert described == [(partition.key, partition.n_rows) for partition in original.partitions]
