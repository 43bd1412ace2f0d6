"""A copy of a catalogue, or of a share of it, that is a catalogue itself.

Parts travel whole, and every one must have the sha256 that the manifest states; so a wrong byte or
a cut connection is seen before anything is written.  Whole products are copied byte for byte; of
chosen rows or columns each part is made anew, in the same pixels.  The version is published when
all parts are there, as after an inference run, and the same call again resumes or updates it.
Labels follow then, of the sources that are in the copy.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from xpscale.catalog.commit import commit
from xpscale.catalog.identity import claim
from xpscale.catalog.layout import LEDGER, MODEL
from xpscale.catalog.manifest import Manifest, Snapshot
from xpscale.catalog.snapshots import numbers
from xpscale.errors import InvalidInputError, NotFoundError, PermanentError, XpscaleError
from xpscale.formatting import format_bytes
from xpscale.model.folder import CARD, DECODER, WEIGHTS, read_decoder, read_folder
from xpscale.query.catalog import Catalog
from xpscale.query.download_plan import DownloadPlan, plan_download
from xpscale.query.label_copies import copy_labels
from xpscale.query.part_copies import copy_exactly, copy_rows
from xpscale.query.selection import Selection
from xpscale.query.version import CatalogVersion
from xpscale.runtime.attempt import tasks_error
from xpscale.runtime.events import Callback
from xpscale.runtime.executors.threads import ThreadsExecutor
from xpscale.runtime.ledger import Ledger
from xpscale.runtime.run import run_stage
from xpscale.storage import Storage
from xpscale.types import Part, TaskStatus

__all__ = ["DownloadResult", "download", "run_download"]


LACKS_HATS = (
    "lsdb cannot open it yet, since hats is not installed here: pip install 'xpscale[infer]', then"
    " the same command again"
)


def has_hats() -> bool:
    """Whether what HATS readers need can be written here: the light installation has no hats."""
    return importlib.util.find_spec("hats") is not None


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """What a download has done.

    Parameters
    ----------
    plan
        What was to be done.
    snapshot
        The version published in the copy.
    manifest
        What it consists of.
    n_read
        Bytes that this call read.
    """

    plan: DownloadPlan
    snapshot: Snapshot
    manifest: Manifest
    n_read: int

    def __str__(self) -> str:
        lacks = "" if has_hats() else f"\n{LACKS_HATS}"
        return (
            f"{self.manifest.n_out:,} sources, {format_bytes(self.manifest.n_bytes)}, in"
            f" {self.plan.destination}: {format_bytes(self.n_read)} read, every sha256 as stated"
            f"{lacks}"
        )


def download(
    rows: Catalog | Selection,
    destination: str | Storage,
    *,
    products: Iterable[str] = (),
    since: int | None = None,
    callbacks: Iterable[Callback] = (),
) -> DownloadResult:
    """Copy a catalogue, or a share of it, to another place: a catalogue like the first.  Call again
    to resume, or to add what was published since.

    Parameters
    ----------
    rows
        A catalogue, or a selection of its rows and columns.
    destination, products, since
        As of `xpscale.query.download_plan.plan_download`.
    callbacks
        Listeners for progress, such as `xpscale.TerminalProgress`.

    Raises
    ------
    XpscaleError
        As `plan_download` and `run_download`.
    """
    selection = rows.select() if isinstance(rows, Catalog) else rows
    plan = plan_download(selection, destination, products=products, since=since)
    return run_download(plan, callbacks=list(callbacks))


def run_download(
    plan: DownloadPlan, *, callbacks: Sequence[Callback] = (), connections: int = 0
) -> DownloadResult:
    """Copy what is planned and publish it.

    Parameters
    ----------
    plan
        From `plan_download`.
    callbacks
        Listeners for progress.
    connections
        Pixels to read at a time; 0 chooses as many as memory allows, at most 16.

    Raises
    ------
    ConflictError
        The destination holds something else.
    InvalidInputError
        No source is in the selection.
    IncompleteError, TryAgainError
        Some parts could not be copied; nothing is published, and what is there is kept.
    """
    source, place = plan.selection.catalog, plan.destination
    plan.require_room()
    if not plan.tasks:
        raise _nothing(plan)
    claim(place, plan.identity)
    _copy_model(source, place)
    copy = (
        partial(copy_exactly, source.storage, place)
        if plan.is_exact
        else partial(copy_rows, plan.selection, plan.identity, place)
    )
    reports = run_stage(
        "download",
        copy,
        plan.tasks,
        ThreadsExecutor(connections or plan.n_connections),
        Ledger(place / LEDGER),
        callbacks=callbacks,
        rows=lambda task: task.n_rows,
    )
    if failed := [report for report in reports.values() if not report.status.is_done]:
        raise tasks_error(failed, len(plan.tasks), "")
    parts = tuple(part for report in reports.values() for part in report.parts)
    if not parts:
        if not numbers(place):
            place.remove()  # it was empty before this call
        raise _nothing(plan)
    manifest = _manifest(plan, parts)
    snapshot, n_read = _publish(plan, manifest, callbacks)
    new = {key for key, report in reports.items() if report.status is TaskStatus.WRITTEN}
    n_read += sum(task.n_bytes for task in plan.tasks if task.key in new)
    return DownloadResult(plan, snapshot, manifest, n_read)


def _publish(
    plan: DownloadPlan, manifest: Manifest, callbacks: Sequence[Callback]
) -> tuple[Snapshot, int]:
    """Commit the copy, add the labels, whose size is returned if they were read, and where hats is
    there, make of it a whole collection.
    """
    source = plan.selection.catalog
    words = f"copy of {source.storage}, snapshot {source.snapshot.number}"
    message = f"{words}: {plan.identity.kept_rows or 'all rows'}"
    with_hats = has_hats()
    snapshot = commit(plan.destination, manifest, message, with_hats=with_hats)
    n_read = copy_labels(plan, manifest, callbacks, with_hats=with_hats)
    if with_hats:
        from xpscale.inference.complete import complete

        complete(plan.destination, callbacks=callbacks)
    return snapshot, n_read


def _manifest(plan: DownloadPlan, parts: tuple[Part, ...]) -> Manifest:
    """What the copy consists of; of a share, only what is kept is counted."""
    source, is_whole = plan.selection.catalog.manifest, not plan.is_share
    n_rows = sum(part.n_rows for part in parts) // len(plan.identity.products)
    return Manifest(
        plan.identity,
        parts,
        source.n_in if is_whole else n_rows,
        source.n_rejected if is_whole else {},
        source.quarantined if is_whole else (),
    )


def _nothing(plan: DownloadPlan) -> InvalidInputError:
    return InvalidInputError(
        f"{plan.selection.catalog.storage} has no source in {plan.identity.kept_rows}",
        "Ask for more; nothing was published",
    )


def _copy_model(source: CatalogVersion, place: Storage) -> None:
    """The model that lies in the catalogue, with which latents are decoded; checked by its hash."""
    keys = [f"{MODEL}/{name}" for name in (WEIGHTS, DECODER, CARD)]
    if not source.storage.exists(keys[-1]):
        return
    for key in keys:
        with contextlib.suppress(NotFoundError):  # earlier versions of xpscale wrote no decoder
            place.create(key, source.storage.read(key))
    try:
        card, _ = read_folder(place / MODEL)
        read_decoder(place / MODEL)
    except XpscaleError:
        place.delete(*keys)
        raise
    if card.model_id != source.model_id:
        place.delete(*keys)
        raise PermanentError(
            f"{source.storage}/{MODEL} is model {card.model_id[:12]}, and the catalogue was made by"
            f" {source.model_id[:12]}",
            "Tell those who publish it; run 'xpscale catalog check' on it",
        )
