"""``xpscale train``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpscale.cli.common import (
    ClusterChoice,
    DryRun,
    Scheduler,
    SettingsFile,
    chosen_cluster,
    print_jobs,
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
    from distributed import Client

    from xpscale.settings.cluster import Cluster

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(train)


def train(
    store: Spectra,
    model: Model,
    sample: Annotated[
        str, typer.Option(help="Train on this sample only (from 'xpscale sample').")
    ] = "",
    settings: SettingsFile = "",
    preset: Annotated[
        str,
        typer.Option(
            help="Instead of [training] of --settings: default; wide, of three times its"
            " multiplications; or laroche2024, the paper's."
        ),
    ] = "",
    epochs: Annotated[
        int,
        typer.Option(help="Passes over the training rows; 0 takes the settings' number.", min=0),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed; -1 takes the settings' one.")] = -1,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that share every batch: here, where 0 is this one, or of a cluster.",
            min=0,
            show_default=False,
        ),
    ] = None,
    scheduler: Scheduler = "",
    cluster: ClusterChoice = "",
    dry_run: DryRun = False,
    checkpoint_every: Annotated[
        float, typer.Option(help="Seconds between checkpoints; a killed run loses no more.", min=0)
    ] = 120.0,
    release: ReleaseName = "",
    bands: BandWidths = "",
    columns_map: ColumnNames = "",
    trust_units: TrustUnits = False,
    log_format: LogFormat = "text",
    metrics_port: MetricsPort = 0,
    metrics_address: MetricsAddress = LOOPBACK,
) -> None:
    """Train a scatter VAE on a store; run again to resume.  Also: torchrun -m xpscale train ..."""
    from xpscale.sampling.sample import load_sample
    from xpscale.settings.cluster import Local
    from xpscale.training import run
    from xpscale.training.as_events import TrainingEvents
    from xpscale.training.printer import TrainingPrinter
    from xpscale.training.settings import TrainingSettings

    chosen = TrainingSettings.choose(settings, preset)
    chosen = replace(chosen, epochs=epochs or chosen.epochs, seed=chosen.seed if seed < 0 else seed)
    who = chosen_cluster(cluster, scheduler, workers)
    if dry_run:
        print_jobs(who, f"{chosen.epochs} epochs: {model}")
        return
    spectra = open_input(
        store,
        release=release,
        bands=bands,
        columns=columns_map,
        trust_units=trust_units,
        silently=not run.is_first_process(),
    )
    port = metrics_port if run.is_first_process() else 0
    as_json, shown = log_format == "json", TrainingPrinter(chosen.epochs)
    with (
        listeners(log_format, port, metrics_address) as told,
        TrainingEvents(told if as_json else told[1:], chosen.epochs, workers or 1) as events,
    ):
        run.train(
            spectra,
            model,
            chosen,
            sample=load_sample(sample) if sample else None,
            on_message=say if as_json else shown.on_message,
            on_step=_both(events.on_step, None if as_json else shown.on_step),
            on_epoch=_both(events.on_epoch, None if as_json else shown.on_epoch),
            checkpoint_every_s=checkpoint_every,
            device=device,
            workers=_n_processes(who, workers),
            scheduler="" if isinstance(who, Local) else lambda: _group(who),
        )


def _both(
    first: Callable[[Any], None], second: Callable[[Any], None] | None
) -> Callable[[Any], None]:
    """A listener that calls two, or one."""

    def call(value: Any) -> None:
        first(value)
        if second:
            second(value)

    return call


@contextlib.contextmanager
def _group(cluster: Cluster) -> Iterator[Client]:
    """A client when all workers are there: they begin together."""
    from xpscale.clusters.start import dask_client, most_workers

    with dask_client(cluster, say) as client:
        if n := most_workers(cluster):
            client.wait_for_workers(n)
        yield client


def _n_processes(cluster: Cluster, workers: int | None) -> int:
    """Processes that share every batch; 0 for this one, or for all that a cluster has."""
    from xpscale.settings.slurm import Slurm

    return cluster.workers if isinstance(cluster, Slurm) else workers or 0
