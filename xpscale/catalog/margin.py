"""The margin of a catalogue: for each pixel, the rows of other partitions that lie close to it.

Who matches the rows of a pixel with another list finds the partners that lie just outside, too
(hats' margin catalogue).  A pixel here is one of a partition, or one of the fewest that fill the
sky between partitions: hats-import writes margins of these as well.

The cells of `CELL_ORDER` are wider than `MARGIN_ARCSEC`, so all rows near a pixel lie in the cells
that touch it from outside; only row groups with such cells are read.  Of a row in such a cell, the
nearest point of the pixel lies on the outline of the pixel's cells next to it, so its distance
from the pixel is that from these outlines, taken as polygons of great-circle segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xpscale.catalog.derived_tables import table_task
from xpscale.catalog.layout import MARGIN, part_key
from xpscale.catalog.manifest import Manifest
from xpscale.positions import unit_vectors
from xpscale.sky import INDEX_ORDER, Pixel
from xpscale.storage import Storage
from xpscale.types import Part, TaskReport

__all__ = ["MARGIN_ARCSEC", "MarginTask", "margin_of_pixel", "margin_tasks"]

MARGIN_ARCSEC = 10.0

CELL_ORDER = 13
"""Its cells are 26 arcsec wide, and nowhere narrower than 14."""

CELL_SHIFT = 2 * (INDEX_ORDER - CELL_ORDER)

EDGE_SEGMENTS = 8
"""Segments of each edge of a cell; the edges bend by less than 0.1 arcsec between their ends."""

PAIRS = 1 << 15
"""Rows and cells that are compared at once."""

OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": False,
    "sorting_columns": [pq.SortingColumn(0)],
}


@dataclass(frozen=True, slots=True)
class MarginTask:
    """A pixel whose margin is to be written: the task of a stage.

    Parameters
    ----------
    pixel
        Of a partition, or of a gap between partitions.
    near
        The parts that hold cells which touch the pixel.
    """

    pixel: Pixel
    near: tuple[Part, ...]

    @property
    def key(self) -> str:
        """The file it writes."""
        return part_key(MARGIN, self.pixel)


def margin_tasks(manifest: Manifest) -> tuple[MarginTask, ...]:
    """A task for each pixel: those of the partitions, and the fewest that fill the rest."""
    parts = manifest.of("latents")
    pixels = [part.pixel for part in parts]
    starts, stops = np.array([pixel.range_at(INDEX_ORDER) for pixel in pixels]).reshape(-1, 2).T

    def near(pixel: Pixel) -> tuple[Part, ...]:
        first = _outer_cells(pixel) << CELL_SHIFT
        last = first + (1 << CELL_SHIFT) - 1
        # of each cell, the parts that end after its start and begin before its end
        low, high = np.searchsorted(stops, first, "right"), np.searchsorted(starts, last, "right")
        ends = np.unique(low * (len(parts) + 1) + high)
        found = {i for end in ends.tolist() for i in range(*divmod(end, len(parts) + 1))}
        return tuple(parts[i] for i in sorted(found))

    return tuple(MarginTask(pixel, near(pixel)) for pixel in (*pixels, *_gaps(pixels)))


def _gaps(pixels: Iterable[Pixel]) -> Iterator[Pixel]:
    """The fewest pixels that fill the sky between pixels that do not overlap."""
    position, end = 0, 12 * 4**INDEX_ORDER
    edges = sorted(pixel.index_range for pixel in pixels)
    for start, stop in (*edges, (end, end)):
        while position < start:
            order = INDEX_ORDER
            width = 1
            while order and position % (4 * width) == 0 and position + 4 * width <= start:
                order, width = order - 1, 4 * width
            yield Pixel(order, position // width)
            position += width
        position = stop


def margin_of_pixel(
    storage: Storage, manifest: str, schema: pa.Schema, task: MarginTask
) -> TaskReport:
    """Write the margin of a pixel, the rows within `MARGIN_ARCSEC` of it and outside; idempotent.

    Parameters
    ----------
    storage, manifest
        The catalogue, and the sha256 of the version's manifest.
    schema
        Of the latents.
    task
        From `margin_tasks`.
    """
    return table_task(
        storage, task.key, manifest, lambda: _margin_rows(storage, schema, task), **OPTIONS
    )


def _margin_rows(storage: Storage, schema: pa.Schema, task: MarginTask) -> pa.Table:
    pixel, cells = task.pixel, _outer_cells(task.pixel)
    found = [_rows_in(storage, part, cells).cast(schema) for part in task.near]
    rows = pa.concat_tables([schema.empty_table(), *found]).combine_chunks()
    ra, dec, index = (rows[name].to_numpy() for name in ("ra", "dec", "_healpix_29"))
    near = np.flatnonzero(_is_near(pixel, index, ra, dec))
    rows = rows.take(near[np.argsort(index[near], kind="stable")])
    return rows.replace_schema_metadata(None)  # larger than most margins


def _rows_in(storage: Storage, part: Part, cells: NDArray[np.int64]) -> pa.Table:
    """The rows of a part that lie in these cells."""
    with storage.open(part.key) as data, pq.ParquetFile(data) as file:
        chosen = [
            number
            for number in range(file.num_row_groups)
            if _overlap(cells, _index_range(file.metadata, number))
        ]
        rows = file.read_row_groups(chosen) if chosen else file.schema_arrow.empty_table()
    own = rows["_healpix_29"].to_numpy() >> CELL_SHIFT
    place = np.searchsorted(cells, own)  # np.isin would sort the cells each time
    return rows.filter(pa.array(cells[np.minimum(place, len(cells) - 1)] == own))


def _index_range(metadata: Any, row_group: int) -> tuple[int, int]:
    """Half-open range of ``_healpix_29`` in a row group."""
    found = metadata.row_group(row_group).column(0).statistics
    return found.min, found.max + 1


def _overlap(cells: NDArray[np.int64], indices: tuple[int, int]) -> bool:
    """Whether one of these cells, sorted, has a part of a half-open range of ``_healpix_29``."""
    first, last = indices[0] >> CELL_SHIFT, (indices[1] - 1) >> CELL_SHIFT
    return bool(np.searchsorted(cells, first) < np.searchsorted(cells, last, "right"))


def _outer_cells(pixel: Pixel) -> NDArray[np.int64]:
    """The cells that touch a pixel from outside, sorted, at its corners as well."""
    from cdshealpix.nested import external_neighbours, neighbours

    if pixel.order >= CELL_ORDER:  # of a gap: the cell it lies in stands for it
        cell = pixel.number >> 2 * (pixel.order - CELL_ORDER)
        around = np.asarray(neighbours(np.array([cell], np.uint64), CELL_ORDER), np.int64)
        return np.unique(around[around >= 0])
    edges, corners = external_neighbours(
        np.array([pixel.number], np.uint64), pixel.order, CELL_ORDER - pixel.order
    )
    around = np.concatenate([np.asarray(edges, np.int64)[0], np.asarray(corners, np.int64)[0]])
    return np.unique(around[around >= 0])


def _is_near(
    pixel: Pixel, index: NDArray[np.int64], ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which rows in the outer cells of a pixel, given their ``_healpix_29`` and positions in
    degrees, lie within `MARGIN_ARCSEC` of it, with shape (N,).
    """
    from cdshealpix.nested import neighbours

    near = np.zeros(len(index), bool)
    if not len(index):
        return near
    around = np.asarray(neighbours((index >> CELL_SHIFT).astype(np.uint64), CELL_ORDER), np.int64)
    start, stop = pixel.range_at(CELL_ORDER)
    row, side = np.nonzero((around >= start) & (around < stop))
    at = unit_vectors(ra, dec)
    for begin in range(0, len(row), PAIRS):
        rows, cells = row[begin : begin + PAIRS], around[row, side][begin : begin + PAIRS]
        distance = _distance_arcsec(at[rows], _outlines(cells))
        near[rows[distance <= MARGIN_ARCSEC]] = True
    return near


def _outlines(cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Points around cells, as unit vectors with shape (M, P, 3)."""
    from cdshealpix.nested import vertices

    known, places = np.unique(cells, return_inverse=True)
    lon, lat = vertices(known.astype(np.uint64), CELL_ORDER, step=EDGE_SEGMENTS)
    return unit_vectors(np.asarray(lon.deg), np.asarray(lat.deg))[places]


def _distance_arcsec(
    points: NDArray[np.float64], outlines: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of each point from its outline, with shape (M,).

    Of points p and a segment from u to v, all within an arcminute, the arc is as long as the chord
    to 1e-9 of it: |p - u - t (v - u)| with t = (p - u).(v - u) / |v - u|^2, cut to 0 ... 1.  Points
    are unit vectors with shape (M, 3), outlines those of corners in order with shape (M, P, 3).
    """
    edge = np.roll(outlines, -1, axis=1) - outlines
    offset = points[:, None, :] - outlines
    along = (offset * edge).sum(-1) / np.maximum((edge**2).sum(-1), np.finfo(float).tiny)
    away = offset - np.clip(along, 0, 1)[..., None] * edge
    return np.asarray(np.degrees(np.sqrt((away**2).sum(-1)).min(axis=1)) * 3600)
