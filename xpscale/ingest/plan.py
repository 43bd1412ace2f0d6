"""What an ingest will do, said before it does it; and doing it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from xpscale.archive.files import Archive, open_archive
from xpscale.claim import claim
from xpscale.errors import ConflictError, IncompleteError, InvalidInputError, NotFoundError
from xpscale.ingest.projection import XP_BYTES_PER_ROW, IngestProjection, pixel_counts, project_ingest
from xpscale.ingest.report import reconcile, rejections
from xpscale.ingest.staging import STAGING, staged_files
from xpscale.ingest.task import PartitionTask, StageFile, WritePartition, stage_batch
from xpscale.runtime.events import Callback
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.runtime.ledger import Ledger
from xpscale.runtime.run import run_stage
from xpscale.storage import Storage
from xpscale.store.layout import FORMAT_VERSION, INGEST
from xpscale.store.partitions import COUNT_ORDER, DEFAULT_MAX_ROWS, adaptive_partitions
from xpscale.store.reader import SpectraStore, open_store
from xpscale.store.writer import seal_store
from xpscale.text import size
from xpscale.types import Executor, SpectraBatch, Task, TaskReport, TaskStatus

__all__ = ["IngestPlan", "Pieces", "build_store", "ingest_pieces", "plan_ingest", "run_ingest"]

STAGED = f"{STAGING}/archive_digest"
"""Which files the staged rows come from; there once all are staged, so that partitions are never of two archives."""

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
        Whether files that cannot be read are set aside and named in the store's report; otherwise no store is made until
        they are mended.
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
            f"ingest {len(self.archive.pairs):,} file pairs, {size(self.archive.n_bytes)} compressed, about "
            f"{n_rows:,} spectra\n"
            f"  to {self.store.url}, partitions of at most {self.max_rows:,} rows"
        )

    def project(self) -> IngestProjection:
        """Partitions, bytes, memory and time, from the files' ranges and sizes; rows are spread evenly inside a file."""
        ranges = [(pair.spectra.first_pixel, pair.spectra.last_pixel) for pair in self.archive.pairs]
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
    """Look at an archive and say what ingesting it will take.  Reads names and sizes only; writes nothing.

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
        A file is damaged, not what its name says, or has another MD5, and the plan does not skip those.  All other files
        are staged: mend it and run again.
    ConflictError
        The store's place holds something else; or it holds the store of files that have changed since, such as one that
        was set aside and mended.
    """
    pairs = plan.archive.pairs
    names = hashlib.sha256("\n".join(pair.spectra.name for pair in pairs).encode()).hexdigest()
    pieces = Pieces(
        pairs,
        StageFile(plan.store, plan.archive, plan.correlations),
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
    return ingest_pieces(pieces, plan.store, plan.max_rows, where, list(callbacks), skip_damaged=plan.skip_damaged)


class Piece(Task, Protocol):
    """A task that reads one thing with a name."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...


@dataclass(frozen=True)
class Pieces:
    """What an ingest reads, piece by piece, each a task.

    Parameters
    ----------
    tasks
        The pieces; a task's key must change with its content.
    stage
        Stages the rows of one piece, by `xpscale.ingest.task.stage_batch`.
    identity
        What says that two ingests are the same one, be it begun or finished; JSON values.
    digest
        Content hash of all pieces.
    attributes
        Provenance for the store's attributes; the digest must be among them.
    rows
        Rows of a piece, about.
    correlations
        Whether correlations of coefficients are staged, too.
    """

    tasks: Sequence[Piece]
    stage: Callable[[Any], TaskReport]
    identity: Mapping[str, Any]
    digest: str
    attributes: Mapping[str, Any]
    rows: Callable[[Any], int]
    correlations: bool = False


def ingest_pieces(
    pieces: Pieces,
    store: Storage,
    max_rows: int,
    executor: Executor,
    callbacks: list[Callback],
    *,
    skip_damaged: bool = False,
) -> tuple[SpectraStore, bool]:
    """Stage every piece, then write the partitions; as `run_ingest` for pieces of any kind."""
    named_digest = {name: value for name, value in pieces.attributes.items() if value == pieces.digest}
    identity = {**pieces.identity, **({"correlations": True} if pieces.correlations else {})}
    done = _begin(store, identity, max_rows, named_digest)
    if done is not None:
        return done, False
    files = run_stage(
        "read files",
        pieces.stage,
        pieces.tasks,
        executor,
        Ledger(store / "_xpscale", "files"),
        callbacks=callbacks,
        rows=pieces.rows,
    )
    unread = {key for key, report in files.items() if skip_damaged and report.status is TaskStatus.QUARANTINED}
    done_files = {key: report for key, report in files.items() if key not in unread}
    _raise_failures(
        done_files,
        "Mend or fetch the file again, then run the same ingest: the others are kept. Or leave out what cannot be read: "
        "--skip-damaged",
    )
    if not store.create(STAGED, "\n".join([pieces.digest, *sorted(unread)]).encode()):
        raise ConflictError(
            f"the files have changed since their rows went into {store.url}",
            "Ingest into a new store",
        )
    quarantined = [
        {"name": piece.name, "reason": files[piece.key].error} for piece in pieces.tasks if piece.key in unread
    ]
    return _partition(
        store, done_files, max_rows, pieces.attributes, executor, callbacks, quarantined, pieces.correlations
    ), True


def build_store(
    pieces: Iterable[tuple[str, SpectraBatch]],
    store_url: str,
    *,
    n_bp: int,
    attributes: Mapping[str, Any],
    max_rows: int = DEFAULT_MAX_ROWS,
    executor: Executor | None = None,
    callbacks: Iterable[Callback] = (),
) -> SpectraStore:
    """Make a spectra store of spectra that are at hand as arrays.

    Parameters
    ----------
    pieces
        Names and batches, with errors; no two of a name.  A name says where its rows come from in the report.
    store_url
        Where the store will be.
    n_bp
        BP coefficients among the coefficients.
    attributes
        Provenance for the store's attributes: ``release``, ``origin``, and what else is worth knowing.
    max_rows
        Rows of a partition at most.
    executor, callbacks
        As in `run_ingest`; used for writing partitions.
    """
    store = Storage(store_url)
    identity = {"kind": "batches", **{name: str(value) for name, value in attributes.items()}}
    done = _begin(store, identity, max_rows, {})
    if done is not None:
        return done
    files = {name: stage_batch(store, name, name, batch, n_bp) for name, batch in pieces}
    return _partition(store, files, max_rows, attributes, executor or SerialExecutor(), list(callbacks))


def _begin(
    store: Storage, identity: dict[str, Any], max_rows: int, must_match: Mapping[str, str]
) -> SpectraStore | None:
    """Claim the place; the finished store if this very ingest was finished before."""
    identity = {**identity, "max_rows": max_rows, "format_version": FORMAT_VERSION}
    try:
        finished = open_store(store)
    except (NotFoundError, InvalidInputError):
        if claim(store, INGEST, identity, "ingest") or not store.exists("zarr.json"):
            return None
        raise
    claim(store, INGEST, identity, "ingest")
    for name, value in must_match.items():
        if finished.attributes.get(name) != value:
            raise ConflictError(
                f"{store.url} was made of these files, but their sizes or MD5 sums have changed since",
                "A finished store takes no more rows: ingest into a new store",
            )
    _clean_up(store)
    return finished


def _partition(
    store: Storage,
    files: Mapping[str, TaskReport],
    max_rows: int,
    attributes: Mapping[str, Any],
    executor: Executor,
    callbacks: list[Callback],
    quarantined: Sequence[Mapping[str, str]] = (),
    correlations: bool = False,
) -> SpectraStore:
    """The second half: staged rows to partitions, then the seal."""
    staged = staged_files(store, sorted(key for key, report in files.items() if report.n_out))
    if not staged:
        raise InvalidInputError(f"no spectrum for {store.url} is left: {rejections(files.values())}", "Check the input")
    shape = (staged[0].n_bp, staged[0].n_coefficients)
    for file in staged:
        if (file.n_bp, file.n_coefficients) != shape:
            raise InvalidInputError(
                f"{file.name} has {file.n_bp} BP of {file.n_coefficients} coefficients, {staged[0].name} has "
                f"{shape[0]} of {shape[1]}",
                "Ingest releases of different bases into different stores",
            )
    counts = np.zeros(12 * 4**COUNT_ORDER, np.int64)
    for file in staged:
        counts[file.pixels] += file.counts
    n_bp, n_rp = shape[0], shape[1] - shape[0]
    n_pairs = (n_bp * (n_bp - 1) // 2, n_rp * (n_rp - 1) // 2) if correlations else (0, 0)
    tasks = [
        PartitionTask(partition.pixel, shape[1], tuple(run for run in runs if run.stop > run.start), n_pairs)
        for partition in adaptive_partitions(counts, max_rows)
        for runs in [[file.rows_in(partition.pixel) for file in staged]]
    ]
    written = run_stage(
        "write partitions",
        WritePartition(store),
        tasks,
        executor,
        Ledger(store / "_xpscale", "partitions"),
        callbacks=callbacks,
        rows=lambda task: task.n_rows,
    )
    _raise_failures(written, "Run the same ingest again to finish")
    report = reconcile(files, written, quarantined)
    parts = [part for task in written.values() for part in task.parts]
    sizes = {"n_bp": shape[0], "n_coefficients": shape[1], "n_quarantined": len(quarantined)}
    attributes = {**attributes, "correlations": correlations}
    seal_store(store, parts, report, {**attributes, **sizes})
    _clean_up(store)
    return open_store(store)


def _raise_failures(reports: Mapping[str, TaskReport], remedy: str) -> None:
    failed = [report for report in reports.values() if not report.status.is_done]
    if not failed:
        return
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    by_input = all(report.details.get("exit_code") == InvalidInputError.exit_code for report in failed)
    raise (InvalidInputError if by_input else IncompleteError)(f"{failed[0].error.rstrip('.')}{more}", remedy)


def _clean_up(store: Storage) -> None:
    """Remove what only an unfinished ingest needs."""
    leftovers = [*store.list(STAGING), *store.list("_xpscale/ledger"), *store.list("_xpscale/failed")]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(store.delete, leftovers))
