"""The index of identifiers: which partition of the catalogue holds a source.

Identifiers carry a pixel, and partitions are sorted by pixel, so the identifiers of some partitions
that follow each other are one range, but for the *movers*, whose identifiers carry a pixel of other
partitions.  So the index is made range by range: the movers are known from a survey
(`xpscale.catalog.survey`), and each range is sorted into a file with those that belong to it.  One
range and the movers are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xpscale.catalog.derived_tables import table_task
from xpscale.catalog.layout import INDEX, index_part_key
from xpscale.catalog.votable import columns_schema
from xpscale.release import Release
from xpscale.schema import Column
from xpscale.sky import MAX_ORDER, SOURCE_ID_SHIFT, Pixel
from xpscale.storage import Storage
from xpscale.types import Part, TaskReport

__all__ = ["IndexRange", "index_file", "index_ranges", "index_schema"]

ROWS_PER_FILE = 2_000_000
"""Rows of a file of the index, at least, if so many are left."""

ROW_GROUP_SIZE = 16_384
"""So that a look-up reads 60 kB, and the footer of a file is not larger."""

MOST_ROW_GROUPS = 16_384
"""Of all files: hats reads their statistics from one ``dataset/_metadata``.  An index of more rows
than 268 million has larger ones."""

NO_IDS, NO_PIXELS = np.empty(0, np.int64), np.empty((0, 2), np.int64)
LOWEST, BEYOND = np.iinfo(np.int64).min, np.iinfo(np.int64).max

INDEX_COLUMNS = (
    Column("source_id", pa.int64(), "", "meta.id;meta.main", "Gaia source identifier"),
    Column("Norder", pa.int16(), "", "pos.healpix", "HEALPix order of the source's partition"),
    Column("Npix", pa.int64(), "", "pos.healpix", "HEALPix NESTED pixel of the source's partition"),
)

OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": ["Norder", "Npix"],
    "column_encoding": {"source_id": "DELTA_BINARY_PACKED"},
    "write_page_index": True,
    "sorting_columns": [pq.SortingColumn(0)],
}


@dataclass(frozen=True, eq=False)
class IndexRange:
    """One file of the index to write: the task of a stage.

    Parameters
    ----------
    number
        0, 1, 2, ... in the order of the identifiers.
    low, high
        Half-open range of its identifiers.
    parts
        The parts of the partitions whose pixels have this range.
    movers
        Identifiers of this range that lie in other parts, with shape (M,).
    mover_pixels
        Order and number of the pixels of those, with shape (M, 2).
    """

    number: int
    low: int
    high: int
    parts: tuple[Part, ...]
    movers: NDArray[np.int64]
    mover_pixels: NDArray[np.int64]

    @property
    def key(self) -> str:
        """The file it writes."""
        return index_part_key(self.number)

    @property
    def n_rows(self) -> int:
        """Rows of its parts."""
        return sum(part.n_rows for part in self.parts)


def index_ranges(
    parts: Sequence[Part], movers: Mapping[Pixel, NDArray[np.int64]]
) -> tuple[IndexRange, ...]:
    """The ranges of a version's index.

    Parameters
    ----------
    parts
        All parts of the latents, by position.
    movers
        By pixel of a part, the identifiers in it that carry another pixel; all of them.
    """
    groups = list(_groups(parts))
    starts = [group[0].pixel.range_at(MAX_ORDER)[0] << SOURCE_ID_SHIFT for group in groups]
    lows = np.array([LOWEST, *starts[1:]], np.int64)[: len(groups)]
    highs = [*starts[1:], BEYOND]
    found: list[list[tuple[Part, NDArray[np.int64]]]] = [[] for _ in groups]
    for own, group in enumerate(groups):
        for part in group:
            moved = movers.get(part.pixel, NO_IDS)
            homes = np.searchsorted(lows, moved, "right") - 1
            for home in np.unique(homes):
                if home != own:
                    found[home].append((part, moved[homes == home]))
    return tuple(
        IndexRange(number, int(lows[number]), highs[number], group, *_joined(found[number]))
        for number, group in enumerate(groups)
    )


def _groups(parts: Iterable[Part]) -> Iterable[tuple[Part, ...]]:
    """Parts in their order, as many together as make the rows of a file."""
    group: list[Part] = []
    n_rows = 0
    for part in parts:
        group.append(part)
        n_rows += part.n_rows
        if n_rows >= ROWS_PER_FILE:
            yield tuple(group)
            group, n_rows = [], 0
    if group:
        yield tuple(group)


def _joined(
    found: list[tuple[Part, NDArray[np.int64]]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Identifiers with shape (M,), and the pixels of their parts with shape (M, 2)."""
    source_id = [ids for _, ids in found]
    pixels = [np.tile([part.pixel.order, part.pixel.number], (len(ids), 1)) for part, ids in found]
    return np.concatenate([NO_IDS, *source_id]), np.concatenate([NO_PIXELS, *pixels])


def index_schema(release: Release) -> pa.Schema:
    """The Arrow schema of the index, with units and descriptions as VOParquet has them."""
    return columns_schema(INDEX, INDEX_COLUMNS, release)


def _source_ids(storage: Storage, part: Part) -> NDArray[np.int64]:
    with storage.open(part.key) as data, pq.ParquetFile(data) as file:
        return np.asarray(file.read(columns=["source_id"]).column(0).to_numpy())


def index_file(
    storage: Storage, manifest: str, release: Release, n_rows: int, task: IndexRange
) -> TaskReport:
    """Write a file of the index, the identifiers of a range in their order; idempotent.

    Parameters
    ----------
    storage, manifest
        The catalogue, and the sha256 of the version's manifest.
    release
        The data release of its sources.
    n_rows
        Of the whole index.
    task
        From `index_ranges`.
    """
    n_times = max(1, -(-n_rows // (ROW_GROUP_SIZE * MOST_ROW_GROUPS)))
    options = {**OPTIONS, "row_group_size": n_times * ROW_GROUP_SIZE}
    return table_task(
        storage, task.key, manifest, lambda: _index_rows(storage, release, task), **options
    )


def _index_rows(storage: Storage, release: Release, task: IndexRange) -> pa.Table:
    pieces: list[tuple[Part, NDArray[np.int64]]] = []
    for part in task.parts:
        source_id = _source_ids(storage, part)
        pieces.append((part, source_id[(source_id >= task.low) & (source_id < task.high)]))
    source_id, pixels = _joined(pieces)
    source_id = np.concatenate([source_id, task.movers])
    pixels = np.concatenate([pixels, task.mover_pixels])
    order = np.argsort(source_id, kind="stable")
    columns = [source_id[order], pixels[order, 0].astype(np.int16), pixels[order, 1]]
    return pa.table(columns, index_schema(release))
