"""The two tasks of an ingest: a file pair to staged rows, and staged rows to a partition."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from xpscale.archive.files import ArchiveFile, FilePair
from xpscale.archive.parse import parse_spectra
from xpscale.archive.reading import verified_stream
from xpscale.archive.sources import match_sources
from xpscale.bands import Bands
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
    faults
        Masks of rows that are bad for a reason only their origin knows.
    correlations
        BP and RP correlations of the rows, if they are to be kept, each with shape (N, n (n - 1) /
        2).
    """
    found = {**row_faults(batch), **(faults or {})}
    if correlations is not None:
        found["bad_correlations"] = ~np.logical_and.reduce(
            [np.isfinite(band).all(1) for band in correlations]
        )
    keep, rejected = first_reasons(found, len(batch))
    accepted = batch if keep.all() else batch.take(keep)
    details = {"name": name, "n_movers": 0}
    if len(accepted):
        index = stage(store, key, accepted)
        if correlations is not None:
            order = np.lexsort((accepted.source_id, index))
            stage_correlations(store, key, correlations, np.flatnonzero(keep)[order])
        position_pixel = index >> 2 * (INDEX_ORDER - ARCHIVE_ORDER)
        details["n_movers"] = int(
            (position_pixel != source_id_pixel(accepted.source_id, ARCHIVE_ORDER)).sum()
        )
    status = TaskStatus.WRITTEN if len(accepted) else TaskStatus.EMPTY
    return TaskReport(
        key, status, n_in=len(batch), n_out=len(accepted), n_rejected=rejected, details=details
    )


@dataclass(frozen=True)
class StageFile:
    """Parse one file pair of an archive, join it, and stage its rows."""

    store: Storage
    archive: Storage
    correlations: bool = False

    def __call__(self, pair: FilePair) -> TaskReport:
        """Stage one pair; damaged files and those that are not what their names say are refused
        before that.
        """
        clock = time.perf_counter()
        with verified_stream(self.archive, pair.spectra) as stream:
            spectra = parse_spectra(stream, self._url(pair.spectra), correlations=self.correlations)
        self._check_range(pair.spectra, spectra.source_id)
        with verified_stream(self.archive, pair.sources) as stream:
            sources = match_sources(stream, self._url(pair.sources), spectra.source_id)
        if not sources.found.any():
            raise InvalidInputError(
                f"{self._url(pair.sources)} has none of the {len(sources.found):,} sources of"
                f" {pair.spectra.name}",
                "Download it again",
            )
        read_s = time.perf_counter() - clock
        batch = SpectraBatch(
            spectra.source_id,
            sources.ra,
            sources.dec,
            sources.phot_g_mean_flux,
            spectra.coefficients,
            spectra.coefficient_errors,
            spectra.bands,
        )
        faults = {
            "missing_bp": ~spectra.has_bp,
            "missing_rp": ~spectra.has_rp,
            "no_gaia_source": ~sources.found,
        }
        report = stage_batch(self.store, pair.key, pair.name, batch, faults, spectra.correlations)
        return replace(report, read_s=read_s, write_s=time.perf_counter() - clock - read_s)

    def _url(self, file: ArchiveFile) -> str:
        return f"{self.archive.url}/{file.name}"

    def _check_range(self, file: ArchiveFile, source_id: np.ndarray) -> None:
        """A sound file under another's name holds no source of the name's range."""
        pixels = source_id_pixel(source_id, ARCHIVE_ORDER)
        if not ((pixels >= file.first_pixel) & (pixels <= file.last_pixel)).any():
            raise InvalidInputError(
                f"{self._url(file)} holds sources of level-8 pixels {pixels.min()} to"
                f" {pixels.max()} and none of its name",
                "Download it again",
            )


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
    """Gather a partition's rows, drop sources that came twice, sort, write."""

    store: Storage

    def __call__(self, task: PartitionTask) -> TaskReport:
        """Write one partition; of a source in two files the one of the first file is kept."""
        clock = time.perf_counter()
        batch = SpectraBatch.concatenate(run.read(self.store, task.bands) for run in task.runs)
        origin = np.repeat(np.arange(len(task.runs)), [run.stop - run.start for run in task.runs])
        read_s = time.perf_counter() - clock
        first = np.zeros(len(batch), bool)
        first[np.unique(batch.source_id, return_index=True)[1]] = True
        repeated = {
            run.name: int(n)
            for i, run in enumerate(task.runs)
            if (n := (~first & (origin == i)).sum())
        }
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
        if not task.correlations:
            return {}
        n_bp, n_rp = task.bands.n_correlations
        both = np.concatenate([run.read_correlations(self.store, n_bp + n_rp) for run in task.runs])
        return {"bp_correlations": both[order, :n_bp], "rp_correlations": both[order, n_bp:]}
