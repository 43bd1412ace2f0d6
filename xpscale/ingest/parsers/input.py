"""An input as the user gives it: an address, the files there, and what the user says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xpscale.bands import Bands
from xpscale.column_names import ColumnChoice
from xpscale.errors import InvalidInputError
from xpscale.ingest.given_sources import SourceInput
from xpscale.ingest.source_index import JoinedSources
from xpscale.ingest.table_formats import format_of
from xpscale.packed_files import packed_kind
from xpscale.release import DR3, Release
from xpscale.storage import Storage
from xpscale.store.parquet_files import is_parquet

__all__ = ["Input"]


@dataclass(frozen=True)
class Input:
    """Files to ingest, not yet recognised.

    Parameters
    ----------
    url
        The address that was given.
    storage
        The folder of the files.
    files
        Bytes by key, of a single file only that one; empty for a folder on the web.
    sources
        The table of positions, G flux and companions that was given, if one was.
    store
        Where the spectra store will be.
    correlations
        Whether correlations of coefficients are wanted.
    allow_unpaired
        Whether a file that lacks its partner is a damaged file, and not an error.
    release
        The data release, if the user says which.
    bands
        Coefficients of each band, if the user says how many.
    columns
        What the user says columns are called.
    trust_units
        Whether the user says that units are right.
    left_aside
        Names of tables and members of zips that are none of spectra.
    """

    url: str
    storage: Storage
    files: Mapping[str, int] = field(repr=False)
    sources: SourceInput | None = None
    store: Storage | None = None
    correlations: bool = False
    allow_unpaired: bool = False
    release: Release | None = None
    bands: Bands | None = None
    columns: ColumnChoice = field(default_factory=ColumnChoice)
    trust_units: bool = False
    left_aside: tuple[str, ...] = ()

    @staticmethod
    def at(
        url: str,
        *,
        sources: SourceInput | None = None,
        store: Storage | None = None,
        correlations: bool = False,
        allow_unpaired: bool = False,
        release: Release | None = None,
        bands: Bands | None = None,
        columns: ColumnChoice | None = None,
        trust_units: bool = False,
    ) -> Input:
        """List the files at an address.

        Parameters
        ----------
        url
            A folder, a file, ``s3://`` or ``https://``.
        sources, store, correlations, allow_unpaired, release, bands, columns, trust_units
            As of `Input`.

        Raises
        ------
        InvalidInputError
            A spectra store is there.
        """
        storage = Storage(url)
        files: Mapping[str, int] = {}
        name, folder = storage.name, storage.parent
        if (format_of(name) or packed_kind(name)) and (n_bytes := folder.size(name)) is not None:
            storage, files = folder, {name: n_bytes}
        elif storage.exists("zarr.json"):
            raise InvalidInputError(
                f"{url} is a spectra store (or another Zarr group)", "It needs no ingest"
            )
        elif storage.can_list:
            files = storage.list()
        of_sources = {sources.storage.url_of(key) for key in sources.files} if sources else set()
        files = {key: n for key, n in files.items() if storage.url_of(key) not in of_sources}
        return Input(
            url,
            storage,
            files,
            sources,
            store,
            correlations,
            allow_unpaired,
            release,
            bands,
            columns or ColumnChoice(),
            trust_units,
        )

    @property
    def join(self) -> JoinedSources | None:
        """Looks up sources once the ingest has begun; ``None`` if no table of them was given."""
        return JoinedSources(self.store, self.sources.key) if self.store and self.sources else None

    @property
    def layout(self) -> Release:
        """The release that says what folders, files and columns are called."""
        return self.release or DR3

    def require_one_kind(self, tables: Mapping[str, int]) -> None:
        """Refuse Parquet files among tables of other formats.

        Parameters
        ----------
        tables
            Keys of the tables.

        Raises
        ------
        InvalidInputError
            There are both; the message names one of each.
        """
        parquet = [key for key in tables if is_parquet(key)]
        others = [key for key in tables if not is_parquet(key)]
        if parquet and others:
            raise InvalidInputError(
                f"{self.url} holds Parquet files and others, {parquet[0]} and {others[0]}",
                "Give one kind of them",
            )
