"""``xpscale model info|import``."""

from __future__ import annotations

from typing import Annotated

import typer

from xpscale.cli.common import Json, print_json, say
from xpscale.cli.store import open_input

__all__ = ["Model", "register"]

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model: a folder or s3:// URL.")]

nouns = typer.Typer(no_args_is_help=True, help="Look at a model, or import published weights.")


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(nouns, name="model")


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
