"""From finished tasks to a published version.  `xpscale/design/001-commit-protocol.md` says what
may fail where.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from xpscale.catalog.identity import read_identity
from xpscale.catalog.layout import kind_of, manifest_key, part_key, product_of, snapshot_key
from xpscale.catalog.manifest import Manifest, Quarantined, RunIdentity, Snapshot
from xpscale.catalog.snapshots import current, numbers, read_manifest, read_snapshot
from xpscale.errors import ConflictError, IncompleteError, InvalidInputError, TryAgainError
from xpscale.storage import Storage
from xpscale.types import TaskReport, TaskStatus

__all__ = ["build_manifest", "commit"]

MOST_ROUNDS = 20  # of commits that overwrite each other's HATS metadata

SHOWN = 5  # how many of many things a message names


def build_manifest(
    storage: Storage, reports: Iterable[TaskReport], *, skip_damaged: bool = False
) -> Manifest:
    """The manifest of a run that is finished.

    Parameters
    ----------
    storage
        The catalogue; its identity says how many tasks there must be.
    reports
        Reports of all tasks, in any order; of several attempts at one task one that is done counts.
    skip_damaged
        Leave quarantined tasks out, and name them in the manifest.

    Raises
    ------
    IncompleteError
        If a task failed, was quarantined (and those are not left out), or has no report; or if
        nothing is left.
    InvalidInputError
        If a report contradicts itself or the identity.
    """
    identity = read_identity(storage)
    last: dict[str, TaskReport] = {}
    for report in reports:
        if report.task not in last or not last[report.task].status.is_done:
            last[report.task] = report
    quarantined = _quarantined(last) if skip_damaged else ()
    _require_all_done(identity, last, {task.task for task in quarantined})
    for task in quarantined:
        del last[task.task]
    rejected: Counter[str] = Counter()
    for report in last.values():
        _require_consistent(identity, report)
        rejected.update(report.n_rejected)
    parts = tuple(part for report in last.values() for part in report.parts)
    if quarantined and not parts:
        raise IncompleteError(
            f"nothing is left: {quarantined[0].reason}", "Look at the reasons: 'xpscale status'"
        )
    return Manifest(
        identity, parts, sum(report.n_in for report in last.values()), dict(rejected), quarantined
    )


def _quarantined(reports: dict[str, TaskReport]) -> tuple[Quarantined, ...]:
    return tuple(
        Quarantined(report.task, int(report.details.get("n_rows", 0)), report.error)
        for report in reports.values()
        if report.status is TaskStatus.QUARANTINED
    )


def commit(
    storage: Storage, manifest: Manifest, message: str = "", *, with_hats: bool = True
) -> Snapshot:
    """Publish a manifest as the next version of the catalogue.

    Committing what is current already changes nothing and returns the snapshot that is there.

    Parameters
    ----------
    storage
        The catalogue.
    manifest
        From `build_manifest`.
    message
        What to say about the version.
    with_hats
        Write what HATS readers need; without it, a later commit of the same manifest does.

    Raises
    ------
    IncompleteError
        If a part is missing or has another size; nothing is published.
    ConflictError
        If the manifest is of another run, or somebody else published another manifest meanwhile.
    """
    key, text = manifest_key(manifest.digest), manifest.to_json().encode()
    published = numbers(storage)
    newest = read_snapshot(storage, published[-1]) if published else None
    if newest and newest.manifest_key == key:
        if with_hats:
            _repair_hats(storage)
        return newest
    _require_same_run(storage, manifest)
    _require_parts(storage, manifest)
    for product in manifest.identity.products:
        storage.delete(*filter(kind_of, storage.unfinished(f"{product}/dataset")))
    if not storage.create(key, text):
        raise ConflictError(
            f"{storage}/{key} is there and is not what its name says", "Delete it and commit again"
        )
    storage.replace(key, text)  # the same bytes, but young again, so that 'clean' keeps them
    parent = newest.number if newest else 0
    snapshot = Snapshot(
        parent + 1, key, parent, datetime.now(UTC).isoformat(timespec="seconds"), message
    )
    if with_hats:
        from xpscale.catalog.hats import write_hats

        write_hats(storage, manifest, snapshot)
    is_ours = storage.create(snapshot_key(snapshot.number), snapshot.to_json().encode())
    winner = snapshot if is_ours else read_snapshot(storage, snapshot.number)
    if with_hats:
        _repair_hats(storage)
    if winner.manifest_key == key:
        return winner
    raise ConflictError(
        f"{storage}: another commit published snapshot {winner.number} first, of"
        f" {winner.manifest_key} and not {key}",
        "Look at it with 'xpscale catalog log', then commit again to publish yours after it",
    )


def _repair_hats(storage: Storage) -> None:
    """Write the HATS files of the newest version, if another commit has written others meanwhile.

    Every commit ends with this, after its last write; so the commit that ends last has seen them
    right.
    """
    from xpscale.catalog.hats import hats_differences, write_hats

    for _ in range(MOST_ROUNDS):
        newest = current(storage)
        manifest = read_manifest(storage, newest)
        if hats_differences(storage, manifest):
            write_hats(storage, manifest, newest)
        elif numbers(storage)[-1] == newest.number:
            return
    raise TryAgainError(
        f"{storage}: other commits write its HATS metadata all the time",
        "Commit again when they have ended",
    )


def _require_all_done(
    identity: RunIdentity, reports: dict[str, TaskReport], left_out: set[str]
) -> None:
    n_done = sum(report.status.is_done for report in reports.values())
    open_tasks = sorted(
        (r.task, r.status, r.error)
        for r in reports.values()
        if not r.status.is_done and r.task not in left_out
    )
    n_unreported = max(0, identity.n_tasks - len(reports))
    if len(reports) > identity.n_tasks:
        raise InvalidInputError(
            f"{len(reports)} tasks were reported, but the run has {identity.n_tasks}",
            "The reports are of another run: look at the ledger",
        )
    if open_tasks or n_unreported:
        lines = "".join(
            f"\n  {task}: {status}: {error or 'no reason given'}"
            for task, status, error in open_tasks[:SHOWN]
        )
        more = f"\n  and {len(open_tasks) - SHOWN} more" if len(open_tasks) > SHOWN else ""
        raise IncompleteError(
            f"{n_done} of {identity.n_tasks} tasks are done, {len(open_tasks)} failed,"
            f" {n_unreported} have no report; nothing was published{lines}{more}\n",
            "Run the same 'xpscale infer' again: it does only what is left",
        )


def _require_consistent(identity: RunIdentity, report: TaskReport) -> None:
    n_rejected = sum(report.n_rejected.values())
    pixels = {part.pixel for part in report.parts}
    expected = sorted(part_key(product, pixel) for pixel in pixels for product in identity.products)
    if report.n_in != report.n_out + n_rejected:
        problem = f"{report.n_in} read is not {report.n_out} written + {n_rejected} rejected"
    elif sorted(part.key for part in report.parts) != expected:
        problem = f"its parts are {[part.key for part in report.parts]}, expected {expected}"
    elif any(
        sum(part.n_rows for part in report.parts if product_of(part.key) == product) != report.n_out
        for product in identity.products
    ):
        problem = f"its parts do not hold the {report.n_out} rows of every product"
    else:
        return
    raise InvalidInputError(f"the report of task {report.task} contradicts itself: {problem}")


def _require_same_run(storage: Storage, manifest: Manifest) -> None:
    if differences := manifest.identity.differences(read_identity(storage)):
        raise ConflictError(
            f"the manifest is of another run than {storage}: it differs in {', '.join(differences)}"
        )


def _require_parts(storage: Storage, manifest: Manifest) -> None:
    there: dict[str, int] = {}
    for product in manifest.identity.products:
        there.update(storage.list(f"{product}/dataset"))
    wrong = [part for part in manifest.parts if there.get(part.key) != part.n_bytes]
    if wrong:
        lines = "".join(
            f"\n  {part.key}: {there.get(part.key, 'no')} bytes, expected {part.n_bytes}"
            for part in wrong[:SHOWN]
        )
        raise IncompleteError(
            f"{len(wrong)} of {len(manifest.parts)} parts of {storage} are missing or changed; "
            f"nothing was published{lines}\n",
            "Delete those that changed, wait an hour, run 'xpscale catalog clean --yes' and then"
            " 'xpscale infer' again",
        )
