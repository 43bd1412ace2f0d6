"""Rows of a table of sources of any format and size, in pieces; and the same sorted by identifier.

A table that is not in the order of identifiers is sorted once, on disk where it does not fit into
memory (DuckDB's external merge sort), so that no task looks through all of it.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from xpscale.archive.source_table import source_parts
from xpscale.archive.tables import open_tables
from xpscale.archive.text_table import text_batches
from xpscale.column_names import lacking_source_columns
from xpscale.columns import SourceColumns, find_source_columns
from xpscale.errors import InvalidInputError
from xpscale.gaia_ids import ids_or_zero
from xpscale.ingest.table_formats import format_of
from xpscale.release import DR3
from xpscale.store.arrow_arrays import arrow_numbers
from xpscale.store.parquet_files import ParquetFile, read_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from xpscale.column_names import ColumnChoice
    from xpscale.storage import Storage


Rows = tuple["NDArray[np.int64]", "Mapping[str, NDArray[np.float64]]"]
"""Identifiers, and values by name, each with shape (N,)."""

__all__ = ["Rows", "columns_of_sources", "parquet_rows", "sorted_parts", "table_rows"]

PIECE_ROWS = 1 << 20
ROW_GROUP_ROWS = 1 << 16
SORT_MEMORY = "2GB"


def columns_of_sources(names: Sequence[str], where: str, choice: ColumnChoice) -> SourceColumns:
    """The columns of a table of sources.

    Parameters
    ----------
    names
        All of its columns.
    where
        What to call it in errors.
    choice
        What the user says of them.

    Raises
    ------
    InvalidInputError
        One is missing; the message lists what may be meant.
    """
    columns = find_source_columns(names, where, choice=choice)
    if columns is None:
        raise InvalidInputError(
            lacking_source_columns(names, where, choice=choice),
            "Select them from gaia_source, or say what they are called: --columns-map FILE",
        )
    return columns


def parquet_rows(
    storage: Storage, file: ParquetFile, groups: Sequence[int], columns: SourceColumns
) -> Iterator[Rows]:
    """Rows of some row groups of a Parquet file, as `SourceMatcher.add` takes them.

    Parameters
    ----------
    storage, file
        The file.
    groups
        Numbers of row groups.
    columns
        The only columns that are read.

    Yields
    ------
    tuple
        Identifiers with shape (N,), and values by name.

    Raises
    ------
    InvalidInputError
        The file is damaged.
    ConflictError
        It has changed.
    """
    for number, table in read_file(storage, file.key, file.n_bytes, groups, columns.names):
        yield _rows(table, f"{storage.url}/{file.key}, row group {number}", columns)


def _rows(table: pa.Table, where: str, columns: SourceColumns) -> Rows:
    its = columns.source_id
    source_id = ids_or_zero(table[its], f"{where}, column {its}", DR3)
    values = columns.values(lambda name: arrow_numbers(table[name], where, name), source_id)
    return source_id, values


def table_rows(storage: Storage, key: str, choice: ColumnChoice) -> Iterator[Rows]:
    """Rows of a CSV, ECSV, FITS, VOTable or HDF5 file, as `SourceMatcher.add` takes them.

    CSV, ECSV and a local FITS file are read in pieces; others are held in memory.

    Parameters
    ----------
    storage, key
        The file.
    choice
        What the user says of its columns.

    Yields
    ------
    tuple
        Identifiers with shape (N,), and values by name.

    Raises
    ------
    InvalidInputError
        It is damaged or lacks a column.
    """
    import gzip

    import pyarrow as pa

    where = f"{storage.url}/{key}"
    with storage.open(key) as stream:
        if format_of(key) not in ("CSV", "ECSV"):
            yield from source_parts(open_tables(stream, where, max_rows=PIECE_ROWS), where, choice)
            return
        text = (
            cast("BinaryIO", gzip.GzipFile(fileobj=stream))
            if key.lower().endswith(".gz")
            else stream
        )
        found: list[SourceColumns] = []

        def choose(names: list[str]) -> tuple[str, Sequence[str]]:
            found.append(columns_of_sources(names, where, choice))
            return found[0].source_id, found[0].names

        for batch in text_batches(text, where, choose):
            yield _rows(pa.Table.from_batches([batch]), where, found[0])


def sorted_parts(rows: Iterable[Rows]) -> Iterator[pa.Table]:
    """Rows sorted by identifier, those of one source in their order, in tables of `PIECE_ROWS`.

    Parameters
    ----------
    rows
        Identifiers and values, piece by piece.
    """
    import duckdb
    import pyarrow as pa

    pieces = iter(rows)
    first = next(pieces, None)
    if first is None:
        return
    names = list(first[1])
    schema = pa.schema([("source_id", pa.int64()), ("row", pa.int64())])
    for name in names:
        schema = schema.append(pa.field(name, pa.float64()))

    def batches() -> Iterator[pa.RecordBatch]:
        n_rows = 0
        for source_id, values in itertools.chain([first], pieces):
            row = np.arange(n_rows, n_rows + len(source_id))
            nothing = np.full(len(source_id), np.nan)
            more = (values.get(name, nothing) for name in names)
            yield pa.record_batch([source_id, row, *more], schema=schema)
            n_rows += len(source_id)

    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        database.execute(f"SET memory_limit = '{SORT_MEMORY}'")
        database.execute(f"SET temp_directory = '{folder}'")
        database.register("rows", pa.RecordBatchReader.from_batches(schema, batches()))
        query = "SELECT * EXCLUDE (row) FROM rows ORDER BY source_id, row"
        for batch in database.sql(query).to_arrow_reader(PIECE_ROWS):
            yield pa.Table.from_batches([batch])
