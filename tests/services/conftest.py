import pytest

from tests.services.world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    return World.make(tmp_path_factory.mktemp("services"))
