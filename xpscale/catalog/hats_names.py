"""The tables that a HATS collection names: hats and lsdb open whatever path stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpscale.catalog.layout import COLLECTION
from xpscale.storage.address import inside

if TYPE_CHECKING:
    from xpscale.storage import Storage

__all__ = ["require_own_tables"]

NAMING = {
    *("hats_primary_table_url", "hats_assn_join_table_url", "all_extensions"),
    *("all_margins", "default_margin", "all_indexes", "default_index"),
}
"""Properties whose words are names of folders."""


def require_own_tables(storage: Storage) -> None:
    """Refuse a collection that names a table outside itself.

    Parameters
    ----------
    storage
        The collection.

    Raises
    ------
    InvalidInputError
        The message has the name.
    """
    for line in storage.read(COLLECTION).decode("utf-8", "replace").splitlines():
        name, _, value = line.partition("=")
        if name.strip() in NAMING:
            for word in value.split():
                inside(word, storage.url)
