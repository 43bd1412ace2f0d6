"""A table of sources that spectra are joined with, however large: described, indexed, looked up.

Sources may be as many as Gaia has, and a task needs those of its spectra.  So the index holds, for
each row group of Parquet, the least and the largest identifier in it, and a task reads only the
row groups that its identifiers fall into, and of them only the columns it needs.  A HATS catalogue
is sorted by position: there the row groups of a source's own pixel are read first, and others only
for sources that are not found there, because they have moved.  Other tables are sorted once and
staged in the store being made.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xpscale.archive.sources import NEEDED
from xpscale.column_names import ColumnChoice
from xpscale.columns import SourceColumns
from xpscale.errors import NotFoundError
from xpscale.ingest.source_index import SourceIndex
from xpscale.ingest.source_rows import (
    ROW_GROUP_ROWS,
    columns_of_sources,
    parquet_rows,
    sorted_parts,
    table_rows,
)
from xpscale.ingest.staged import STAGING
from xpscale.ingest.table_formats import content_hash, file_digest, format_of
from xpscale.storage import Storage
from xpscale.store.hats_listing import hats_pixel
from xpscale.store.open import dataset_of, with_hats_position
from xpscale.store.parquet_files import (
    ParquetFile,
    content_digest,
    footers,
    is_parquet,
    list_files,
    require_all_rows,
)

if TYPE_CHECKING:
    from xpscale.ingest.source_rows import Rows

__all__ = ["SourceInput", "open_sources"]

MAX_OVERLAP = 4.0
"""Row groups that may hold one identifier, on average, before sorting pays."""


@dataclass(frozen=True)
class SourceInput:
    """A table of sources as the user gives it.

    Parameters
    ----------
    url
        Its address.
    storage
        Where its files are.
    files
        Bytes by key.
    parquet
        Their footers, if they are Parquet.
    choice
        What the user says of its columns.
    digest
        Content hash.
    """

    url: str
    storage: Storage
    files: dict[str, int]
    parquet: tuple[ParquetFile, ...]
    choice: ColumnChoice
    digest: str

    @property
    def key(self) -> str:
        """Where its index is staged: ``_xpscale/staging/sources.1f2e3d4c``."""
        return f"{STAGING}/sources.{self.digest[:8]}"

    def prepare(self, store: Storage) -> None:
        """Stage the index, and the rows sorted by identifier if they are not; does nothing if that
        was done before.

        Parameters
        ----------
        store
            The store being made.

        Raises
        ------
        InvalidInputError
            A file is damaged or lacks a column.
        """
        if store.exists(f"{self.key}.json"):
            return
        if self.parquet and (_is_hats(self.parquet) or _overlap(self.parquet) <= MAX_OVERLAP):
            where = f"{self.storage.url}/{self.parquet[0].key}"
            columns = columns_of_sources(self.parquet[0].columns, where, self.choice)
            index = SourceIndex(self.storage, columns, self.parquet)
        else:
            index = self._sorted(store)
        store.replace(f"{self.key}.json", index.to_json())

    def _sorted(self, store: Storage) -> SourceIndex:
        import pyarrow.parquet as pq

        sizes, names = {}, list(NEEDED)
        for number, table in enumerate(sorted_parts(self._rows())):
            buffer, names = io.BytesIO(), table.column_names[1:]
            pq.write_table(table, buffer, row_group_size=ROW_GROUP_ROWS, compression="zstd")
            key = f"{self.key}.{number:05d}.sources"
            sizes[key] = buffer.tell()
            store.replace(key, buffer.getbuffer())
        companions = tuple((name, name) for name in names if name not in NEEDED)
        columns = SourceColumns("source_id", *NEEDED, False, companions)
        return SourceIndex(store, columns, footers(store, sizes, lambda names: names[0]))

    def _rows(self) -> Iterator[Rows]:
        for file in self.parquet:
            columns = columns_of_sources(file.columns, self.url, self.choice)
            groups = range(len(file.row_group_rows))
            yield from parquet_rows(self.storage, file, groups, columns)
        for key in () if self.parquet else sorted(self.files):
            yield from table_rows(self.storage, key, self.choice)


def _is_hats(files: tuple[ParquetFile, ...]) -> bool:
    return all(hats_pixel(file.key) for file in files)


def _overlap(files: tuple[ParquetFile, ...]) -> float:
    """Row groups whose range meets that of another, on average, itself included."""
    low, high = np.array([span for file in files for span in file.ranges]).reshape(-1, 2).T
    starts = np.searchsorted(np.sort(low), high, "right")
    ends = np.searchsorted(np.sort(high), low, "left")
    return float((starts - ends).mean()) if len(low) else 0.0


def open_sources(url: str, choice: ColumnChoice) -> SourceInput:
    """Look at a table of sources: its files, columns and row groups.

    Parameters
    ----------
    url
        A Parquet, CSV, ECSV, FITS, VOTable or HDF5 file, a folder of them, or a HATS catalogue or
        collection; local, ``s3://`` or ``https://``.
    choice
        What the user says of its columns.

    Raises
    ------
    NotFoundError
        There is no table.
    InvalidInputError
        A file is damaged or lacks a column.
    """
    storage = Storage(url)
    if format_of(storage.name) and not is_parquet(storage.name):
        storage, name = storage.parent, storage.name
        sizes = {} if (n_bytes := storage.size(name)) is None else {name: n_bytes}
    else:
        storage, root, properties = dataset_of(url)
        if sizes := list_files(storage, root):
            return _parquet(url, storage, sizes, properties, choice)
        sizes = {key: n for key, n in storage.list().items() if format_of(key)}
    if not sizes:
        raise NotFoundError(f"{url} holds no table of sources", "Check the address of --sources")
    first = min(sizes)
    next(iter(table_rows(storage, first, choice.of_sources)), None)  # refuses one without sources
    lines = [f"{key} {file_digest(storage, key, n)}" for key, n in sorted(sizes.items())]
    digest = content_hash([*lines, str(choice)])
    return SourceInput(url, storage, sizes, (), choice.of_sources, digest)


def _parquet(
    url: str,
    storage: Storage,
    sizes: dict[str, int],
    properties: dict[str, str],
    choice: ColumnChoice,
) -> SourceInput:
    own = choice.of_sources

    def source_id(names: tuple[str, ...]) -> str:
        return columns_of_sources(names, url, with_hats_position(own, properties, names)).source_id

    files = footers(storage, sizes, source_id)
    require_all_rows(storage.url, properties, files)
    own = with_hats_position(own, properties, files[0].columns)
    digest = content_hash([content_digest(files), str(choice)])
    return SourceInput(url, storage, sizes, files, own, digest)
