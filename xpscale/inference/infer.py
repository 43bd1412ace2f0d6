"""The complete workflow: plan, run what is left of it, publish, say what is missing.

It is safe to call again at any time: what is done is not done twice, and a run or a publication
that was interrupted is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xpscale.catalog.commit import build_manifest, commit
from xpscale.catalog.identity import claim
from xpscale.catalog.manifest import Quarantined
from xpscale.catalog.snapshots import read_manifest, snapshots
from xpscale.errors import IncompleteError, InvalidInputError
from xpscale.formatting import format_bytes
from xpscale.inference.complete import complete, is_complete
from xpscale.inference.plan import InferencePlan, plan_inference
from xpscale.inference.run import RunReport, run_inference
from xpscale.model.checkpoint import TrainedModel, load_model
from xpscale.row_rules import rejections
from xpscale.runtime.attempt import tasks_error
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.runtime.split_text import describe_split
from xpscale.safe_text import one_line
from xpscale.schema import FULL_PRECISION, OUTPUTS
from xpscale.spectra import SpectraReader
from xpscale.storage import Storage
from xpscale.store.open import open_spectra
from xpscale.types import Executor, TaskReport, TaskStatus

if TYPE_CHECKING:
    from xpscale.catalog.manifest import Manifest, Snapshot
    from xpscale.runtime.events import Callback

__all__ = ["InferenceResult", "StartExecutor", "infer"]

StartExecutor = Callable[[InferencePlan], AbstractContextManager[Executor]]
"""Starts the workers for a plan; they are stopped when its run has ended."""


@dataclass(frozen=True)
class InferenceResult:
    """What a call of `infer` has done.

    Parameters
    ----------
    plan
        What was to be done.
    report
        What the run did; ``None`` if everything was published before.
    snapshot
        The published version; ``None`` if nothing was to be published.
    manifest
        What it consists of, likewise.
    """

    plan: InferencePlan
    report: RunReport | None
    snapshot: Snapshot | None
    manifest: Manifest | None

    @property
    def left_out(self) -> tuple[TaskReport, ...]:
        """Reports of damaged partitions that are not in the published version."""
        return self.report.failed if self.report else ()

    @property
    def left_aside(self) -> Mapping[str, str]:
        """Files of the input that could not be read, with the reasons."""
        return self.plan.reader.left_aside

    def require_complete(self) -> None:
        """Refuse a version that lacks some partitions.

        Raises
        ------
        IncompleteError
            The message says how much is missing.
        """
        if files := list(self.left_aside):
            raise IncompleteError(
                f"{len(files):,} files that could not be read were left out, {files[0]} the first",
                "Repair them and infer into a new catalogue, or go on without them",
            )
        if self.left_out:
            n_rows = sum(failure.details["n_rows"] for failure in self.left_out)
            raise IncompleteError(
                f"{len(self.left_out)} of {len(self.plan.tasks)} tasks with {n_rows:,} sources were"
                " left out",
                "Repair their cause and run the same command again: they are added as the next"
                " snapshot",
            )

    def __str__(self) -> str:
        lines = []
        if self.report and self.report.record.tasks:
            spent = describe_split(self.report.record.split)
            lines.append(f"{spent}; peak memory {format_bytes(self.report.peak_memory)}")
        lines += [f"left out {each.task}: {each.error}" for each in self.left_out]
        lines += [one_line(f"left out {key}: {why}") for key, why in self.left_aside.items()]
        if self.snapshot is None or self.manifest is None:
            lines.append("not published, as asked; run again to publish")
        else:
            text = (
                f"snapshot {self.snapshot.number}: {self.manifest.n_out:,} sources in"
                f" {self.plan.catalog.url}"
            )
            lines.append(f"published {text}" if self.report else f"nothing to do: {text}")
        return "\n".join(lines)


def infer(
    spectra: str | Storage | SpectraReader,
    model: str | Storage | TrainedModel,
    catalog: str | Storage,
    *,
    outputs: Sequence[str] = OUTPUTS,
    precision: str = FULL_PRECISION,
    truncate: bool = False,
    executor: Executor | StartExecutor | None = None,
    callbacks: Iterable[Callback] = (),
    device: str = "auto",
    skip_damaged: bool = False,
    publish: bool = True,
    message: str = "xpscale.infer",
) -> InferenceResult:
    """Encode every spectrum into a derived catalogue and publish it; call again to resume.

    Parameters
    ----------
    spectra
        A spectra store, Parquet folder or HATS catalogue: its address, or what
        `xpscale.open_spectra` returned.
    model
        Its address, or what `xpscale.load_model` returned.
    catalog
        Where the derived catalogue is or will be: a folder or ``s3://``.
    outputs, precision, truncate
        What is computed, as in `xpscale.plan_inference`.
    executor
        Where tasks run; in this process if not given.  Or a function that starts the workers for a
        plan, which is called only if there is something to do.
    callbacks
        Listeners for progress.
    device
        Where workers compute: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    skip_damaged
        Publish without the partitions that cannot be processed; the result names them.
    publish
        If False the parts are written and nothing is published.
    message
        Kept with the published version.

    Returns
    -------
    InferenceResult
        ``str()`` of it says what was done.

    Raises
    ------
    InvalidInputError
        The model does not fit the spectra, or an argument is not known.
    ConflictError
        The catalogue's place holds another run, or something else; the message names the
        differences.
    IncompleteError
        Tasks failed and nothing was published; what is done is kept.
    TryAgainError
        The same, and all of the causes may pass.
    """
    reader = (
        open_spectra(spectra, skip_damaged=skip_damaged)
        if isinstance(spectra, str | Storage)
        else spectra
    )
    trained = load_model(model) if isinstance(model, str | Storage) else model
    plan = plan_inference(
        reader, trained, catalog, outputs=outputs, precision=precision, truncate=truncate
    )
    listeners = tuple(callbacks)
    if published := _published_before(plan, executor, listeners):
        return published
    with _started(executor, plan) as workers:
        report = run_inference(plan, executor=workers, callbacks=listeners, device=device)
        _require_done(report, skip_damaged=skip_damaged)
        manifest = _manifest(plan, report, skip_damaged=skip_damaged) if publish else None
        if manifest is None:
            return InferenceResult(plan, report, None, None)
        snapshot = commit(plan.catalog, manifest, message)
        complete(plan.catalog, executor=workers, callbacks=listeners)
    return InferenceResult(plan, report, snapshot, manifest)


def _require_done(report: RunReport, *, skip_damaged: bool) -> None:
    is_damaged = all(failure.status is TaskStatus.QUARANTINED for failure in report.failed)
    if report.failed and not (skip_damaged and is_damaged):
        raise tasks_error(
            report.failed,
            len(report.plan.tasks),
            f": see 'xpscale status {report.plan.catalog}'",
            if_damaged=", or publish without: --skip-damaged",
        )


def _manifest(plan: InferencePlan, report: RunReport, *, skip_damaged: bool) -> Manifest:
    """What the run is published as."""
    manifest = build_manifest(plan.catalog, report.reports.values(), skip_damaged=skip_damaged)
    if not manifest.n_out:
        raise InvalidInputError(
            f"no spectrum for {plan.catalog} is left: {rejections(report.reports.values())}",
            "Check the input; nothing was published",
        )
    aside = [Quarantined(key, 0, why) for key, why in plan.reader.left_aside.items()]
    return replace(manifest, quarantined=(*manifest.quarantined, *aside))


def _published_before(
    plan: InferencePlan, executor: Executor | StartExecutor | None, listeners: Sequence[Callback]
) -> InferenceResult | None:
    """The published version if it holds every task of the plan."""
    published = snapshots(plan.catalog)
    if not published:
        return None
    claim(plan.catalog, plan.identity)  # refuses if the place holds another run
    manifest = read_manifest(plan.catalog, published[-1])
    if manifest.quarantined:
        return None
    if is_complete(plan.catalog, manifest):
        # a killed commit may have left older HATS metadata; committing the current manifest again
        # writes them anew and changes nothing else
        return InferenceResult(plan, None, commit(plan.catalog, manifest), manifest)
    with _started(executor, plan) as workers:
        complete(plan.catalog, executor=workers, callbacks=listeners)
    return InferenceResult(plan, None, published[-1], manifest)


def _started(
    executor: Executor | StartExecutor | None, plan: InferencePlan
) -> AbstractContextManager[Executor]:
    if executor is None:
        return nullcontext(SerialExecutor())
    return executor(plan) if callable(executor) else nullcontext(executor)
