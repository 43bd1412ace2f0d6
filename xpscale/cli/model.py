"""``xpscale train``, ``xpscale model info|import``."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from xpscale.cli.common import Json, print_json, say
from xpscale.cli.store import Spectra, open_input

if TYPE_CHECKING:
    from xpscale.training.metrics import EpochMetrics

__all__ = ["register"]

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model: a folder or s3:// URL.")]

nouns = typer.Typer(no_args_is_help=True, help="Look at a model, or import published weights.")


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(train)
    app.add_typer(nouns, name="model")


def train(
    store: Spectra,
    model: Model,
    sample: Annotated[str, typer.Option(help="Train on this sample only (from 'xpscale sample').")] = "",
    settings: Annotated[str, typer.Option(help="TOML file with a [training] table.")] = "",
    epochs: Annotated[
        int, typer.Option(help="Passes over the training rows; 0 takes the settings' number.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed; -1 takes the settings' one.")] = -1,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Train a scatter VAE on a store; run again to resume."""
    from xpscale.model.checkpoint import CARD
    from xpscale.storage import Storage
    from xpscale.training.run import estimate
    from xpscale.training.run import train as run_training
    from xpscale.training.sample import load_sample
    from xpscale.training.settings import TrainingSettings

    chosen = TrainingSettings.from_toml(settings) if settings else TrainingSettings()
    chosen = replace(chosen, epochs=epochs or chosen.epochs, seed=chosen.seed if seed < 0 else seed)
    spectra = open_input(store)
    drawn = load_sample(sample) if sample else None
    where = _device(device)
    n_rows = len(drawn) if drawn is not None else spectra.n_rows
    is_new = not Storage(model).exists(CARD)
    if is_new:
        seconds = estimate(n_rows, chosen, spectra.n_coefficients, where)
        say(f"train on {n_rows:,} spectra, {chosen.epochs} epochs on {where}: about {seconds:,.0f} s")
    trained = run_training(spectra, model, chosen, sample=drawn, on_epoch=EpochPrinter(chosen.epochs), device=where)
    if not is_new:
        say("nothing to do: the model was trained before")
    say(f"model {trained.model_id[:12]}: {model}")


def _device(name: str) -> str:
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


class EpochPrinter:
    """Prints a line for the first epochs, then about twenty more, with the time left."""

    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs
        self.every = max(1, n_epochs // 20)
        self.seconds = 0.0
        self.n_seen = 0

    def __call__(self, metrics: EpochMetrics) -> None:
        """Print, if it is this epoch's turn."""
        self.seconds += metrics.seconds
        self.n_seen += 1
        if metrics.epoch == 1 or metrics.epoch % self.every == 0 or metrics.epoch == self.n_epochs:
            left = self.seconds / self.n_seen * (self.n_epochs - metrics.epoch)
            print(
                f"epoch {metrics.epoch:>4}/{self.n_epochs}  loss {metrics.loss:8.2f}  held out {metrics.held_out.loss:8.2f}  "
                f"kl {metrics.kl:6.2f}  {metrics.held_out.active_units} latents active  "
                f"{metrics.spectra_per_s:,.0f} spectra/s  {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )


@nouns.command()
def info(model: Model, json: Json = False) -> None:
    """Architecture, scaling, training data, metrics, licence and citation; the content hash is verified."""
    from xpscale.model.checkpoint import load_model

    found = load_model(model)
    card = found.card
    if json:
        print_json(card.to_json().rstrip())
        return
    print(f"model {card.model_id}")
    print(f"architecture {card.architecture.to_dict()}")
    print(f"scaling {'fitted' if found.scaling.is_known else 'none: cannot be applied to spectra'}")
    for title, table in (("training", card.training), ("data", card.data), ("metrics", card.metrics)):
        for name, value in table.items():
            print(f"{title} {name}: {value}")
    print(f"software {card.software}\ncreated {card.created}\nlicence {card.licence}")
    print("\n".join(filter(None, [card.notes, *(f"cite: {text}" for text in card.citation)])))


@nouns.command("import")
def import_(
    weights: Annotated[str, typer.Argument(metavar="WEIGHT.pt", help="Weights published by Laroche & Speagle.")],
    model: Model,
    scaling: Annotated[str, typer.Option(help="A .npz file with mu and sig, as the authors' apogee_norm.npz.")] = "",
    scaling_from: Annotated[
        str, typer.Option(help="Fit the scaling on this spectra store or Parquet folder instead.")
    ] = "",
) -> None:
    """Import published weights as a model."""
    from xpscale.errors import InvalidInputError
    from xpscale.model.published import import_published
    from xpscale.model.scaling import Scaling

    if scaling and scaling_from:
        raise InvalidInputError("--scaling and --scaling-from exclude each other", "Give one of them")
    if scaling_from:
        spectra = open_input(scaling_from)
        fitted: Scaling | None = Scaling.fit(spectra.read(partition) for partition in spectra.partitions)
    else:
        fitted = Scaling.from_npz(scaling) if scaling else None
    imported = import_published(weights, fitted)
    imported.save(model)
    say(f"model {imported.model_id[:12]}: {model}")
    if fitted is None:
        say("it has no scaling and cannot be applied to spectra yet: import again with --scaling or --scaling-from")
