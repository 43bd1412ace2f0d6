"""What an ingest will do, said before it does it; and doing it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from xpscale.archive.files import Archive, open_archive
from xpscale.forecast.ingest import (
    XP_BYTES_PER_ROW,
    IngestProjection,
    pixel_counts,
    project_ingest,
)
from xpscale.formatting import format_bytes
from xpscale.ingest.build import Pieces, ingest_pieces
from xpscale.ingest.task import StageFile
from xpscale.runtime.events import Callback
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.storage import Storage
from xpscale.store.partitions import DEFAULT_MAX_ROWS
from xpscale.store.reader import SpectraStore
from xpscale.types import Executor

__all__ = ["IngestPlan", "plan_ingest", "run_ingest"]

CORRELATIONS_MAX_ROWS = 32_768
"""Rows of a partition with correlations, 14 times as long: 0.4 GB."""


@dataclass(frozen=True)
class IngestPlan:
    """An ingest, described: which files, how many rows about, how long about.

    Parameters
    ----------
    archive
        The files.
    store
        Where the spectra store will be.
    max_rows
        Rows of a partition at most.
    skip_damaged
        Whether files that cannot be read are set aside and named in the store's report; otherwise
        no store is made until they are mended.
    correlations
        Whether the store keeps the correlations of coefficients.
    """

    archive: Archive
    store: Storage
    max_rows: int
    skip_damaged: bool = False
    correlations: bool = False

    @property
    def n_tasks(self) -> int:
        """File pairs to read."""
        return len(self.archive.pairs)

    @property
    def n_rows_estimated(self) -> int:
        """Spectra expected, from the files' sizes."""
        return sum(self._rows())

    def __str__(self) -> str:
        n_rows = self.n_rows_estimated
        return (
            f"ingest {len(self.archive.pairs):,} file pairs, {format_bytes(self.archive.n_bytes)}"
            f" compressed, about {n_rows:,} spectra\n  to {self.store.url}, partitions of at most"
            f" {self.max_rows:,} rows"
        )

    def project(self) -> IngestProjection:
        """Partitions, bytes, memory and time, from the files' ranges and sizes; rows are spread
        evenly inside a file.
        """
        ranges = [
            (pair.spectra.first_pixel, pair.spectra.last_pixel) for pair in self.archive.pairs
        ]
        rows = np.array(self._rows(), np.int64)
        return project_ingest(
            rows, pixel_counts(ranges, rows), self.max_rows,
            bytes_read=self.archive.n_bytes, correlations=self.correlations,
        )  # fmt: skip

    def _rows(self) -> list[int]:
        return [pair.spectra.n_bytes // XP_BYTES_PER_ROW for pair in self.archive.pairs]


def plan_ingest(
    archive_url: str,
    store_url: str,
    *,
    max_rows: int | None = None,
    skip_damaged: bool = False,
    correlations: bool = False,
) -> IngestPlan:
    """Look at an archive and say what ingesting it will take.  Reads names and sizes only; writes
    nothing.

    ``max_rows`` is 262,144, or 32,768 with correlations, if not given.
    """
    archive = open_archive(archive_url, allow_unpaired=skip_damaged)
    max_rows = max_rows or (CORRELATIONS_MAX_ROWS if correlations else DEFAULT_MAX_ROWS)
    return IngestPlan(archive, Storage(store_url), max_rows, skip_damaged, correlations)


def run_ingest(
    plan: IngestPlan, *, executor: Executor | None = None, callbacks: Iterable[Callback] = ()
) -> tuple[SpectraStore, bool]:
    """Make the spectra store of a plan, or finish making it.

    Parameters
    ----------
    plan
        From `plan_ingest`.
    executor
        Where tasks run; serially in this process if not given.
    callbacks
        Listeners for progress.

    Returns
    -------
    store, is_new
        The finished store, and False if it was finished before and nothing was done.

    Raises
    ------
    InvalidInputError
        A file is damaged, not what its name says, or has another MD5, and the plan does not skip
        those.  All other files are staged: mend it and run again.
    ConflictError
        The store's place holds something else; or it holds the store of files that have changed
        since, such as one that was set aside and mended.
    """
    pairs = plan.archive.pairs
    names = hashlib.sha256("\n".join(pair.spectra.name for pair in pairs).encode()).hexdigest()
    pieces = Pieces(
        pairs,
        StageFile(plan.store, plan.archive.storage, plan.correlations),
        identity={"kind": "archive", "files": names, "n_files": len(pairs)},
        digest=plan.archive.digest,
        attributes={
            "release": "Gaia DR3",
            "origin": "xp_continuous_mean_spectrum and gaia_source bulk files",
            "archive_digest": plan.archive.digest,
        },
        rows=lambda pair: pair.spectra.n_bytes // XP_BYTES_PER_ROW,
        correlations=plan.correlations,
    )
    where = executor or SerialExecutor()
    return ingest_pieces(
        pieces, plan.store, plan.max_rows, where, list(callbacks), skip_damaged=plan.skip_damaged
    )
