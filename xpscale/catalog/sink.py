"""Where a worker's table becomes parts: one Parquet object a product and pixel, written once.

The bytes of a part are finished in memory before the first is sent (a Parquet stream that is left
by an exception publishes a truncated object), and equal tables make equal bytes.

The encodings were chosen on 262,144 rows (reconstructions of genuine spectra, one core; in bold
what is used)::

    latents                                   k rows/s written   bytes a row   k rows/s read
      zstd 3, plain                                 2900             86.1           9900
      **zstd 1 + delta ids**                        4200             82.0          11800
      zstd 3 + delta ids                            3800             81.7          12300
      zstd 6 / 9                               1700/1000             85.8           9500
      uncompressed                                 10300            112.1          38100
    spectra
      zstd 1, no byte stream split                   341            861.4            603
      lz4, byte stream split                         436            848.6            985
      **zstd 1, byte stream split, delta ids**       350            772.6            910
      the same, zstd 3                               190            763.4            810
      the same, pages of 256 KiB / 8 MiB         325/320      796.6/769.1        725/800
      the same, row groups of 16,384 / 262,144   350/358            777.2            910

All floats are split into byte streams; ``_healpix_29`` is sorted and ``source_id`` nearly so, so
both are packed as differences.  Page version and row group size beyond 65,536 change less than the
noise of the measurement. A whole `ParquetSink.put` of both products (854 bytes a row), with sha256
and the write to a local disk, takes 1.2 to 1.5 s.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.catalog.layout import part_key
from xpscale.catalog.votable import conform, product_schema
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.formatting import first_line
from xpscale.schema import TableLayout
from xpscale.types import Part, Pixel

if TYPE_CHECKING:
    from xpscale.storage import Storage

__all__ = ["ROW_GROUP_SIZE", "ParquetSink", "PixelParts", "encode"]

ROW_GROUP_SIZE = 65_536

COMPRESSION_LEVEL = {"latents": 1, "spectra": 1}

SORTED_COLUMNS = ("_healpix_29", "source_id")

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
            product: _File(product, product_schema(product, sink.layout))
            for product in sink.layout.products
        }
        self._source_id: list[pa.Table] = []
        self._last_index = -1

    def append(self, table: pa.Table) -> None:
        """Encode more rows; a call begins a row group, and makes several of more than
        `ROW_GROUP_SIZE` rows.

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

    def _put(self, product: str, file: _File) -> Part:
        key, data, catalog = part_key(product, self._pixel), file.finish(), self._sink.catalog
        source_id = pa.concat_tables(self._source_id)
        if not catalog.create(key, data):
            data = catalog.read(key)
            self._check_winner(key, data, source_id, file.schema)
        return Part(
            self._pixel, key, source_id.num_rows, len(data), hashlib.sha256(data).hexdigest()
        )

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


class _File:
    """The bytes of one part, while rows are added to it."""

    def __init__(self, product: str, schema: pa.Schema) -> None:
        self.schema = schema
        self._bytes = io.BytesIO()  # grows in place and hands its bytes out uncopied
        self._writer = pq.ParquetWriter(self._bytes, schema, **_write_options(schema, product))

    def write(self, table: pa.Table) -> None:
        table = conform(table, self.schema)
        if any(column.num_chunks > 1 for column in table.columns):
            table = table.combine_chunks()  # chunk borders would end pages
        self._writer.write_table(
            table.replace_schema_metadata(self.schema.metadata), ROW_GROUP_SIZE
        )

    def finish(self) -> bytes:
        self._writer.close()
        return self._bytes.getvalue()


def encode(table: pa.Table, product: str) -> bytes:
    """The bytes of one part: the same for equal tables, however they are chunked or sliced.

    Parameters
    ----------
    table
        Its rows and columns.
    product
        ``"latents"`` or ``"spectra"``.
    """
    file = _File(product, table.schema)
    file.write(table)
    return file.finish()


def _write_options(schema: pa.Schema, product: str) -> dict[str, Any]:
    scalars = [field.name for field in schema if not pa.types.is_nested(field.type)]
    encodings = dict.fromkeys(SORTED_COLUMNS, "DELTA_BINARY_PACKED")
    for field in schema:
        if pa.types.is_floating(field.type):
            encodings[field.name] = "BYTE_STREAM_SPLIT"
        elif pa.types.is_nested(field.type):
            encodings[f"{field.name}.list.element"] = "BYTE_STREAM_SPLIT"
    return {
        "compression": "zstd",
        "compression_level": COMPRESSION_LEVEL[product],
        "use_dictionary": False,
        "column_encoding": encodings,
        "write_statistics": scalars,
    }


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
