"""Do what a plan says: stage every fragment, write the partitions, seal the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from xpscale.companions import checked_companions
from xpscale.errors import ConflictError, IncompleteError, InvalidInputError, NotFoundError
from xpscale.ingest.partition import WritePartition, partition_tasks
from xpscale.ingest.plan import IngestPlan
from xpscale.ingest.report import reconcile
from xpscale.ingest.staged import STAGING, StagedFile, staged_files
from xpscale.release import Release, release_of, require_same_release
from xpscale.row_rules import rejections
from xpscale.runtime.attempt import run_error
from xpscale.runtime.events import Callback
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.runtime.ledger import Ledger
from xpscale.runtime.run import run_stage
from xpscale.stated_release import agreed_release
from xpscale.storage import Storage
from xpscale.storage.identity import claim
from xpscale.store.layout import FORMAT_VERSION, INGEST
from xpscale.store.reader import SpectraStore, open_store
from xpscale.store.writer import seal_store
from xpscale.types import Executor, TaskReport, TaskStatus

__all__ = ["begin_store", "finish_store", "run_ingest"]

STAGED = f"{STAGING}/archive_digest"
"""Which files the staged rows come from; there once all are staged, so that partitions are never of
two inputs.
"""
STAGED_ENDINGS = (".rows", ".correlations", ".identifiers", ".index.npz", ".json", ".sources")
OWN = ("_xpscale/", "Norder=", "zarr.json#")
"""What an ingest names its objects, of which an unfinished one leaves some behind."""


def run_ingest(
    plan: IngestPlan, *, executor: Executor | None = None, callbacks: Iterable[Callback] = ()
) -> tuple[SpectraStore, bool]:
    """Make the spectra store of a plan, or finish making it.

    Parameters
    ----------
    plan
        From `xpscale.plan_ingest`.
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
        those.  All other files are staged: repair it and run again.
    ConflictError
        The store's place holds something else; or it holds the store of files that have changed
        since, such as one that was set aside and repaired; or the files are of two releases.
    """
    contents, store, executor = plan.contents, plan.store, executor or SerialExecutor()
    listeners = list(callbacks)
    if not store.exists("zarr.json"):
        executor.require_fit(plan.function)  # before anything is written
    done = begin_store(store, plan.identity, plan.max_rows)
    if done is not None:
        _require_same_input(done, plan)
        return done, False
    if contents.sources:
        contents.sources.prepare(store)
    reports, quarantined = _stage(plan, executor, listeners)
    attributes = {"origin": contents.origin, contents.digest_name: contents.digest}
    made = finish_store(
        store,
        reports,
        plan.max_rows,
        attributes,
        release=plan.release,
        executor=executor,
        callbacks=listeners,
        quarantined=quarantined,
        correlations=plan.correlations,
        pixel_positions=plan.columns.pixel_positions,
    )
    return made, True


def begin_store(store: Storage, identity: Mapping[str, Any], max_rows: int) -> SpectraStore | None:
    """Claim the place of a store; the finished store if this ingest was finished before.

    Parameters
    ----------
    store
        Where the store will be.
    identity
        What says that two ingests are the same one, be it begun or finished; JSON values.
    max_rows
        Rows of a partition at most.

    Raises
    ------
    ConflictError
        Something else is there.
    """
    identity = {**identity, "max_rows": max_rows, "format_version": FORMAT_VERSION}
    try:
        finished = open_store(store)
    except (NotFoundError, InvalidInputError):
        if claim(store, INGEST, identity, "ingest") or not store.exists("zarr.json"):
            return None
        raise
    claim(store, INGEST, identity, "ingest")
    _clean_up(store)
    return finished


def _require_same_input(done: SpectraStore, plan: IngestPlan) -> None:
    contents = plan.contents
    if done.attributes.get(contents.digest_name) != contents.digest:
        raise ConflictError(
            f"{done.url} was made of these files, but their sizes or MD5 sums have changed since",
            "A finished store takes no more rows: ingest into a new store",
        )
    if plan.release is not None:
        require_same_release(done.url, done.release, "the input", plan.release)
    if plan.bands not in (None, done.bands):
        raise ConflictError(
            f"{done.url} was made with {done.bands} coefficients, not {plan.bands}",
            "Ingest into a new store",
        )


def _stage(
    plan: IngestPlan, executor: Executor, listeners: list[Callback]
) -> tuple[dict[str, TaskReport], list[dict[str, str]]]:
    """The first stage: reports of the fragments that are staged, and those that are set aside."""
    store = plan.store
    reports = run_stage(
        "read files",
        plan.function,
        plan.fragments,
        executor,
        Ledger(store / "_xpscale", "files"),
        callbacks=listeners,
        rows=lambda fragment: fragment.n_rows,
    )
    unread = {
        key
        for key, report in reports.items()
        if plan.skip_damaged and report.status is TaskStatus.QUARANTINED
    }
    done = {key: report for key, report in reports.items() if key not in unread}
    _raise_failures(
        done,
        "Repair or fetch the file again, then run the same ingest: the others are kept. Or leave"
        " out what cannot be read: --skip-damaged",
    )
    if not store.create(STAGED, "\n".join([plan.contents.digest, *sorted(unread)]).encode()):
        raise ConflictError(
            f"the files have changed since their rows went into {store.url}",
            "Ingest into a new store",
        )
    quarantined = [
        {"name": fragment.name, "reason": reports[fragment.key].error}
        for fragment in plan.fragments
        if fragment.key in unread
    ]
    return done, quarantined


def finish_store(
    store: Storage,
    reports: Mapping[str, TaskReport],
    max_rows: int,
    attributes: Mapping[str, Any],
    *,
    release: Release | None,
    executor: Executor,
    callbacks: list[Callback],
    quarantined: Sequence[Mapping[str, str]] = (),
    correlations: bool = False,
    pixel_positions: bool = False,
) -> SpectraStore:
    """The second stage, from staged rows to partitions; and the seal.

    Parameters
    ----------
    store
        Where the rows are staged and the store will be.
    reports
        Those of the first stage that are done, by task key.
    max_rows
        Rows of a partition at most.
    attributes
        Provenance for the store's attributes.
    release
        The data release, as far as it is known.
    executor, callbacks
        As in `run_ingest`.
    quarantined
        ``name`` and ``reason`` of each file that could not be read.
    correlations
        Whether correlations of coefficients were staged, too.
    pixel_positions
        Whether positions are the centres of the pixels in the identifiers.

    Raises
    ------
    InvalidInputError
        No row is left, or rows are of different bands.
    ConflictError
        Rows are of different releases.
    """
    staged = _staged(store, reports)
    release = _release(staged[0], reports, release, store.url)
    more: dict[str, Any] = {
        "companions": checked_companions(name for file in staged for name in file.companions),
        "pixel_positions": pixel_positions,
    }
    written = run_stage(
        "write partitions",
        WritePartition(store, release, **more),
        partition_tasks(store, staged, max_rows, correlations),
        executor,
        Ledger(store / "_xpscale", "partitions"),
        callbacks=callbacks,
        rows=lambda task: task.n_rows,
    )
    _raise_failures(written, "Run the same ingest again to finish")
    seal_store(
        store,
        [part for task in written.values() for part in task.parts],
        reconcile(reports, written, quarantined),
        {**attributes, **more, "correlations": correlations, "n_quarantined": len(quarantined)},
        bands=staged[0].bands,
        release=release,
    )
    _clean_up(store)
    return open_store(store)


def _staged(store: Storage, reports: Mapping[str, TaskReport]) -> tuple[StagedFile, ...]:
    """What was staged, all of the same bands."""
    staged = staged_files(store, sorted(key for key, report in reports.items() if report.n_out))
    if not staged:
        raise InvalidInputError(
            f"no spectrum for {store.url} is left: {rejections(reports.values())}",
            "Check the input",
        )
    first = staged[0]
    for file in staged:
        if file.bands != first.bands:
            name, other = (reports[each.name].details["name"] for each in (file, first))
            raise InvalidInputError(
                f"{name} has {file.bands} coefficients, {other} has {first.bands}",
                "Ingest releases of different bases into different stores",
            )
    return staged


def _release(
    first: StagedFile, reports: Mapping[str, TaskReport], known: Release | None, url: str
) -> Release:
    details = [reports[key].details for key in sorted(reports)]
    named = ((each["name"], each.get("release", "")) for each in details)
    release = agreed_release(known, named, "the input") or release_of("", first.bands)
    release.require_bands(first.bands, url)
    return release


def _raise_failures(reports: Mapping[str, TaskReport], remedy: str) -> None:
    failed = [report for report in reports.values() if not report.status.is_done]
    if not failed:
        return
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    by_input = all(
        report.details.get("exit_code") == InvalidInputError.exit_code for report in failed
    )
    kind = InvalidInputError if by_input else IncompleteError
    raise run_error(kind(f"{failed[0].error.rstrip('.')}{more}", remedy), failed)


def _clean_up(store: Storage) -> None:
    """Remove what only an unfinished ingest needs."""
    folders = (STAGING, "_xpscale/ledger", "_xpscale/failed")
    keys = [key for folder in folders for key in store.list(folder)]
    leftovers = [key for key in keys if key == STAGED or key.endswith(STAGED_ENDINGS)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(store.delete, leftovers))
    store.delete(*(key for key in store.unfinished() if key.startswith(OWN)))
