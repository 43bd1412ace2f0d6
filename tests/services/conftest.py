import pytest

from tests.services.scenario import Scenario


@pytest.fixture(scope="session")
def scenario(tmp_path_factory) -> Scenario:
    return Scenario.make(tmp_path_factory.mktemp("services"))
