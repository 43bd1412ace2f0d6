"""``xpscale train``."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from xpscale.cli.common import Scheduler
from xpscale.cli.model import Model
from xpscale.cli.store import BandWidths, ColumnNames, ReleaseName, Spectra, TrustUnits, open_input

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
    settings: Annotated[str, typer.Option(help="TOML file with a [training] table.")] = "",
    preset: Annotated[
        str, typer.Option(help="Instead of --settings: default, or laroche2024, the paper's.")
    ] = "",
    epochs: Annotated[
        int,
        typer.Option(help="Passes over the training rows; 0 takes the settings' number.", min=0),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed; -1 takes the settings' one.")] = -1,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    workers: Annotated[
        int,
        typer.Option(
            help="Processes that share every batch: here, or workers of --scheduler; 0: this one.",
            min=0,
        ),
    ] = 0,
    scheduler: Scheduler = "",
    checkpoint_every: Annotated[
        float, typer.Option(help="Seconds between checkpoints; a killed run loses no more.", min=0)
    ] = 120.0,
    release: ReleaseName = "",
    bands: BandWidths = "",
    columns_map: ColumnNames = "",
    trust_units: TrustUnits = False,
) -> None:
    """Train a scatter VAE on a store; run again to resume.  Also: torchrun -m xpscale train ..."""
    from xpscale.sampling.sample import load_sample
    from xpscale.training import run
    from xpscale.training.printer import TrainingPrinter
    from xpscale.training.settings import TrainingSettings

    chosen = TrainingSettings.choose(settings, preset)
    chosen = replace(chosen, epochs=epochs or chosen.epochs, seed=chosen.seed if seed < 0 else seed)
    shown = TrainingPrinter(chosen.epochs)
    run.train(
        open_input(
            store,
            release=release,
            bands=bands,
            columns=columns_map,
            trust_units=trust_units,
            silently=not run.is_first_process(),
        ),
        model,
        chosen,
        sample=load_sample(sample) if sample else None,
        on_message=shown.on_message,
        on_step=shown.on_step,
        on_epoch=shown.on_epoch,
        checkpoint_every_s=checkpoint_every,
        device=device,
        workers=workers,
        scheduler=scheduler,
    )
