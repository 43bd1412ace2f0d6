"""One published version of a derived catalogue: what everything that queries it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import pyarrow as pa

from xpscale.bands import Bands
from xpscale.catalog.derived_tables import DerivedTable
from xpscale.catalog.layout import LABELS
from xpscale.catalog.manifest import Manifest, RunIdentity, Snapshot
from xpscale.catalog.snapshots import require_own_tables
from xpscale.errors import PermanentError
from xpscale.extras import naming_extras
from xpscale.formatting import first_line
from xpscale.query.part_files import PartFiles
from xpscale.release import PAPER, Release, release_of
from xpscale.schema import SCHEMA_VERSION, Column
from xpscale.storage import Storage
from xpscale.storage.failures import explained
from xpscale.storage.ranges import RangeFile
from xpscale.types import Part

__all__ = ["PREFIX", "CatalogVersion", "stated_origin", "words_of"]

PREFIX = "xpscale."
"""Of the keys of our metadata in Arrow schemas and Parquet files."""


@dataclass(frozen=True, eq=False, repr=False)
class CatalogVersion:
    """A snapshot and its manifest.

    Parameters
    ----------
    storage
        Where the catalogue lies.
    snapshot
        The version.
    manifest
        Its parts.
    """

    storage: Storage
    snapshot: Snapshot
    manifest: Manifest

    @property
    def identity(self) -> RunIdentity:
        """What the catalogue is made of."""
        return self.manifest.identity

    @property
    def model_id(self) -> str:
        """Content hash of the model that made it."""
        return self.identity.model_id

    @property
    def release(self) -> Release:
        """The data release of its sources."""
        return self.identity.gaia_release

    @property
    def bands(self) -> Bands:
        """The numbers of BP and RP coefficients of its spectra."""
        return self.identity.bands

    @cached_property
    def files(self) -> PartFiles:
        """Its parts as files."""
        return PartFiles(self.storage, self.manifest.parts)

    @cached_property
    def labels(self) -> DerivedTable | None:
        """The record of its labels; ``None`` if nobody has published any."""
        from xpscale.catalog.derived_tables import read_table  # not for those who never ask

        return read_table(self.storage, LABELS, self.manifest.digest)

    @cached_property
    def label_parts(self) -> tuple[Part, ...]:
        """The parts of its labels, sorted by position; empty if nobody has published any."""
        parts = self.labels.parts if self.labels else ()
        self.files.include(parts)
        return tuple(sorted(parts, key=lambda part: part.pixel.index_range))

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of its tables: its products, and its labels if somebody has published any."""
        return (*self.identity.products, *([LABELS] if self.labels else []))

    def parts_of(self, table: str) -> tuple[Part, ...]:
        """The parts of one of its products, or of its labels, sorted by position."""
        return self.label_parts if table == LABELS else self.manifest.of(table)

    @property
    def n_rows(self) -> int:
        """Number of sources."""
        return self.manifest.n_out

    @cached_property
    def known_columns(self) -> dict[str, Column]:
        """Columns of all its products by name, in their order; those of both appear once."""
        found: dict[str, Column] = {}
        for product in self.identity.products:
            for column in self.product_columns(product):
                found.setdefault(column.name, column)
        return found

    def product_columns(self, product: str) -> tuple[Column, ...]:
        """The columns of one of its products.  What another version of xpscale wrote says itself
        what it holds.
        """
        if product == LABELS:
            return tuple(map(Column.of_field, self._label_schema))
        if self.identity.schema_version == SCHEMA_VERSION:
            return self.identity.columns(product)
        from xpscale.catalog.votable import stored_schema

        return tuple(map(Column.of_field, stored_schema(self.storage, self.manifest, product)))

    @cached_property
    def label_columns(self) -> dict[str, Column]:
        """What its labels add to the columns of its products, by name; empty if it has none."""
        taken = {name.casefold() for name in self.known_columns}
        columns = self.product_columns(LABELS) if self.label_parts else ()
        return {column.name: column for column in columns if column.name.casefold() not in taken}

    @cached_property
    def _label_schema(self) -> pa.Schema:
        import pyarrow.parquet as pq

        part = self.label_parts[0]
        file = RangeFile(partial(self.files.read_range, part.key), part.n_bytes)
        try:
            return pq.read_schema(file)
        except pa.ArrowInvalid as error:
            raise PermanentError(
                f"{self.storage.url_of(part.key)} is damaged ({first_line(error)})",
                "Delete it and run 'xpscale labels apply --publish'",
            ) from error

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns of all its products, and of its labels."""
        return (*self.known_columns, *self.label_columns)

    @property
    def origin(self) -> dict[str, str]:
        """Release and bands as words that travel with rows; `stated_origin` reads them."""
        widths = {name: str(width) for name, width in self.bands.to_dict().items()}
        return {"release": self.release.name, **widths}

    def provenance(self, query: str) -> dict[str, str]:
        """What a file made from this catalogue should say about itself."""
        from importlib.metadata import version

        return {
            "query": query,
            "catalog": self.storage.url,
            "snapshot": str(self.snapshot.number),
            "model_id": self.model_id,
            "software": f"xpscale {version('xpscale')}",
            **self.origin,
            "credit": "Gaia data: ESA/Gaia/DPAC",
            "reference": "; ".join((PAPER, *self.release.citation)),
        }

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
        with naming_extras():
            import lsdb
        require_own_tables(self.storage)
        with explained(self.storage.url):
            return lsdb.open_catalog(self.storage.upath, **options)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return (
            f"{self.n_rows:,} rows · {len(self.manifest.of('latents')):,} partitions · "
            f"model {self.model_id[:6]}.. · snapshot {self.snapshot.number}"
        )


def words_of(schema: pa.Schema) -> dict[str, str]:
    """What a table says about itself: the metadata of its schema under ``xpscale.``, as text."""
    metadata = {key.decode(): value for key, value in (schema.metadata or {}).items()}
    return {
        key.removeprefix(PREFIX): value.decode()
        for key, value in metadata.items()
        if key.startswith(PREFIX)
    }


def stated_origin(words: Mapping[str, str]) -> tuple[Bands, Release] | None:
    """Bands and release of rows, if what came with them says so."""
    if not {"release", "n_bp", "n_rp"} <= set(words):
        return None
    bands = Bands.from_dict(words)
    return bands, release_of(words["release"], bands)
