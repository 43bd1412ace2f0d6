import pytest

from tests.support.memory_reader import MemoryReader, planted


@pytest.fixture(scope="session")
def reader():
    return MemoryReader(planted(3000))
