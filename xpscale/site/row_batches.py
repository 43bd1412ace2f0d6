"""The catalogue's rows as they stream by, in batches of columns that can be drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.errors import InvalidInputError
from xpscale.formatting import first_line
from xpscale.site.label_rows import FLAGS, LabelRows, label_columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.query.catalog import Catalog
    from xpscale.schema import Column
    from xpscale.types import Part

__all__ = ["BATCH_ROWS", "Batch", "drawn_columns", "is_flags", "read_batches"]

BATCH_ROWS = 1 << 19
PLACES = ("_healpix_29", "source_id", "ra", "dec")
"""Columns that say which and where a source is: nothing to colour by."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some rows, sorted by position.

    Parameters
    ----------
    healpix_29, source_id
        With shape (N,).
    part
        Which part of the manifest a row is in, with shape (N,).
    values
        The columns that can be drawn, each with shape (N,); flags as 0 or 1: whether any is set.
    """

    healpix_29: NDArray[np.int64]
    source_id: NDArray[np.int64]
    part: NDArray[np.int64]
    values: dict[str, NDArray[np.floating]]

    def __len__(self) -> int:
        return len(self.source_id)


def drawn_columns(catalog: Catalog) -> tuple[Column, ...]:
    """The columns of ``latents`` and of published labels that a map can be coloured by."""
    columns = (*catalog.identity.columns("latents"), *label_columns(catalog))
    return tuple(
        column
        for column in columns
        if column.name not in PLACES and not pa.types.is_nested(column.type)
    )


def is_flags(catalog: Catalog, name: str) -> bool:
    """Whether a column holds flags, of which maps show how many sources have any.

    Parameters
    ----------
    catalog
        The catalogue.
    name
        From `drawn_columns`.
    """
    return name == "flags" or (name in catalog.label_columns and name.endswith(FLAGS))


def read_batches(
    catalog: Catalog, names: tuple[str, ...], on_rows: Callable[[int], None]
) -> Iterator[Batch]:
    """All rows of a catalogue, some `BATCH_ROWS` at a time.

    Parameters
    ----------
    catalog
        The catalogue.
    names
        Columns, from `drawn_columns`.
    on_rows
        Told how many rows more were read.

    Raises
    ------
    NotFoundError
        A part is not there.
    InvalidInputError
        A part cannot be read.
    """
    flags = tuple(name for name in names if is_flags(catalog, name))
    labels = LabelRows(catalog, [name for name in names if name in catalog.label_columns])
    waiting: list[tuple[int, pa.Table]] = []
    for number, part in enumerate(catalog.manifest.of("latents")):
        for rows in _rows_of(catalog, part, names, labels):
            waiting.append((number, rows))
            on_rows(len(rows))
            if sum(len(some) for _, some in waiting) >= BATCH_ROWS:
                yield _batch(waiting, flags)
                waiting = []
    if waiting:
        yield _batch(waiting, flags)


def _rows_of(
    catalog: Catalog, part: Part, names: tuple[str, ...], labels: LabelRows
) -> Iterator[pa.Table]:
    columns = ["_healpix_29", "source_id", *(n for n in names if n not in catalog.label_columns)]
    first = 0
    try:
        labels.open(part)
        with catalog.storage.open(part.key) as handle:
            file = pq.ParquetFile(handle, **catalog.storage.parquet_options)
            for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                rows = pa.Table.from_batches([batch])
                yield labels.behind(rows, first, part)
                first += len(rows)
    except pa.ArrowException as error:
        raise InvalidInputError(
            f"{catalog.storage.url_of(part.key)} cannot be read ({first_line(error)})",
            "Run 'xpscale catalog check'",
        ) from error


def _batch(waiting: list[tuple[int, pa.Table]], flags: tuple[str, ...]) -> Batch:
    numbers, tables = zip(*waiting, strict=True)
    part = np.repeat(numbers, [len(rows) for rows in tables])
    table = pa.concat_tables(tables)
    values = {name: _numbers(table[name]) for name in table.column_names[2:]}
    for name in flags:
        values[name] = (values[name] != 0).astype(np.float32)
    return Batch(table["_healpix_29"].to_numpy(), table["source_id"].to_numpy(), part, values)


def _numbers(column: pa.ChunkedArray) -> NDArray[np.floating]:
    """A column as numpy has it; missing numbers are NaN."""
    if column.null_count:
        column = column.cast(pa.float64()).fill_null(np.nan)
    found: NDArray[np.floating] = column.to_numpy()
    return found
