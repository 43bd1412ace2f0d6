"""``xpscale plan``, ``xpscale infer``, ``xpscale status``."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpscale.cli.common import (
    PATIENCE_S,
    ClusterChoice,
    DryRun,
    Json,
    Patience,
    Resources,
    Scheduler,
    Workers,
    at_most,
    chosen_cluster,
    executor,
    print_jobs,
    print_json,
    say,
)
from xpscale.cli.listening import (
    LOOPBACK,
    LogFormat,
    MetricsAddress,
    MetricsPort,
    listeners,
)
from xpscale.cli.model import Model
from xpscale.cli.store import BandWidths, ColumnNames, ReleaseName, Spectra, TrustUnits, open_input

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xpscale.inference.infer import StartExecutor
    from xpscale.inference.plan import InferencePlan
    from xpscale.settings.cluster import Cluster
    from xpscale.spectra import SpectraReader
    from xpscale.types import Executor

__all__ = ["Catalog", "register"]

Catalog = Annotated[
    str,
    typer.Argument(metavar="CATALOG", help="The derived catalogue: a folder or bucket URL."),
]
Outputs = Annotated[
    str,
    typer.Option(help="latents, and some of correlations, magnitudes, reconstruction, scatter."),
]
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
Truncate = Annotated[
    bool,
    typer.Option(
        "--truncate",
        help="Leave out the orders beyond the archive's bp_n_relevant_bases and"
        " rp_n_relevant_bases, as missing.",
    ),
]
SkipDamaged = Annotated[
    bool,
    typer.Option(
        "--skip-damaged",
        help="Publish without files and partitions that cannot be read; exit code 20 if there are"
        " any.",
    ),
]
ALL_OUTPUTS = "latents,correlations,magnitudes,reconstruction,scatter"


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(plan)
    app.command()(infer)
    app.command()(status)


def plan(
    store: Spectra,
    model: Model,
    catalog: Catalog,
    outputs: Outputs = ALL_OUTPUTS,
    precision: Precision = "float32",
    truncate: Truncate = False,
    workers: Workers = None,
    scheduler: Scheduler = "",
    resources: Resources = "",
    cluster: ClusterChoice = "",
    device: Device = "auto",
    release: ReleaseName = "",
    bands: BandWidths = "",
    columns_map: ColumnNames = "",
    trust_units: TrustUnits = False,
    skip_damaged: SkipDamaged = False,
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
    from xpscale.catalog.identity import claim
    from xpscale.clusters.start import most_workers
    from xpscale.forecast.prices import load_prices
    from xpscale.inference.plan import plan_inference
    from xpscale.inference.task import TASKS_PER_WORKER
    from xpscale.model.checkpoint import load_model

    planned = plan_inference(
        open_input(
            store,
            release=release,
            bands=bands,
            columns=columns_map,
            trust_units=trust_units,
            skip_damaged=skip_damaged,
        ),
        load_model(model),
        catalog,
        outputs=_names(outputs),
        precision=precision,
        truncate=truncate,
    )
    claim(planned.catalog, planned.identity, only_look=True)
    table = load_prices(prices) if prices else None
    chosen = at_most(chosen_cluster(cluster, scheduler, workers, resources), len(planned.tasks))
    n_workers, probed = most_workers(chosen), None
    if n_workers is None or probe:
        clock = time.perf_counter()
        if probe:
            _require_memory(planned, chosen)
        with executor(chosen, TASKS_PER_WORKER) as where:
            if n_workers := where.n_workers:
                where.require_fit(planned.function(planned.catalog, device))
            probed = planned.probe(where, device=device, since=clock) if probe else None
    n_workers = max(n_workers or 1, 1)
    if json:
        print_json(planned.to_dict(n_workers, probed, table))
    else:
        print(planned.describe(n_workers, probed, table))
    _require_memory(planned, chosen)


def infer(
    store: Spectra,
    model: Model,
    catalog: Catalog,
    outputs: Outputs = ALL_OUTPUTS,
    precision: Precision = "float32",
    truncate: Truncate = False,
    workers: Workers = None,
    scheduler: Scheduler = "",
    resources: Resources = "",
    cluster: ClusterChoice = "",
    device: Device = "auto",
    patience: Patience = PATIENCE_S,
    release: ReleaseName = "",
    bands: BandWidths = "",
    columns_map: ColumnNames = "",
    trust_units: TrustUnits = False,
    log_format: LogFormat = "text",
    metrics_port: MetricsPort = 0,
    metrics_address: MetricsAddress = LOOPBACK,
    skip_damaged: SkipDamaged = False,
    no_commit: Annotated[
        bool, typer.Option("--no-commit", help="Write the parts, publish nothing.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Encode every spectrum of a store into a derived catalogue and publish it; run again to
    resume.
    """
    from xpscale.inference.infer import infer as run_workflow

    spectra = open_input(
        store,
        release=release,
        bands=bands,
        columns=columns_map,
        trust_units=trust_units,
        skip_damaged=skip_damaged,
    )
    choice: Any = {"outputs": _names(outputs), "precision": precision, "truncate": truncate}
    chosen = chosen_cluster(cluster, scheduler, workers, resources)
    if dry_run:
        _print_plan(spectra, model, catalog, choice, chosen)
        return
    with listeners(log_format, metrics_port, metrics_address) as told:
        result = run_workflow(
            spectra,
            model,
            catalog,
            **choice,
            executor=_workers(chosen, patience),
            callbacks=told,
            device=device,
            skip_damaged=skip_damaged,
            publish=not no_commit,
            message=f"xpscale infer {store} {model}",
        )
    say(str(result))
    result.require_complete()


