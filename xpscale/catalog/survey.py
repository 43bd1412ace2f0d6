"""A look at every row of a version's latents: the range of each column, and the movers.

Footers do not tell: sinks leave the statistics of most columns out of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xpscale.sky import MAX_ORDER, SOURCE_ID_SHIFT, Pixel
from xpscale.storage import Storage
from xpscale.types import Part, TaskReport, TaskStatus

__all__ = ["PartSurvey", "ranges", "statistics", "survey_part"]

MEASURES = ("min_value", "max_value", "null_count", "row_count", "disk_bytes", "memory_bytes")
"""Of each column, as hats has them in ``per_partition_statistics.parquet``."""


@dataclass(frozen=True, eq=False)
class PartSurvey:
    """What was seen in one part.

    Parameters
    ----------
    pixel
        Of the part.
    columns
        By column, the values of `MEASURES`; least and largest are ``None`` if there is none.
    movers
        Identifiers that carry another pixel, with shape (M,).
    """

    pixel: Pixel
    columns: Mapping[str, tuple[Any, ...]]
    movers: NDArray[np.int64]


def survey_part(storage: Storage, part: Part) -> TaskReport:
    """Read all rows of a part, and report a `PartSurvey` in ``details["survey"]``.

    Parameters
    ----------
    storage, part
        The catalogue, and its part: the task of a stage.
    """
    with storage.open(part.key) as data, pq.ParquetFile(data) as file:
        rows, metadata = file.read(), file.metadata
    low, high = (each << SOURCE_ID_SHIFT for each in part.pixel.range_at(MAX_ORDER))
    source_id = rows["source_id"].to_numpy()
    columns = {
        name: (*_extremes(rows[name]), rows[name].null_count, rows.num_rows, *sizes)
        for name, sizes in zip(rows.column_names, _sizes(metadata), strict=True)
    }
    movers = source_id[(source_id < low) | (source_id >= high)]
    found = PartSurvey(part.pixel, columns, movers)
    details = {"survey": found, "bytes_in": part.n_bytes}
    n_rows = rows.num_rows
    return TaskReport(part.key, TaskStatus.WRITTEN, n_in=n_rows, n_out=n_rows, details=details)


def _extremes(column: pa.ChunkedArray) -> tuple[Any, Any]:
    """Least and largest value that is a number."""
    found = pc.min_max(column.filter(pc.is_finite(column)))
    return found["min"].as_py(), found["max"].as_py()


def _sizes(metadata: pq.FileMetaData) -> list[tuple[int, int]]:
    """Bytes of each column in the file and before compression."""
    totals = np.zeros((metadata.num_columns, 2), np.int64)
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for number in range(metadata.num_columns):
            chunk = group.column(number)
            totals[number] += (chunk.total_compressed_size, chunk.total_uncompressed_size)
    return [(on_disk, in_memory) for on_disk, in_memory in totals.tolist()]


def statistics(surveys: Iterable[PartSurvey], schema: pa.Schema) -> pa.Table:
    """The rows of hats' ``per_partition_statistics.parquet``, one a partition.

    Parameters
    ----------
    surveys
        Of all parts.
    schema
        Of the parts.
    """
    found = sorted(surveys, key=lambda survey: survey.pixel.index_range)
    arrays: dict[str, pa.Array] = {
        "Norder": pa.array([survey.pixel.order for survey in found], pa.int64()),
        "Npix": pa.array([survey.pixel.number for survey in found], pa.int64()),
        "row_group_index": pa.array([0] * len(found), pa.int64()),
    }
    for field in schema:
        for place, measure in enumerate(MEASURES):
            kind = field.type if place < 2 else pa.int64()
            values = [survey.columns[field.name][place] for survey in found]
            arrays[f"{field.name}::{measure}"] = pa.array(values, kind)
    return pa.table(arrays)


def ranges(statistics: pa.Table) -> dict[str, tuple[Any, Any]]:
    """Least and largest value of each column over all partitions, from `statistics`."""
    ends = ((MEASURES[0], pc.min), (MEASURES[1], pc.max))
    names = [
        name.removesuffix(f"::{MEASURES[0]}")
        for name in statistics.column_names
        if name.endswith(f"::{MEASURES[0]}")
    ]
    return {
        name: tuple(
            function(statistics[f"{name}::{measure}"]).as_py() for measure, function in ends
        )
        for name in names
    }
