"""Maps of the sky with few cells, so that a commit is quick."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from xpscale.catalog import hats_properties, hats_tables, sky_picture

SMALL = (
    (hats_tables, "SKYMAP_ORDER", 1),
    (hats_properties, "SKYMAP_ORDER", 1),
    (hats_tables, "LOW_ORDERS", ()),
    (hats_properties, "LOW_ORDERS", ()),
    (hats_tables, "MOC_ORDER", 2),
    (sky_picture, "WIDTH", 8),
    (sky_picture, "HEIGHT", 4),
)


@contextmanager
def small_maps() -> Iterator[None]:
    """Commits of this process write small maps inside."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in SMALL:
            patch.setattr(module, name, value)
        yield
