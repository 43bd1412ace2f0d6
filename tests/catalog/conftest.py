from pathlib import Path

import pytest

from xpscale.catalog import hats_properties, hats_tables, sky_picture
from xpscale.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "catalog"))


SMALL = (
    (hats_tables, "SKYMAP_ORDER", 1),
    (hats_properties, "SKYMAP_ORDER", 1),
    (hats_tables, "LOW_ORDERS", ()),
    (hats_properties, "LOW_ORDERS", ()),
    (hats_tables, "MOC_ORDER", 2),
    (sky_picture, "WIDTH", 8),
    (sky_picture, "HEIGHT", 4),
)
"""So that a commit is quick."""


@pytest.fixture(scope="module")
def small_maps():
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in SMALL:
            patch.setattr(module, name, value)
        yield
