from pathlib import Path

import pytest

from tests import small_maps as maps
from xpscale.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "catalog"))


@pytest.fixture(scope="module")
def small_maps():
    with maps.small_maps():
        yield