def _names(outputs: str) -> list[str]:
    return [output.strip() for output in outputs.split(",")]


def _print_plan(
    spectra: SpectraReader,
    model: str,
    catalog: str,
    choice: Mapping[str, Any],
    cluster: Cluster,
) -> None:
    """For ``--dry-run``."""
    from xpscale.catalog.identity import claim
    from xpscale.clusters.start import most_workers
    from xpscale.inference.plan import plan_inference
    from xpscale.model.checkpoint import load_model

    plan = plan_inference(spectra, load_model(model), catalog, **choice)
    claim(plan.catalog, plan.identity, only_look=True)
    print(plan.describe(max(most_workers(at_most(cluster, len(plan.tasks))) or 1, 1)))
    print_jobs(cluster)


def _require_memory(plan: InferencePlan, cluster: Cluster) -> None:
    """Refuse a plan whose workers would not fit into this machine, if they are here."""
    from xpscale.clusters.start import most_workers
    from xpscale.runtime.machine import available_memory
    from xpscale.settings.cluster import Local

    if isinstance(cluster, Local):
        plan.check_memory(max(most_workers(cluster) or 1, 1), available_memory())


def _workers(cluster: Cluster, patience_s: float) -> StartExecutor:
    """What starts the workers that the options ask for, at most one a task, and prints the plan."""
    from xpscale.inference.task import TASKS_PER_WORKER

    @contextlib.contextmanager
    def start(plan: InferencePlan) -> Iterator[Executor]:
        fitting = at_most(cluster, len(plan.tasks))
        _require_memory(plan, fitting)
        with executor(fitting, TASKS_PER_WORKER, patience_s) as started:
            say(plan.describe(max(started.n_workers, 1)))
            yield started

    return start


def status(
    catalog: Catalog,
    follow: Annotated[
        bool, typer.Option("--follow", help="Until the run has ended; JSON: an object a line.")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", help="Between two looks of --follow.", min=0.1)
    ] = 5.0,
    json: Json = False,
) -> None:
    """Done, left, failed, rejected, what happened to workers; from any machine that reaches the
    catalogue.
    """
    from xpscale.inference.status import follow_status, run_status

    for found in follow_status(catalog, every) if follow else [run_status(catalog)]:
        if json:
            print_json(found.to_json(indent=None if follow else 1))
        else:
            clear = "\033[2J\033[H" * (follow and sys.stdout.isatty())
            print(f"{clear}{found}")
        sys.stdout.flush()
