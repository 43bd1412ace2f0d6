import pytest

from tests.support.memory_reader import MemoryReader, planted
from xpscale.ingest.build import build_store
from xpscale.testing.universe import Universe


@pytest.fixture(scope="session")
def reader():
    return MemoryReader(planted(3000))


@pytest.fixture(scope="session")
def universe_store(tmp_path_factory):
    """20,000 sources in a dozen partitions."""
    pieces = ((f"part {i}", batch) for i, batch in enumerate(Universe(20_000, seed=2).batches()))
    where = str(tmp_path_factory.mktemp("sample") / "store")
    return build_store(pieces, where, attributes={"release": "synthetic"}, max_rows=4096)
