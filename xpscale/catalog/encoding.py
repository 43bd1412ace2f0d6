"""The bytes of a part: how Parquet is written.

One source shall cost a reader little, and so row groups are small, sorted by position, each of one
page a column, without statistics of latents, which tell nothing apart.  What that costs, on 118,230
rows of latents with correlations and 39,410 of spectra (a demo's, repeated with other last digits;
one core of two, busy; in bold what is used)::

    rows of a row group          bytes a row   row group   footer/packed    k rows/s written, read
    latents
      65,536                           133.4      8.7 MB        36/9 kB           1,450    3,480
      8,192, page index                134.9      1.1 MB       90/25 kB           1,220    2,220
      2,048, page index                138.7      279 kB      260/73 kB             530      810
      1,024, page index                143.5      143 kB     487/136 kB             380      540
      **no statistics of latents**     141.9      143 kB      371/87 kB             590      630
      and lz4                          147.6      150 kB                            770      880
    spectra
      65,536                           762.4       30 MB         6/3 kB             256      400
      2,048, page index                762.4      1.6 MB        18/7 kB             240      580
      **1,024, page index**            772.5      796 kB       30/11 kB             220      410
      and pages of 256 rows            815.6      840 kB       30/11 kB             230      440

Both products together are written a quarter slower than with row groups of 65,536, and 2 % larger;
DuckDB averages one column of the latents in 17 ms instead of 4.

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
both are packed as differences.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.catalog.cell_counts import CellCounts
from xpscale.catalog.footer import add_packed
from xpscale.catalog.votable import conform

__all__ = ["PartFile", "encode", "row_group_rows", "write_options"]

ROW_GROUP_BYTES = {"latents": 180_000, "spectra": 1_000_000}
"""Of a row group before compression, which leaves four fifths."""

COMPRESSION_LEVEL = 1

SORTED_COLUMNS = ("_healpix_29", "source_id")


class PartFile:
    """The bytes of one part, while rows are added to it.

    Parameters
    ----------
    product
        ``"latents"`` or ``"spectra"``.
    schema
        Of its rows.
    """

    def __init__(self, product: str, schema: pa.Schema) -> None:
        self.schema = schema
        self._bytes = io.BytesIO()  # grows in place and hands its bytes out uncopied
        self._writer = pq.ParquetWriter(self._bytes, schema, **write_options(schema))

        self._group_rows = row_group_rows(product, schema)
        self._counts = CellCounts()
        # less than a row group; schema.empty_table() would import pandas
        self._rest = pa.Table.from_batches([], schema)

    def write(self, table: pa.Table) -> None:
        """Add rows; the bytes are the same, however the rows are cut into calls.

        Parameters
        ----------
        table
            Columns of the schema, and perhaps others.
        """
        rows = pa.concat_tables([self._rest, conform(table, self.schema)])
        n_whole = rows.num_rows - rows.num_rows % self._group_rows
        self._encode(rows.slice(0, n_whole))
        rest = np.arange(n_whole, rows.num_rows)
        self._rest = rows.take(rest)  # a copy, which does not keep the block

    def _encode(self, rows: pa.Table) -> None:
        if any(column.num_chunks > 1 for column in rows.columns):
            rows = rows.combine_chunks()  # chunk borders would end pages
        if rows.num_rows:
            if "_healpix_29" in rows.column_names:
                self._counts.add(rows["_healpix_29"].to_numpy())
            self._writer.write_table(
                rows.replace_schema_metadata(self.schema.metadata), self._group_rows
            )

    def finish(self) -> bytes:
        """The whole part."""
        self._encode(self._rest)
        self._writer.close()
        add_packed(self._bytes, self._counts.to_bytes())
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
    file = PartFile(product, table.schema)
    file.write(table)
    return file.finish()


def row_group_rows(product: str, schema: pa.Schema) -> int:
    """Rows of a row group of a part.

    Parameters
    ----------
    product
        ``"latents"`` or ``"spectra"``.
    schema
        Of its rows.
    """
    return max(1, ROW_GROUP_BYTES[product] // _row_bytes(schema))


def _row_bytes(schema: pa.Schema) -> int:
    """Bytes of a row before compression."""
    total = 0
    for kind in schema.types:
        is_array = pa.types.is_fixed_size_list(kind)
        n_values, value = (kind.list_size, kind.value_type) if is_array else (1, kind)
        total += n_values * value.bit_width // 8
    return total


def write_options(schema: pa.Schema) -> dict[str, Any]:
    """Options of `pyarrow.parquet.ParquetWriter`.

    Parameters
    ----------
    schema
        Of a product, or of rows like it.
    """
    # least and largest latents of a thousand neighbours on the sky are those of all stars
    telling = [
        field.name
        for field in schema
        if not (pa.types.is_nested(field.type) or field.name.startswith("latent_"))
    ]
    encodings = dict.fromkeys(SORTED_COLUMNS, "DELTA_BINARY_PACKED")
    for field in schema:
        if pa.types.is_floating(field.type):
            encodings[field.name] = "BYTE_STREAM_SPLIT"
        elif pa.types.is_nested(field.type):
            encodings[f"{field.name}.list.element"] = "BYTE_STREAM_SPLIT"
    return {
        "compression": "zstd",
        "compression_level": COMPRESSION_LEVEL,
        "use_dictionary": False,
        "column_encoding": encodings,
        "write_statistics": telling,
        "write_page_index": True,
        "sorting_columns": [pq.SortingColumn(schema.get_field_index("_healpix_29"))],
        # a row group is one page a column
        "data_page_size": max(ROW_GROUP_BYTES.values()),
    }
