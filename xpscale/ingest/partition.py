"""The second stage of an ingest: staged rows are gathered, sorted, and written as partitions."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from xpscale.bands import Bands
from xpscale.companions import filled
from xpscale.ingest.staged import RowRun, StagedFile
from xpscale.release import Release
from xpscale.row_rules import DUPLICATE, repeats
from xpscale.sky import Pixel
from xpscale.spectra import SpectraBatch
from xpscale.storage import Storage
from xpscale.store.partitions import COUNT_ORDER, adaptive_partitions
from xpscale.store.repeated import repeated_rows
from xpscale.store.writer import position_order, write_partition
from xpscale.types import TaskReport, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["PartitionTask", "WritePartition", "partition_tasks"]


def partition_tasks(
    store: Storage, staged: Sequence[StagedFile], max_rows: int, correlations: bool
) -> list[PartitionTask]:
    """The partitions of staged rows.

    Parameters
    ----------
    store
        The store being made.
    staged
        Everything that was staged, all of the same bands.
    max_rows
        Rows of a partition at most.
    correlations
        Whether correlations of coefficients were staged, too.
    """
    counts = np.zeros(12 * 4**COUNT_ORDER, np.int64)
    for file in staged:
        counts[file.pixels] += file.counts
    repeated = repeated_rows(
        [file.identifiers for file in staged], lambda i: staged[i].read_identifiers(store)
    )
    none = np.empty(0, np.int64)
    pixels = [partition.pixel for partition in adaptive_partitions(counts, max_rows)]
    starts = np.array([pixel.range_at(COUNT_ORDER)[0] for pixel in pixels])
    runs: list[list[RowRun]] = [[] for _ in pixels]
    for i, file in enumerate(staged):
        # a file has rows in few partitions: looking for it in all of them would be quadratic
        for place in np.unique(np.searchsorted(starts, file.pixels, "right") - 1):
            runs[place].append(file.rows_in(pixels[place], repeated.get(i, none)))
    return [
        PartitionTask(pixel, staged[0].bands, tuple(own), correlations)
        for pixel, own in zip(pixels, runs, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class PartitionTask:
    """One partition to write, and where its rows are."""

    pixel: Pixel
    bands: Bands
    runs: tuple[RowRun, ...]
    correlations: bool = False

    @property
    def key(self) -> str:
        """``Norder=5/Npix=1234``."""
        return self.pixel.key

    @property
    def n_rows(self) -> int:
        """Rows to read."""
        return sum(run.stop - run.start for run in self.runs)


@dataclass(frozen=True)
class WritePartition:
    """Gathers a partition's rows, drops sources that came twice, sorts and writes.

    Parameters
    ----------
    store
        The store being made.
    release
        The data release that the rows are of.
    companions
        What each partition has of what came along with some rows.
    pixel_positions
        Whether positions are the centres of the pixels in the identifiers.
    """

    store: Storage
    release: Release
    companions: tuple[str, ...] = ()
    pixel_positions: bool = False

    def __call__(self, task: PartitionTask) -> TaskReport:
        """Write one partition; of a source in two files the one of the first file is kept."""
        clock = time.perf_counter()
        batch = SpectraBatch.concatenate(run.read(self.store, task.bands) for run in task.runs)
        origin = np.repeat(np.arange(len(task.runs)), [run.stop - run.start for run in task.runs])
        read_s = time.perf_counter() - clock
        elsewhere = np.concatenate(
            [np.isin(np.arange(run.stop - run.start), run.repeated) for run in task.runs]
        )
        first = ~(elsewhere | repeats(batch.source_id, ~elsewhere))
        repeated = {
            run.name: int(n)
            for i, run in enumerate(task.runs)
            if (n := (~first & (origin == i)).sum())
        }
        order = np.flatnonzero(first)
        order = order[position_order(batch.ra[order], batch.dec[order], batch.source_id[order])]
        correlations = self._correlations(task, order)
        n_read, rows = len(batch), batch.take(order)
        companions = filled(rows.companions, self.companions, len(rows))
        rows = replace(rows, companions=companions)
        del batch  # 0.9 kB a row, and Zarr is about to take as much
        clock = time.perf_counter()
        position = self.release.position_text(self.pixel_positions)
        parts = write_partition(self.store, task.pixel, rows, position, correlations)
        return TaskReport(
            task.key,
            TaskStatus.WRITTEN,
            parts,
            n_in=n_read,
            n_out=len(rows),
            n_rejected={DUPLICATE: sum(repeated.values())} if repeated else {},
            read_s=read_s,
            write_s=time.perf_counter() - clock,
            details={"repeated": repeated},
        )

    def _correlations(
        self, task: PartitionTask, order: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float32]]:
        if not task.correlations:
            return {}
        n_bp, n_rp = task.bands.n_correlations
        both = np.concatenate([run.read_correlations(self.store, n_bp + n_rp) for run in task.runs])
        return {"bp_correlations": both[order, :n_bp], "rp_correlations": both[order, n_bp:]}
