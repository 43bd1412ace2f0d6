from pathlib import Path

import pytest

from xpscale.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "catalog"))
