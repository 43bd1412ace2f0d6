"""Where a worker's table becomes parts: one Parquet object a product and pixel, written once.

The bytes of a part are finished in memory before the first is sent (a Parquet stream that is left
by an exception publishes a truncated object), and equal tables make equal bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.catalog.encoding import PartFile
from xpscale.catalog.footer import footer_sizes
from xpscale.catalog.layout import PRODUCTS, part_key
from xpscale.catalog.votable import product_schema
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.formatting import first_line
from xpscale.schema import TableLayout
from xpscale.sky import source_id_index
from xpscale.storage import Storage
from xpscale.types import Part, Pixel

__all__ = ["BLOCK_ROWS", "ParquetSink", "PixelParts"]

BLOCK_ROWS = 65_536
"""Rows of a partition that are best computed and handed over at once."""

MOST_MOVERS = 256
"""Movers of a part that the manifest names: its length must stay that of a list of parts."""

_SOURCE_ID = pa.schema([pa.field("source_id", pa.int64(), nullable=False)])


@dataclass(frozen=True)
class ParquetSink:
    """Writes the tables of one run into its catalogue.

    Parameters
    ----------
    catalog
        The catalogue.
    layout
        What determines the columns of its tables.
    """

    catalog: Storage
    layout: TableLayout

    def put(self, pixel: Pixel, table: pa.Table) -> tuple[Part, ...]:
        """Write the rows of one pixel, a part a product; see `PixelParts`.

        Parameters
        ----------
        pixel
            The pixel that holds all rows.
        table
            The columns of all outputs, sorted by ``_healpix_29``.
        """
        parts = self.open(pixel)
        parts.append(table)
        return parts.finish()

    def open(self, pixel: Pixel) -> PixelParts:
        """Parts to fill with the rows of one pixel; nothing is stored before they are finished."""
        return PixelParts(self, pixel)


class PixelParts:
    """The parts of one pixel, a product each, encoded row group by row group while rows come in.

    Parameters
    ----------
    sink
        Where they go.
    pixel
        The pixel that holds all rows.
    """

    def __init__(self, sink: ParquetSink, pixel: Pixel) -> None:
        self._sink, self._pixel = sink, pixel
        self._files = {
            product: PartFile(product, product_schema(product, sink.layout))
            for product in sink.layout.products
        }
        self._source_id: list[pa.Table] = []
        self._last_index = -1

    def append(self, table: pa.Table) -> None:
        """Encode more rows; the parts are the same, however the rows are cut into calls.

        Parameters
        ----------
        table
            The columns of all outputs, sorted by ``_healpix_29``, also across calls.

        Raises
        ------
        InvalidInputError
            If columns are missing, or rows lie outside the pixel or are not sorted.
        """
        if table.num_rows == 0:
            return
        self._last_index = _check_positions(self._pixel, table, self._last_index)
        for file in self._files.values():
            file.write(table)
        self._source_id.append(table.select(["source_id"]).cast(_SOURCE_ID))

    def finish(self) -> tuple[Part, ...]:
        """Store the parts; without rows there are none.

        Where a part is there already its writer has won: it is read back, and its rows, bytes and
        sha256 are returned.

        Raises
        ------
        ConflictError
            If the part that is there cannot be read or holds other sources.
        """
        if not self._source_id:
            return ()
        return tuple(self._put(product, file) for product, file in self._files.items())

    def _put(self, product: str, file: PartFile) -> Part:
        key, data, catalog = part_key(product, self._pixel), file.finish(), self._sink.catalog
        source_id = pa.concat_tables(self._source_id)
        if not catalog.create(key, data):
            data = catalog.read(key)
            self._check_winner(key, data, source_id, file.schema)
        return Part(
            self._pixel,
            key,
            source_id.num_rows,
            len(data),
            hashlib.sha256(data).hexdigest(),
            *footer_sizes(data),
            self._movers(source_id) if product == PRODUCTS[0] else None,
        )

    def _movers(self, source_id: pa.Table) -> tuple[int, ...] | None:
        """The sources whose identifiers do not carry this pixel, if they are few."""
        ids = source_id["source_id"].to_numpy()
        start, stop = self._pixel.index_range
        index = source_id_index(ids)
        found = np.sort(ids[(index < start) | (index >= stop)])
        return tuple(found.tolist()) if len(found) <= MOST_MOVERS else None

    def _check_winner(
        self, key: str, data: bytes, source_id: pa.Table, expected: pa.Schema
    ) -> None:
        try:
            winner = pq.read_table(pa.BufferReader(data), columns=["source_id"])
            schema = pq.read_schema(pa.BufferReader(data))
        except (pa.ArrowException, OSError) as error:
            problem = f"which cannot be read ({first_line(error)})"
        else:
            if schema.equals(expected) and winner.column(0).equals(source_id.column(0)):
                return
            problem = (
                f"with {winner.num_rows} rows that are not the {source_id.num_rows} sources of this"
                " task"
            )
        raise ConflictError(
            f"{self._sink.catalog}/{key} is already there, {problem}",
            "Delete that object and run again to write it anew",
        )


def _check_positions(pixel: Pixel, table: pa.Table, after: int) -> int:
    """The table's last ``_healpix_29``, if all of them lie in the pixel and are sorted, ``after``
    coming first.
    """
    if "_healpix_29" not in table.column_names:
        raise InvalidInputError("the table lacks the columns _healpix_29")
    index = table["_healpix_29"].to_numpy()
    start, stop = pixel.index_range
    if index.min() < start or index.max() >= stop:
        outside = int(np.flatnonzero((index < start) | (index >= stop))[0])
        raise InvalidInputError(
            f"row {outside} of the table for {pixel} lies outside it (_healpix_29 {index[outside]})"
        )
    falls = np.flatnonzero(np.diff(index, prepend=after) < 0)
    if len(falls):
        raise InvalidInputError(
            f"the table for {pixel} is not sorted by _healpix_29: row {falls[0]} comes too late"
        )
    return int(index[-1])
