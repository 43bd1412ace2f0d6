"""Pieces of whatever kind to a finished store: stage them all, write the partitions, seal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from xpscale.errors import ConflictError, IncompleteError, InvalidInputError, NotFoundError
from xpscale.ingest.report import reconcile, rejections
from xpscale.ingest.staging import STAGING, staged_files
from xpscale.ingest.task import PartitionTask, WritePartition, stage_batch
from xpscale.runtime.events import Callback
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.runtime.ledger import Ledger
from xpscale.runtime.run import run_stage
from xpscale.storage import Storage
from xpscale.storage.identity import claim
from xpscale.store.layout import FORMAT_VERSION, INGEST
from xpscale.store.partitions import COUNT_ORDER, DEFAULT_MAX_ROWS, adaptive_partitions
from xpscale.store.reader import SpectraStore, open_store
from xpscale.store.writer import seal_store
from xpscale.types import Executor, SpectraBatch, Task, TaskReport, TaskStatus

__all__ = ["Pieces", "build_store", "ingest_pieces"]

STAGED = f"{STAGING}/archive_digest"
"""Which files the staged rows come from; there once all are staged, so that partitions are never of
two archives.
"""


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
    named_digest = {
        name: value for name, value in pieces.attributes.items() if value == pieces.digest
    }
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
    unread = {
        key
        for key, report in files.items()
        if skip_damaged and report.status is TaskStatus.QUARANTINED
    }
    done_files = {key: report for key, report in files.items() if key not in unread}
    _raise_failures(
        done_files,
        "Mend or fetch the file again, then run the same ingest: the others are kept. Or leave out"
        " what cannot be read: --skip-damaged",
    )
    if not store.create(STAGED, "\n".join([pieces.digest, *sorted(unread)]).encode()):
        raise ConflictError(
            f"the files have changed since their rows went into {store.url}",
            "Ingest into a new store",
        )
    quarantined = [
        {"name": piece.name, "reason": files[piece.key].error}
        for piece in pieces.tasks
        if piece.key in unread
    ]
    return (
        _partition(
            store,
            done_files,
            max_rows,
            pieces.attributes,
            executor,
            callbacks,
            quarantined,
            pieces.correlations,
        ),
        True,
    )


def build_store(
    pieces: Iterable[tuple[str, SpectraBatch]],
    store_url: str,
    *,
    attributes: Mapping[str, Any],
    max_rows: int = DEFAULT_MAX_ROWS,
    executor: Executor | None = None,
    callbacks: Iterable[Callback] = (),
) -> SpectraStore:
    """Make a spectra store of spectra that are at hand as arrays.

    Parameters
    ----------
    pieces
        Names and batches, with errors; no two of a name.  A name says where its rows come from in
        the report.
    store_url
        Where the store will be.
    attributes
        Provenance for the store's attributes: ``release``, ``origin``, and what else is worth
        knowing.
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
    files = {name: stage_batch(store, name, name, batch) for name, batch in pieces}
    return _partition(
        store, files, max_rows, attributes, executor or SerialExecutor(), list(callbacks)
    )


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
                f"{store.url} was made of these files, but their sizes or MD5 sums have changed"
                " since",
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
        raise InvalidInputError(
            f"no spectrum for {store.url} is left: {rejections(files.values())}", "Check the input"
        )
    bands = staged[0].bands
    for file in staged:
        if file.bands != bands:
            raise InvalidInputError(
                f"{file.name} has {file.bands} coefficients, {staged[0].name} has {bands}",
                "Ingest releases of different bases into different stores",
            )
    counts = np.zeros(12 * 4**COUNT_ORDER, np.int64)
    for file in staged:
        counts[file.pixels] += file.counts
    tasks = [
        PartitionTask(
            partition.pixel, bands, tuple(run for run in runs if run.stop > run.start), correlations
        )
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
    sizes = {
        "n_bp": bands.n_bp,
        "n_coefficients": bands.n_coefficients,
        "n_quarantined": len(quarantined),
    }
    attributes = {**attributes, "correlations": correlations}
    seal_store(store, parts, report, {**attributes, **sizes})
    _clean_up(store)
    return open_store(store)


def _raise_failures(reports: Mapping[str, TaskReport], remedy: str) -> None:
    failed = [report for report in reports.values() if not report.status.is_done]
    if not failed:
        return
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    by_input = all(
        report.details.get("exit_code") == InvalidInputError.exit_code for report in failed
    )
    raise (InvalidInputError if by_input else IncompleteError)(
        f"{failed[0].error.rstrip('.')}{more}", remedy
    )


def _clean_up(store: Storage) -> None:
    """Remove what only an unfinished ingest needs."""
    leftovers = [
        *store.list(STAGING),
        *store.list("_xpscale/ledger"),
        *store.list("_xpscale/failed"),
    ]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(store.delete, leftovers))
    store.delete(*store.unfinished())
