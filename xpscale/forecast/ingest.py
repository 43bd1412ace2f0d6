"""What an ingest costs, before it begins: partitions, bytes, memory of a task, time on some nodes.

Constants are those of the bulk archive, the slowest format: other formats take less.

The formulas and where their constants were measured: ``xpscale/design/003-ingest-at-scale.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.formatting import format_bytes, format_duration
from xpscale.store.partitions import COUNT_ORDER, adaptive_partitions

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CORES_A_NODE", "NODES", "IngestProjection", "pixel_counts", "project_ingest"]

XP_BYTES_PER_ROW = 16_400  # csv.gz, correlations included
SOURCE_BYTES_PER_ROW = (
    3_450  # csv.gz of the GaiaSource rows of a spectrum: 757 GB for 219,197,643 of them
)
STAGED_BYTES_PER_ROW = 920
STORE_BYTES_PER_ROW = 810
CORRELATION_BYTES_PER_ROW = 11_880  # 2 x 1,485 float32, staged; as good as incompressible

XP_ROWS_PER_SECOND = 5_000  # of a core: gunzip of 40 kB a row, numbers, join
CORRELATION_ROWS_PER_SECOND = 2_000  # of a core, where 3,190 numbers a row are parsed and not 220
PARTITION_ROWS_PER_SECOND = 50_000  # of a core: range reads, sort, compress, write
NODE_BYTES_PER_SECOND = 1.25e9  # 10 Gbit/s

PROCESS_BYTES = 450_000_000  # a worker with numpy, numba, zarr and dask loaded
STAGE_BYTES_PER_ROW = 4_000  # padded text columns, joined arrays, records
PARTITION_BYTES_PER_ROW = 4_600  # rows read, rows sorted, Zarr objects, bytes on their way out

CORES_A_NODE = 16
NODES = (1, 16, 64)


@dataclass(frozen=True, slots=True)
class IngestProjection:
    """Numbers of an ingest that has not been done.

    Parameters
    ----------
    n_files, n_rows, n_partitions
        Fragments of the input (file pairs, of the archive); spectra; partitions.
    partitions_by_order
        Partitions of each HEALPix order.
    rows_of_largest_file, rows_of_largest_partition
        Spectra of the largest fragment and of the largest partition.
    bytes_read, bytes_staged, bytes_written
        Bytes of the input; of staging, which is removed at the end; of the store.
    memory_stage, memory_partition
        Peak bytes of a worker process in the first and in the second stage, with the largest file
        and partition.
    core_s
        Seconds of one core for everything.
    seconds
        Wall time by number of nodes.
    """

    n_files: int
    n_rows: int
    n_partitions: int
    partitions_by_order: Mapping[str, int]
    rows_of_largest_file: int
    rows_of_largest_partition: int
    bytes_read: int
    bytes_staged: int
    bytes_written: int
    memory_stage: int
    memory_partition: int
    core_s: float
    seconds: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for programs."""
        return asdict(self)

    def __str__(self) -> str:
        orders = ", ".join(
            f"{n:,} of order {order}" for order, n in self.partitions_by_order.items()
        )
        times = ", ".join(f"{format_duration(s)} on {n}" for n, s in self.seconds.items())
        return (
            f"  about {self.n_partitions:,} partitions ({orders}),"
            f" {format_bytes(self.bytes_written)};"
            f" {format_bytes(self.bytes_staged)} of staging meanwhile\n  a worker needs up to"
            f" {format_bytes(max(self.memory_stage, self.memory_partition))} of memory\n "
            f" {format_duration(self.core_s)} of one core; nodes of {CORES_A_NODE} cores: {times}"
        )


def pixel_counts(ranges: Sequence[tuple[int, int]], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows per pixel of order 8 for files of known range and size, spread evenly inside each file.

    Parameters
    ----------
    ranges
        Inclusive ranges of pixels of order 8.
    rows
        Rows of each range, with shape (F,).

    Returns
    -------
    ndarray
        int64, with shape (786432,); sums to the sum of ``rows``.
    """
    counts = np.zeros(12 * 4**COUNT_ORDER, np.int64)
    for (first, last), n in zip(ranges, rows.tolist(), strict=True):
        if not 0 <= first <= last < len(counts):
            raise InvalidInputError(f"{first}-{last} is no range of pixels of order {COUNT_ORDER}")
        edges = np.arange(last - first + 2) * n // (last - first + 1)
        counts[first : last + 1] += np.diff(edges)
    return counts


def project_ingest(
    rows: NDArray[np.int64],
    counts: NDArray[np.int64],
    max_rows: int,
    *,
    bytes_read: int = 0,
    correlations: bool = False,
) -> IngestProjection:
    """Project an ingest.

    Parameters
    ----------
    rows
        Spectra of each fragment, with shape (F,).
    counts
        Spectra per pixel of order 8, with shape (786432,).
    max_rows
        Rows of a partition at most.
    bytes_read
        Compressed bytes of all files; from the rows if not given.
    correlations
        Whether correlations are kept.
    """
    n_rows = int(rows.sum())
    partitions = adaptive_partitions(counts, max_rows)
    largest_file = int(rows.max(initial=0))
    largest = max((partition.n_rows for partition in partitions), default=0)
    orders = [partition.pixel.order for partition in partitions]
    extra = CORRELATION_BYTES_PER_ROW if correlations else 0
    staged = n_rows * (STAGED_BYTES_PER_ROW + extra)
    written = n_rows * (STORE_BYTES_PER_ROW + extra)
    read = bytes_read or n_rows * (XP_BYTES_PER_ROW + SOURCE_BYTES_PER_ROW)
    stage_s = 1 / (CORRELATION_ROWS_PER_SECOND if correlations else XP_ROWS_PER_SECOND)
    slower = (PARTITION_BYTES_PER_ROW + 4 * extra) / PARTITION_BYTES_PER_ROW
    partition_s = slower / PARTITION_ROWS_PER_SECOND
    stages = (
        _Stage(n_rows * stage_s, largest_file * stage_s, read + staged),
        _Stage(n_rows * partition_s, largest * partition_s, staged + written),
    )
    return IngestProjection(
        n_files=len(rows),
        n_rows=n_rows,
        n_partitions=len(partitions),
        partitions_by_order={str(order): orders.count(order) for order in sorted(set(orders))},
        rows_of_largest_file=largest_file,
        rows_of_largest_partition=largest,
        bytes_read=read,
        bytes_staged=staged,
        bytes_written=written,
        memory_stage=PROCESS_BYTES + largest_file * (STAGE_BYTES_PER_ROW + 2 * extra),
        memory_partition=PROCESS_BYTES + largest * (PARTITION_BYTES_PER_ROW + 4 * extra),
        core_s=sum(stage.total_s for stage in stages),
        seconds={str(n): sum(stage.wall_s(n) for stage in stages) for n in NODES},
    )


@dataclass(frozen=True, slots=True)
class _Stage:
    """Seconds of one core for all tasks, and for the longest; bytes over the network."""

    total_s: float
    longest_s: float
    n_bytes: int

    def wall_s(self, n_nodes: int) -> float:
        """Wall time: that of the cores or that of the network, whichever is longer.

        For tasks handed to whichever core is free the bound is T/m + (1 - 1/m) p_max (Graham 1966).
        """
        n_cores = n_nodes * CORES_A_NODE
        cores_s = self.total_s / n_cores + (1 - 1 / n_cores) * self.longest_s
        return max(cores_s, self.n_bytes / (n_nodes * NODE_BYTES_PER_SECOND))
