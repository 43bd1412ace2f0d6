"""The two tasks of an ingest: a file pair to staged rows, and staged rows to a partition."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from xpscale.archive.files import Archive, ArchiveFile, FilePair
from xpscale.archive.parse import parse_spectra
from xpscale.archive.sources import match_sources
from xpscale.errors import InvalidInputError
from xpscale.ingest.reasons import DUPLICATE, first_reasons, row_faults
from xpscale.ingest.staging import RowRun, stage, stage_correlations
from xpscale.sky import ARCHIVE_ORDER, INDEX_ORDER, Pixel, source_id_pixel
from xpscale.storage import Storage
from xpscale.store.writer import position_order, write_partition
from xpscale.types import SpectraBatch, TaskReport, TaskStatus

__all__ = ["PartitionTask", "StageFile", "WritePartition", "stage_batch"]


def stage_batch(
    store: Storage,
    key: str,
    name: str,
    batch: SpectraBatch,
    n_bp: int,
    faults: dict[str, np.ndarray] | None = None,
    correlations: Sequence[np.ndarray] | None = None,
) -> TaskReport:
    """Sort out a batch's rows and stage the good ones.

    Parameters
    ----------
    store
        The store being made.
    key, name
        Task key, and what to call the rows' origin in reports.
    batch
        The rows as read.
    n_bp
        BP coefficients among its coefficients.
    faults
        Masks of rows that are bad for a reason only their origin knows.
    correlations
        BP and RP correlations of the rows, if they are to be kept, each with shape (N, n (n - 1) / 2).
    """
    found = {**row_faults(batch), **(faults or {})}
    if correlations is not None:
        found["bad_correlations"] = ~np.logical_and.reduce([np.isfinite(band).all(1) for band in correlations])
    keep, rejected = first_reasons(found, len(batch))
    accepted = batch.take(keep)
    details = {"name": name, "n_movers": 0}
    if len(accepted):
        index = stage(store, key, accepted, n_bp)
        if correlations is not None:
            order = np.lexsort((accepted.source_id, index))
            stage_correlations(store, key, correlations, np.flatnonzero(keep)[order])
        position_pixel = index >> 2 * (INDEX_ORDER - ARCHIVE_ORDER)
        details["n_movers"] = int((position_pixel != source_id_pixel(accepted.source_id, ARCHIVE_ORDER)).sum())
    status = TaskStatus.WRITTEN if len(accepted) else TaskStatus.EMPTY
    return TaskReport(key, status, n_in=len(batch), n_out=len(accepted), n_rejected=rejected, details=details)


@dataclass(frozen=True)
class StageFile:
    """Parse one file pair of an archive, join it, and stage its rows."""

    store: Storage
    archive: Archive
    correlations: bool = False

    def __call__(self, pair: FilePair) -> TaskReport:
        """Stage one pair; damaged files and wrong MD5 sums are refused before anything is written."""
        with self._open(pair.spectra) as stream:
            name = f"{self.archive.storage.url}/{pair.spectra.name}"
            spectra = parse_spectra(stream, name, correlations=self.correlations)
        self._check_md5(pair.spectra, spectra.md5)
        with self._open(pair.sources) as stream:
            sources = match_sources(stream, f"{self.archive.storage.url}/{pair.sources.name}", spectra.source_id)
        self._check_md5(pair.sources, sources.md5)
        batch = SpectraBatch(
            spectra.source_id,
            sources.ra,
            sources.dec,
            sources.phot_g_mean_flux,
            spectra.coefficients,
            spectra.coefficient_errors,
        )
        faults = {"missing_bp": ~spectra.has_bp, "missing_rp": ~spectra.has_rp, "no_gaia_source": ~sources.found}
        return stage_batch(self.store, pair.key, pair.name, batch, spectra.n_bp, faults, spectra.correlations)

    def _open(self, file: ArchiveFile) -> BinaryIO:
        try:
            return self.archive.open(file)
        except FileNotFoundError as error:
            raise InvalidInputError(
                f"{self.archive.storage.url}/{file.name} does not exist", "Fetch it from the archive"
            ) from error

    def _check_md5(self, file: ArchiveFile, md5: str) -> None:
        if file.md5 and file.md5 != md5:
            raise InvalidInputError(
                f"{self.archive.storage.url}/{file.name} has MD5 {md5}, _MD5SUM.txt says {file.md5}",
                "Download it again",
            )


@dataclass(frozen=True, slots=True)
class PartitionTask:
    """One partition to write, and where its rows are."""

    pixel: Pixel
    n_coefficients: int
    runs: tuple[RowRun, ...]
    n_pairs: tuple[int, int] = (0, 0)
    """BP and RP correlations a row; none if they are not kept."""

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
    """Gather a partition's rows, drop sources that came twice, sort, write."""

    store: Storage

    def __call__(self, task: PartitionTask) -> TaskReport:
        """Write one partition; of a source in two files the one of the first file is kept."""
        clock = time.perf_counter()
        batch = SpectraBatch.concatenate(run.read(self.store, task.n_coefficients) for run in task.runs)
        origin = np.repeat(np.arange(len(task.runs)), [run.stop - run.start for run in task.runs])
        read_s = time.perf_counter() - clock
        first = np.zeros(len(batch), bool)
        first[np.unique(batch.source_id, return_index=True)[1]] = True
        repeated = {run.name: int(n) for i, run in enumerate(task.runs) if (n := (~first & (origin == i)).sum())}
        order = np.flatnonzero(first)
        order = order[position_order(batch.ra[order], batch.dec[order], batch.source_id[order])]
        correlations = self._correlations(task, order)
        n_read, rows = len(batch), batch.take(order)
        del batch  # 0.9 kB a row, and Zarr is about to take as much
        clock = time.perf_counter()
        parts = write_partition(self.store, task.pixel, rows, correlations)
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

    def _correlations(self, task: PartitionTask, order: np.ndarray) -> dict[str, np.ndarray]:
        n_bp, n_rp = task.n_pairs
        if not n_bp + n_rp:
            return {}
        both = np.concatenate([run.read_correlations(self.store, n_bp + n_rp) for run in task.runs])
        return {"bp_correlations": both[order, :n_bp], "rp_correlations": both[order, n_bp:]}
