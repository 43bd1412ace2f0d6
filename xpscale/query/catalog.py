"""The derived catalogue as a user opens it: one snapshot and one manifest are read, nothing else.

>>> cat = open_catalog("s3://bucket/catalogue")  # doctest: +SKIP
>>> stars = cat.cone(ra=56.75, dec=24.12, radius_deg=1.0)  # doctest: +SKIP
>>> stars.where("reduced_chi2 < 1.5").to_table()  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xpscale.query.selection import Selection
from xpscale.query.version import CatalogVersion
from xpscale.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Catalog", "open_catalog"]


class Catalog(CatalogVersion):
    """One published version of a derived catalogue, to select from and to query."""

    def select(self) -> Selection:
        """All rows, to be narrowed."""
        return Selection(self)

    def cone(self, ra: float, dec: float, radius_deg: float) -> Selection:
        """Sources within a distance of a point; see `Selection.cone`.

        Parameters
        ----------
        ra, dec
            The point, ICRS, in degrees.
        radius_deg
            The largest distance, in degrees.
        """
        return self.select().cone(ra, dec, radius_deg)

    def at(self, source_ids: Any) -> Selection:
        """Sources by Gaia identifier, in any form: see `Selection.at`; what is not here is in
        `Selection.missing`.
        """
        return self.select().at(source_ids)

    def where(self, condition: str) -> Selection:
        """Sources that satisfy a condition in SQL, such as ``"reduced_chi2 < 1.5"``."""
        return self.select().where(condition)

    def columns(self, *names: str) -> Selection:
        """All sources, only these columns."""
        return self.select().columns(*names)

    def with_spectra(self) -> Selection:
        """All sources, with the arrays ``reconstruction`` and ``scatter``."""
        return self.select().with_spectra()

    def sql(self, query: str) -> pa.Table:
        """The result of one SELECT over the products; see `xpscale.query.sql.sql`."""
        from xpscale.query.sql import sql

        return sql(self, query)


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
    from xpscale.catalog.snapshots import read_manifest, version

    storage = url if isinstance(url, Storage) else Storage(url)
    found = version(storage, snapshot)
    return Catalog(storage, found, read_manifest(storage, found))
