"""The HATS files of one table of a collection, but for its parts.

Everything is made from the manifest and the records of the derived tables, never from what lies in
the folders; and in a local folder, because hats writes in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hats.catalog.partition_info import PartitionInfo
from hats.io import paths
from hats.io.file_io.file_io import write_parquet_metadata
from hats.io.skymap import write_skymap
from hats.pixel_math.healpix_pixel import HealpixPixel
from numpy.typing import NDArray

from xpscale.catalog.cell_counts import CELL_ORDER, read_cell_counts
from xpscale.catalog.derived_tables import DerivedTable, TableFile
from xpscale.catalog.encoding import row_group_rows
from xpscale.catalog.hats_properties import (
    LOW_ORDERS,
    SKYMAP_ORDER,
    derived_properties,
    extension_properties,
    table_properties,
)
from xpscale.catalog.layout import INDEX, LABELS, MARGIN
from xpscale.catalog.manifest import Manifest, Snapshot
from xpscale.catalog.source_ids import index_schema
from xpscale.catalog.votable import stored_schema
from xpscale.errors import PermanentError
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.types import Part

__all__ = ["MOC_ORDER", "HatsFiles", "sky_counts"]

THREADS = 16

MOC_ORDER = CELL_ORDER
"""Of the coverage map."""

MOST_ROW_GROUPS = 2000
"""Of a ``dataset/_metadata``: with more it would be larger than what it saves to read,
and HATS can do without it."""

THUMBNAIL_ROWS = 50
"""At most, of partitions evenly along the sky: a row group is read for each."""


def sky_counts(storage: Storage, manifest: Manifest) -> NDArray[np.int64]:
    """Sources per cell of `MOC_ORDER`, with shape (12 * 4**10,), as the parts count them.

    Parameters
    ----------
    storage
        The catalogue.
    manifest
        The version.
    """
    shift, parts = 2 * (CELL_ORDER - MOC_ORDER), manifest.of(manifest.identity.products[0])
    counts = np.zeros(12 * 4**MOC_ORDER, np.int64)
    with ThreadPoolExecutor(THREADS) as threads:
        for cells, n_rows in threads.map(partial(read_cell_counts, storage), parts):
            np.add.at(counts, cells >> shift, n_rows)
    return counts


@dataclass(frozen=True, slots=True)
class HatsFiles:
    """Writes the HATS files of a version, but for its parts, to a local folder.

    Parameters
    ----------
    root
        The folder.
    storage, manifest, snapshot
        The catalogue and its version.
    """

    root: Path
    storage: Storage
    manifest: Manifest
    snapshot: Snapshot

    def write_product(self, product: str, counts: NDArray[np.int64]) -> None:
        """Write the files of the main catalogue or its extension.

        Parameters
        ----------
        product
            ``"latents"`` or ``"spectra"``.
        counts
            From `sky_counts`.

        Raises
        ------
        PermanentError
            If a part's footer does not have the rows the manifest says.
        """
        from mocpy import MOC

        storage, manifest = self.storage, self.manifest
        folder, parts = self.root / product, manifest.of(product)
        schema = stored_schema(storage, manifest, product)
        _write_lists(folder, schema, [part.pixel for part in parts])
        group_rows = row_group_rows(product, schema)
        if sum(-(-part.n_rows // group_rows) for part in parts) <= MOST_ROW_GROUPS:
            self._write_footers(folder, schema, parts)
        _write_thumbnail(folder, storage, schema, parts)
        write_skymap(
            counts.reshape(12 * 4**SKYMAP_ORDER, -1).sum(axis=1), folder, orders=list(LOW_ORDERS)
        )
        cells = np.flatnonzero(counts).astype(np.uint64)
        moc = MOC.from_healpix_cells(cells, np.full(len(cells), MOC_ORDER, np.uint8), MOC_ORDER)
        moc.save(folder / "moc.fits", format="fits")
        said = table_properties(storage.name, product, manifest, self.snapshot)
        said.to_properties_file(folder)
        if product != manifest.identity.products[0]:
            self._write_extension(product, schema.names)

    def write_table(self, table: DerivedTable) -> None:
        """Write the files of the margin, the index or the labels."""
        folder, schema = self.root / table.name, self._schema(table)
        if table.name == INDEX:  # which hats reads through ``dataset/_metadata``
            (folder / "dataset").mkdir(parents=True)
            self._write_footers(folder, schema, table.files)
            write_parquet_metadata(schema, paths.get_common_metadata_pointer(folder))
        else:
            _write_lists(folder, schema, [part.pixel for part in table.parts])
        name = self.storage.name
        said = derived_properties(name, self.manifest, self.snapshot, table, schema.names)
        said.to_properties_file(folder)
        if table.name == LABELS:
            self._write_extension(LABELS, schema.names)

    def _schema(self, table: DerivedTable) -> pa.Schema:
        if table.name == INDEX:
            return index_schema(self.manifest.identity.gaia_release)
        if table.name == MARGIN:
            return stored_schema(self.storage, self.manifest, "latents")
        with _open(self.storage, table.files[0].key) as file:
            return file.schema_arrow

    def _write_extension(self, name: str, columns: Iterable[str]) -> None:
        identity = self.manifest.identity
        said = extension_properties(self.storage.name, name, columns, identity)
        said.to_properties_file(self.root)

    def _write_footers(
        self, folder: Path, schema: pa.Schema, files: Sequence[Part | TableFile]
    ) -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            found = list(threads.map(partial(_footer, self.storage), files))
        if found:
            write_parquet_metadata(
                schema, paths.get_parquet_metadata_pointer(folder), metadata_collector=found
            )


def _write_lists(folder: Path, schema: pa.Schema, pixels: Iterable[Pixel]) -> None:
    (folder / "dataset").mkdir(parents=True)
    write_parquet_metadata(schema, paths.get_common_metadata_pointer(folder))
    PartitionInfo([HealpixPixel(pixel.order, pixel.number) for pixel in pixels]).write_to_file(
        catalog_path=folder
    )


def _write_thumbnail(
    folder: Path, storage: Storage, schema: pa.Schema, parts: Sequence[Part]
) -> None:
    """Some rows that show at a glance what a table holds: the first of each of some parts."""
    chosen = sorted(parts, key=lambda part: part.pixel.index_range)
    chosen = chosen[:: max(1, -(-len(chosen) // THUMBNAIL_ROWS))]
    with ThreadPoolExecutor(THREADS) as threads:
        rows = list(threads.map(partial(_first_row, storage), chosen))
    if rows:
        table = pa.concat_tables(rows).cast(schema)
        pq.write_table(table, paths.get_data_thumbnail_pointer(folder).path, compression="zstd")


def _first_row(storage: Storage, part: Part) -> pa.Table:
    with storage.open(part.key) as data, pq.ParquetFile(data, **storage.parquet_options) as file:
        return file.read_row_group(0).slice(0, 1)


@contextmanager
def _open(storage: Storage, key: str) -> Iterator[pq.ParquetFile]:
    with storage.open(key) as data, pq.ParquetFile(data) as file:
        yield file


def _footer(storage: Storage, part: Part | TableFile) -> pq.FileMetaData:
    with _open(storage, part.key) as file:
        metadata = file.metadata
    if metadata.num_rows != part.n_rows:
        raise PermanentError(
            f"{storage}/{part.key} has {metadata.num_rows} rows, its manifest says {part.n_rows}",
            "Run 'xpscale catalog check' to see what else changed",
        )
    metadata.set_file_path(part.key.split("/dataset/")[1])
    return metadata
