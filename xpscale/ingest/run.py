"""Do what a plan says: stage every fragment, write the partitions, seal the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xpscale.companions import checked_companions
from xpscale.errors import ConflictError, IncompleteError, InvalidInputError, XpscaleError
from xpscale.ingest.partition import WritePartition, partition_tasks
from xpscale.ingest.place import STAGED, clean_up, finished_store
from xpscale.ingest.plan import IngestPlan
from xpscale.ingest.report import reconcile
from xpscale.ingest.staged import StagedFile, staged_files
from xpscale.release import Release, release_of
from xpscale.row_rules import rejections
from xpscale.runtime.attempt import run_error
from xpscale.runtime.events import Callback
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.runtime.ledger import Ledger
from xpscale.runtime.run import run_stage
from xpscale.stated_release import agreed_release
from xpscale.storage import Storage
from xpscale.store.reader import SpectraStore, open_store
from xpscale.store.writer import seal_store
from xpscale.types import Executor, TaskReport, TaskStatus

__all__ = ["finish_store", "run_ingest"]


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
    if (done := finished_store(plan)) is not None:
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
    of_groups = [part for report in done.values() for part in report.details.get("unread", ())]
    remedy = (
        "Repair or fetch the file again, then run the same ingest: the others are kept. Or leave"
        " out what cannot be read: --skip-damaged"
    )
    _raise_failures(done, remedy)
    if of_groups and not plan.skip_damaged:
        raise InvalidInputError(of_groups[0]["reason"], remedy)
    alone = (fragment for fragment in plan.fragments if fragment.key in unread)
    quarantined = [{"name": one.name, "reason": reports[one.key].error} for one in alone]
    names = sorted({*unread, *(part["name"] for part in of_groups)})
    if not store.create(STAGED, "\n".join([plan.contents.digest, *names]).encode()):
        raise ConflictError(
            f"the files have changed since their rows went into {store.url}",
            "Ingest into a new store",
        )
    return done, quarantined + of_groups


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
    clean_up(store)
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
    codes = {report.details.get("exit_code") for report in failed}
    of_input = (kind for kind in (InvalidInputError, ConflictError) if codes == {kind.exit_code})
    kind: type[XpscaleError] = next(of_input, IncompleteError)
    raise run_error(kind(f"{failed[0].error.rstrip('.')}{more}", remedy), failed)
