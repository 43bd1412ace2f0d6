"""Where a worker's table becomes parts: one Parquet object a product and pixel, written once.

The bytes of a part are finished in memory before the first is sent (a Parquet stream that is left by an exception
publishes a truncated object), and equal tables make equal bytes.

The encodings were chosen on 262,144 rows (reconstructions of genuine spectra, one core; in bold what is used)::

    latents                                   k rows/s written   bytes a row   k rows/s read
      zstd 3, plain                                 2900             86.1           9900
      zstd 1 + delta ids                            4200             82.0          11800
      **zstd 3 + delta ids**                        3800             81.7          12300
      zstd 6 / 9                               1700/1000             85.8           9500
      uncompressed                                 10300            112.1          38100
    spectra
      zstd 1, no byte stream split                   341            861.4            603
      lz4, byte stream split                         436            848.6            985
      **zstd 1, byte stream split, delta ids**       350            772.6            910
      the same, zstd 3                               190            763.4            810
      the same, pages of 256 KiB / 8 MiB         325/320      796.6/769.1        725/800
      the same, row groups of 16,384 / 262,144   350/358            777.2            910

All floats are split into byte streams; ``_healpix_29`` is sorted and ``source_id`` nearly so, so both are packed as
differences.  Page version and row group size beyond 65,536 change less than the noise of the measurement.
A whole `ParquetSink.put` of both products (854 bytes a row), with sha256 and the write to a local disk, takes 1.2 to 1.5 s.
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
from xpscale.catalog.votable import product_schema
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.schema import FULL_PRECISION, OUTPUTS, conform, products_of
from xpscale.types import Part, Pixel

if TYPE_CHECKING:
    from xpscale.storage import Storage

__all__ = ["ROW_GROUP_SIZE", "ParquetSink", "encode"]

ROW_GROUP_SIZE = 65_536

COMPRESSION_LEVEL = {"latents": 3, "spectra": 1}

SORTED_COLUMNS = ("_healpix_29", "source_id")


@dataclass(frozen=True)
class ParquetSink:
    """Writes the tables of one run into its catalogue.

    Parameters
    ----------
    catalog
        The catalogue.
    n_latents, n_coefficients
        L and C of the model.
    outputs, precision
        What the run computes, and to what it rounds reconstruction and scatter; see `xpscale.schema.columns`.
    """

    catalog: Storage
    n_latents: int
    n_coefficients: int
    outputs: tuple[str, ...] = OUTPUTS
    precision: str = FULL_PRECISION

    def put(self, pixel: Pixel, table: pa.Table) -> tuple[Part, ...]:
        """Write the rows of one pixel, a part a product; a table without rows writes nothing.

        Where a part is there already its writer has won: it is read back, and its rows, bytes and sha256 are
        returned.

        Parameters
        ----------
        pixel
            The pixel that holds all rows.
        table
            The columns of all `outputs`, sorted by ``_healpix_29``.

        Raises
        ------
        InvalidInputError
            If columns are missing, or rows lie outside the pixel or are not sorted.
        ConflictError
            If the part that is there cannot be read or holds other sources.
        """
        if table.num_rows == 0:
            return ()
        _check_positions(pixel, table)
        products = {product: self._rows(product, table) for product in products_of(self.outputs)}
        return tuple(self._put(product, pixel, rows) for product, rows in products.items())

    def _rows(self, product: str, table: pa.Table) -> pa.Table:
        schema = product_schema(product, self.n_latents, self.n_coefficients, self.outputs, self.precision)
        return conform(table, schema).replace_schema_metadata(schema.metadata)

    def _put(self, product: str, pixel: Pixel, rows: pa.Table) -> Part:
        key = part_key(product, pixel)
        data = encode(rows, product)
        if not self.catalog.create(key, data):
            data = self.catalog.read(key)
            self._check_winner(key, data, rows)
        return Part(pixel, key, rows.num_rows, len(data), hashlib.sha256(data).hexdigest())

    def _check_winner(self, key: str, data: bytes, rows: pa.Table) -> None:
        try:
            winner = pq.read_table(pa.BufferReader(data), columns=["source_id"])
            schema = pq.read_schema(pa.BufferReader(data))
        except (pa.ArrowException, OSError) as error:
            problem = f"which cannot be read ({_first_line(error)})"
        else:
            if schema.equals(rows.schema) and winner.equals(rows.select(["source_id"])):
                return
            problem = f"with {winner.num_rows} rows that are not the {rows.num_rows} sources of this task"
        raise ConflictError(
            f"{self.catalog}/{key} is already there, {problem}", "Delete that object and run again to write it anew"
        )


def encode(table: pa.Table, product: str) -> bytes:
    """The bytes of one part: the same for equal tables, however they are chunked or sliced."""
    if any(column.num_chunks > 1 for column in table.columns):
        table = table.combine_chunks()  # chunk borders would end pages
    sink = io.BytesIO()  # grows in place and hands its bytes out uncopied; an Arrow stream costs 0.5 s more a part
    pq.write_table(table, sink, **_write_options(table.schema, product))
    return sink.getvalue()


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
        "row_group_size": ROW_GROUP_SIZE,
        "use_dictionary": False,
        "column_encoding": encodings,
        "write_statistics": scalars,
    }


def _check_positions(pixel: Pixel, table: pa.Table) -> None:
    if "_healpix_29" not in table.column_names:
        raise InvalidInputError("the table lacks the columns _healpix_29")
    index = table["_healpix_29"].to_numpy()
    start, stop = pixel.index_range
    if index.min() < start or index.max() >= stop:
        outside = int(np.flatnonzero((index < start) | (index >= stop))[0])
        raise InvalidInputError(
            f"row {outside} of the table for {pixel} lies outside it (_healpix_29 {index[outside]})"
        )
    if np.any(np.diff(index) < 0):
        row = int(np.flatnonzero(np.diff(index) < 0)[0]) + 1
        raise InvalidInputError(f"the table for {pixel} is not sorted by _healpix_29: row {row} comes too late")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
