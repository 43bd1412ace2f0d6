"""``xpscale sample``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xpscale.cli.common import (
    ClusterChoice,
    DryRun,
    Output,
    Overwrite,
    Scheduler,
    SettingsFile,
    Workers,
    chosen_cluster,
    executor,
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
from xpscale.cli.store import BandWidths, ColumnNames, ReleaseName, Spectra, TrustUnits, open_input

if TYPE_CHECKING:
    from xpscale.sampling.cells import Cells
    from xpscale.sampling.held_out import HeldOutSplit
    from xpscale.settings.cluster import Cluster
    from xpscale.spectra import SpectraReader

__all__ = ["register"]

N_ROWS_WORTH_WORKERS = 1_000_000  # fewer are read sooner than worker processes start


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(sample)


def sample(
    store: Spectra,
    output: Output,
    n: Annotated[int, typer.Option("-n", help="Objects to draw.", min=1)] = 100_000,
    rule: Annotated[
        str,
        typer.Option(
            help=(
                "uniform; density: an object is as likely as its cell is dense; flattened: equally"
                " many of every cell; cut: of dense cells only."
            )
        ),
    ] = "density",
    by: Annotated[
        str, typer.Option(help="Density in colour_magnitude, position or latents.")
    ] = "colour_magnitude",
    model: Annotated[
        str, typer.Option(help="For --by latents: the model whose latents count.")
    ] = "",
    catalog: Annotated[
        str, typer.Option(help="For --by latents: the catalogue of this store that has them.")
    ] = "",
    min_count: Annotated[
        int, typer.Option(help="For the rule cut: fewest objects of a cell.", min=0)
    ] = 0,
    min_quantile: Annotated[
        float,
        typer.Option(
            help="For the rule cut: share of all objects, in the sparsest cells, to leave out."
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Which of the possible draws.")] = 0,
    settings: SettingsFile = "",
    oversampling: Annotated[
        float,
        typer.Option(
            help="Objects kept in memory for each one drawn, for rules that favour few cells."
        ),
    ] = 8.0,
    release: ReleaseName = "",
    bands: BandWidths = "",
    columns_map: ColumnNames = "",
    trust_units: TrustUnits = False,
    workers: Workers = None,
    scheduler: Scheduler = "",
    cluster: ClusterChoice = "",
    dry_run: DryRun = False,
    log_format: LogFormat = "text",
    metrics_port: MetricsPort = 0,
    metrics_address: MetricsAddress = LOOPBACK,
    overwrite: Overwrite = False,
) -> None:
    """Draw an object-dense training sample from a store in one pass, reproducibly; held-out pixels
    stay out.
    """
    from xpscale.sampling.draw import draw_sample
    from xpscale.sampling.sample import save_sample
    from xpscale.storage.single_file import require_free

    require_free(output, overwrite=overwrite)
    spectra = open_input(
        store, release=release, bands=bands, columns=columns_map, trust_units=trust_units
    )
    cells = _cells(by, model, catalog, spectra)
    chosen = chosen_cluster(cluster, scheduler, workers)
    if dry_run:
        print_jobs(chosen, f"{n:,} of {spectra.n_rows:,} objects by the rule {rule}: {output}")
        return
    with (
        listeners(log_format, metrics_port, metrics_address) as told,
        executor(_worth(chosen, spectra.n_rows)) as where,
    ):
        drawn = draw_sample(
            spectra,
            n,
            rule,
            seed,
            _split(settings),
            cells=cells,
            min_count=min_count,
            min_quantile=min_quantile,
            oversampling=oversampling,
            executor=where,
            callbacks=told,
        )
    save_sample(drawn, output, overwrite=overwrite)
    print(drawn.plan)
    if drawn.plan.n_limited:
        say(
            f"note: {drawn.plan.n_limited:,} of {len(drawn.plan.cell):,} cells gave all that was"
            " kept of them, less than the rule wanted; the weights account for it; raise"
            " --oversampling to follow the rule"
        )
    objects = f"{len(drawn):,} of {drawn.plan.n_available:,} objects"
    say(f"{objects}, {drawn.plan.name}, seed {seed}, digest {drawn.digest[:12]}: {output}")


def _worth(cluster: Cluster, n_rows: int) -> Cluster:
    from xpscale.settings.cluster import Local

    return Local(0) if isinstance(cluster, Local) and n_rows <= N_ROWS_WORTH_WORKERS else cluster


def _split(settings: str) -> HeldOutSplit | None:
    """The held-out part of the sky of a settings file, or ``None`` for the default."""
    if not settings:
        return None
    from xpscale.training.settings import TrainingSettings

    return TrainingSettings.from_toml(settings).split


def _cells(by: str, model: str, catalog: str, spectra: SpectraReader) -> Cells:
    """What density is counted in."""
    from xpscale.errors import InvalidInputError
    from xpscale.sampling.cells import ColourMagnitudeCells, SkyCells

    if (by == "latents") != bool(model or catalog) or (model and catalog):
        raise InvalidInputError(
            "--by latents needs --model or --catalog, and nothing else does",
            "Say whose latents: one of the two",
        )
    if by == "latents":
        from xpscale.sampling.latent_cells import CatalogLatents, LatentCells, ModelLatents

        return LatentCells(
            ModelLatents.open(model, spectra) if model else CatalogLatents.open(catalog, spectra)
        )
    if by not in ("colour_magnitude", "position"):
        raise InvalidInputError(
            f"--by {by!r} is not known", "Use colour_magnitude, position or latents"
        )
    return ColourMagnitudeCells() if by == "colour_magnitude" else SkyCells()
