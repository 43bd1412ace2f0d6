"""``xpscale plan``, ``xpscale infer``, ``xpscale status``."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from xpscale.cli.common import (
    N_CPUS,
    PATIENCE_S,
    Json,
    Patience,
    Resources,
    Scheduler,
    Workers,
    executor,
    print_json,
    say,
)
from xpscale.cli.model import Model
from xpscale.cli.store import Spectra, open_input
from xpscale.errors import IncompleteError, TryAgainError, XpscaleError

if TYPE_CHECKING:
    from xpscale.inference.plan import InferencePlan
    from xpscale.inference.run import RunReport
    from xpscale.runtime.events import Callback

__all__ = ["Catalog", "register"]

Catalog = Annotated[
    str, typer.Argument(metavar="CATALOG", help="The derived catalogue: a folder or s3:// URL.")
]
Outputs = Annotated[str, typer.Option(help="latents, and reconstruction or scatter or both.")]
Precision = Annotated[
    str,
    typer.Option(
        "--reconstruction-precision",
        metavar="PRECISION",
        help=(
            "float32, or how much rounding may add, as a fraction of the error: 0.01 takes half of"
            " the space."
        ),
    ),
]
Device = Annotated[str, typer.Option(help="Where workers compute: auto, cpu or cuda.")]
ALL_OUTPUTS = "latents,reconstruction,scatter"


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(plan)
    app.command()(infer)
    app.command()(status)


def _plan(store: str, model: str, catalog: str, outputs: str, precision: str) -> InferencePlan:
    from xpscale.inference.plan import plan_inference
    from xpscale.model.checkpoint import load_model

    chosen = [output.strip() for output in outputs.split(",")]
    return plan_inference(
        open_input(store), load_model(model), catalog, outputs=chosen, precision=precision
    )


def plan(
    store: Spectra,
    model: Model,
    catalog: Catalog,
    outputs: Outputs = ALL_OUTPUTS,
    precision: Precision = "float32",
    workers: Workers = N_CPUS,
    scheduler: Scheduler = "",
    resources: Resources = "",
    device: Device = "auto",
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Measure the rate on these workers with a few of the tasks, then throw them away.",
        ),
    ] = False,
    prices: Annotated[
        str,
        typer.Option(metavar="FILE.toml", help="A price table: the plan also says what it costs."),
    ] = "",
    json: Json = False,
) -> None:
    """Say what 'infer' would do: tasks, sources, bytes, memory, time, cost.  Leaves nothing
    behind.
    """
    from xpscale.forecast.prices import load_prices
    from xpscale.inference.plan import TASKS_AT_ONCE
    from xpscale.inference.probe import probe as measure

    planned = _plan(store, model, catalog, outputs, precision)
    table = load_prices(prices) if prices else None
    n_workers, probed = max(workers, 1), None
    if scheduler or probe:
        clock = time.perf_counter()
        with executor(scheduler, workers, resources, TASKS_AT_ONCE) as where:
            n_workers = max(getattr(where, "n_workers", 1), 1)
            probed = measure(planned, where, device=device, since=clock) if probe else None
    if json:
        print_json(planned.to_dict(n_workers, probed, table))
    else:
        print(planned.describe(n_workers, probed, table))


def infer(
    store: Spectra,
    model: Model,
    catalog: Catalog,
    outputs: Outputs = ALL_OUTPUTS,
    precision: Precision = "float32",
    workers: Workers = N_CPUS,
    scheduler: Scheduler = "",
    resources: Resources = "",
    device: Device = "auto",
    patience: Patience = PATIENCE_S,
    metrics_port: Annotated[
        int,
        typer.Option(
            help="Serve Prometheus metrics on this port of 127.0.0.1 while it runs.",
            show_default=False,
        ),
    ] = 0,
    skip_damaged: Annotated[
        bool,
        typer.Option(
            "--skip-damaged",
            help="Publish without partitions that cannot be done; exit code 20 if there are any.",
        ),
    ] = False,
    no_commit: Annotated[
        bool, typer.Option("--no-commit", help="Write the parts, publish nothing.")
    ] = False,
) -> None:
    """Encode every spectrum of a store into a derived catalogue and publish it; run again to
    resume.
    """
    from xpscale.catalog.commit import build_manifest, commit
    from xpscale.formatting import format_bytes
    from xpscale.inference.plan import TASKS_AT_ONCE, available_memory
    from xpscale.inference.run import run
    from xpscale.inference.status import run_status
    from xpscale.runtime.metrics import MetricsServer
    from xpscale.runtime.progress import TerminalProgress
    from xpscale.runtime.split_text import in_words
    from xpscale.types import TaskStatus

    planned = _plan(store, model, catalog, outputs, precision)
    workers = min(workers, len(planned.tasks)) if len(planned.tasks) > 1 else 0
    if not scheduler:
        say(planned.describe(max(workers, 1)))
        planned.check_memory(max(workers, 1), available_memory())
    if _is_published(planned):
        say(f"nothing to do: {run_status(catalog)}")
        return
    with contextlib.ExitStack() as stack:
        listeners: list[Callback] = [TerminalProgress()]
        if metrics_port:
            listeners.append(stack.enter_context(MetricsServer(metrics_port)))
        where = stack.enter_context(
            executor(scheduler, workers, resources, TASKS_AT_ONCE, patience)
        )
        if scheduler:
            say(planned.describe(max(getattr(where, "n_workers", 1), 1)))
        report = run(planned, executor=where, callbacks=listeners, device=device)
    for failure in report.failed:
        print(f"{failure.task} {failure.status}: {failure.error}", file=sys.stderr)
    if report.failed and not (
        skip_damaged and all(r.status is TaskStatus.QUARANTINED for r in report.failed)
    ):
        raise _unfinished(report)
    if report.record.tasks:
        say(f"{in_words(report.record.split)}; peak memory {format_bytes(report.peak_memory)}")
    if no_commit:
        say("not published (--no-commit); run again without it to publish")
    else:
        manifest = build_manifest(
            planned.catalog, report.reports.values(), skip_damaged=skip_damaged
        )
        snapshot = commit(planned.catalog, manifest, f"xpscale infer {store} {model}")
        say(
            f"published snapshot {snapshot.number}: {manifest.n_out:,} sources in"
            f" {planned.catalog.url}"
        )
    if report.failed:
        n_rows = sum(failure.details["n_rows"] for failure in report.failed)
        raise IncompleteError(
            f"{len(report.failed)} of {len(planned.tasks)} tasks with {n_rows:,} sources were"
            " left out",
            "Mend their cause and run the same command again: they are added as the next snapshot",
        )


def _unfinished(report: RunReport) -> XpscaleError:
    """Why a run could not be finished: causes that all may pass, or others."""
    from xpscale.types import TaskStatus

    text = (
        f"{len(report.failed)} of {len(report.plan.tasks)} tasks failed; nothing was published, the"
        " others are kept"
    )
    if all(
        failure.details.get("exit_code") == TryAgainError.exit_code for failure in report.failed
    ):
        return TryAgainError(text, "The causes may pass: run the same command again")
    if all(failure.status is TaskStatus.QUARANTINED for failure in report.failed):
        return IncompleteError(
            text,
            "Mend the cause and run the same command again, or publish without: --skip-damaged",
        )
    return IncompleteError(text, "Mend the cause and run the same command again")


def _is_published(planned: InferencePlan) -> bool:
    """Whether nothing is left to do: a version is published, and of all tasks."""
    from xpscale.catalog.commit import commit
    from xpscale.catalog.identity import claim
    from xpscale.catalog.snapshots import read_manifest, snapshots

    published = snapshots(planned.catalog)
    if not published:
        return False
    claim(planned.catalog, planned.identity)  # refuses if the place holds another run
    manifest = read_manifest(planned.catalog, published[-1])
    if manifest.quarantined:
        return False
    # a commit that was killed may have left HATS metadata of before; committing what is current
    # writes them again
    commit(planned.catalog, manifest)
    return True


def status(catalog: Catalog, json: Json = False) -> None:
    """Done, left, failed, rejected; from any machine that reaches the catalogue."""
    from xpscale.inference.status import run_status

    found = run_status(catalog)
    if json:
        print_json(found.to_json())
    else:
        print(found)
