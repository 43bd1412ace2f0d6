"""The derived catalogue as a user opens it: one snapshot and one manifest are read, nothing else.

>>> cat = open_catalog("s3://bucket/catalogue")  # doctest: +SKIP
>>> stars = cat.cone(ra=56.75, dec=24.12, radius_deg=1.0)  # doctest: +SKIP
>>> stars.where("reduced_chi2 < 1.5").to_table()  # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpscale.catalog.manifest import Manifest, Snapshot
from xpscale.errors import PermanentError
from xpscale.query.engine import known_columns
from xpscale.query.selection import Selection
from xpscale.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

__all__ = ["CREDIT", "Catalog", "open_catalog"]

CREDIT = "Gaia data: ESA/Gaia/DPAC"


@dataclass(frozen=True, eq=False, repr=False)
class Catalog:
    """One published version of a derived catalogue.

    Parameters
    ----------
    storage
        Where it lies.
    snapshot
        The version.
    manifest
        Its parts.
    """

    storage: Storage
    snapshot: Snapshot
    manifest: Manifest

    @property
    def model_id(self) -> str:
        """Content hash of the model that made it."""
        return self.manifest.identity.model_id

    @property
    def n_rows(self) -> int:
        """Number of sources."""
        return self.manifest.n_out

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns of all its products."""
        return tuple(known_columns(self.manifest.identity))

    def select(self) -> Selection:
        """All rows, to be narrowed."""
        return Selection(self)

    def cone(self, ra: float, dec: float, radius_deg: float) -> Selection:
        """Sources within ``radius_deg`` of a point (ICRS, all in degrees)."""
        return self.select().cone(ra, dec, radius_deg)

    def at(self, source_ids: int | Iterable[int]) -> Selection:
        """Sources by Gaia DR3 identifier; what is not here is in `Selection.missing`."""
        return self.select().at(source_ids)

    def where(self, condition: str) -> Selection:
        """Sources that satisfy a condition in SQL over the columns, such as ``"reduced_chi2 <
        1.5"``.
        """
        return self.select().where(condition)

    def columns(self, *names: str) -> Selection:
        """All sources, only these columns."""
        return self.select().columns(*names)

    def with_spectra(self) -> Selection:
        """All sources, with the arrays ``reconstruction`` and ``scatter``."""
        return self.select().with_spectra()

    def sql(self, query: str) -> pa.Table:
        """The result of one SELECT over the tables ``latents`` and ``spectra``; see
        `xpscale.query.sql.sql`.
        """
        from xpscale.query.sql import sql

        return sql(self, query)

    def lsdb(self, **options: Any) -> Any:
        """The catalogue as a lazy lsdb catalogue, for crossmatches and whole-sky work on a Dask
        cluster.

        Parameters
        ----------
        options
            Arguments of ``lsdb.open_catalog``, such as ``columns``.

        Raises
        ------
        PermanentError
            If lsdb is not installed.
        """
        try:
            import lsdb
        except ImportError as error:
            raise PermanentError("lsdb is not installed", 'pip install "xpscale[lsdb]"') from error
        return lsdb.open_catalog(self.storage.upath, **options)  # type: ignore[attr-defined]

    def provenance(self, query: str) -> dict[str, str]:
        """What a file made from this catalogue should say about itself."""
        from importlib.metadata import version

        return {
            "query": query,
            "catalog": self.storage.url,
            "snapshot": str(self.snapshot.number),
            "model_id": self.model_id,
            "release": self.manifest.identity.release,
            "software": f"xpscale {version('xpscale')}",
            "credit": CREDIT,
        }

    def __repr__(self) -> str:
        return (
            f"{self.n_rows:,} rows · {len(self.manifest.of('latents')):,} partitions · "
            f"model {self.model_id[:6]}.. · snapshot {self.snapshot.number}"
        )


def open_catalog(url: str | Storage) -> Catalog:
    """Open the current version of a derived catalogue.

    Parameters
    ----------
    url
        A local folder, ``s3://bucket/prefix`` or ``https://host/prefix``.

    Raises
    ------
    NotFoundError
        If there is no published catalogue.
    """
    from xpscale.catalog.snapshots import current, read_manifest

    storage = url if isinstance(url, Storage) else Storage(url)
    snapshot = current(storage)
    return Catalog(storage, snapshot, read_manifest(storage, snapshot))
