"""The derived catalogue as a user opens it: one snapshot and one manifest are read, nothing else.

>>> cat = open_catalog("s3://bucket/catalogue")  # doctest: +SKIP
>>> stars = cat.cone(ra=56.75, dec=24.12, radius_deg=1.0)  # doctest: +SKIP
>>> stars.where("reduced_chi2 < 1.5").to_table()  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from xpscale.catalog.snapshots import read_manifest, version
from xpscale.query.frames import SHOWN_ROWS
from xpscale.query.selection import Narrowing, Selection
from xpscale.query.version import CatalogVersion
from xpscale.storage import Storage

__all__ = ["Catalog", "open_catalog"]


class Catalog(Narrowing, CatalogVersion):
    """One published version of a derived catalogue, to select from and to query."""

    def select(self) -> Selection:
        """All rows, to be narrowed."""
        return Selection(self)

    def columns(self, *names: str) -> Selection:
        """All sources, only these columns."""
        return self.select().columns(*names)

    def head(self, n: int = SHOWN_ROWS) -> Selection:
        """The first rows.

        Parameters
        ----------
        n
            How many at most.
        """
        return self.select().limit(n)

    def __getitem__(self, names: str | tuple[str, ...] | list[str]) -> Any:
        return self.select()[names]

    def __len__(self) -> int:
        return self.n_rows

    def _repr_html_(self) -> str:
        return self.select()._repr_html_()

    def sql(self, query: str, tables: Mapping[str, Any] | None = None) -> pa.Table:
        """The result of one SELECT over the products; see `xpscale.query.sql.sql`.

        Parameters
        ----------
        query
            One statement that only reads.
        tables
            Tables of the user's by the name that the query calls them.
        """
        from xpscale.query.sql import sql

        return sql(self, query, tables)


def open_catalog(url: str | Storage, snapshot: int | None = None) -> Catalog:
    """Open a version of a derived catalogue.

    Parameters
    ----------
    url
        A local folder, ``s3://bucket/prefix`` or ``https://host/prefix``.
    snapshot
        Number of the version, as ``xpscale catalog log`` lists it; by default the newest.

    Raises
    ------
    NotFoundError
        If there is no published catalogue, or not that version.
    """
    storage = url if isinstance(url, Storage) else Storage(url)
    found = version(storage, snapshot)
    return Catalog(storage, found, read_manifest(storage, found))
