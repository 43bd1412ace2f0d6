"""``xpscale model info|import|export``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpscale.cli.common import Json, Output, Overwrite, print_json, say
from xpscale.cli.store import BandWidths, ColumnNames, ReleaseName, TrustUnits, open_input
from xpscale.formatting import format_bytes
from xpscale.safe_text import one_line, shown

if TYPE_CHECKING:
    from xpscale.model.checkpoint import TrainedModel

__all__ = ["Model", "register"]

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model: a folder or bucket URL.")]

nouns = typer.Typer(
    no_args_is_help=True, help="Look at a model, export it, or import published weights."
)


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(nouns, name="model")


@nouns.command()
def info(model: Model, json: Json = False) -> None:
    """Architecture, scaling, training data and sample, metrics, licence and citation; the content
    hash is verified.
    """
    from xpscale.model.checkpoint import load_model
    from xpscale.model.cost import multiplications

    found = load_model(model)
    card = replace(found.card, metrics={**found.card.metrics, **_comparable(found)})
    if json:
        print_json(card.to_json().rstrip())
        return
    print(f"model {card.model_id}\n  its content is what the card names; made {card.created}")
    n_parameters = sum(parameter.numel() for parameter in found.network.parameters())
    scaling, density = found.scaling, found.density
    known = f"std {scaling.std.min():.3g} to {scaling.std.max():.3g} of normalized coefficients"
    print(f"{found.release}, {found.bands} coefficients")
    cost = asdict(multiplications(found.network))
    counts = {"parameters": n_parameters, "multiplications": cost}
    _section("architecture", {**card.architecture.to_dict(), **counts})
    _section(
        "scaling",
        {
            "fitted": known if scaling.is_known else "no: it cannot be applied to spectra",
            "training density": f"{density.n_rows:,} objects" if density.is_known else "unknown",
            "in_distribution_score": "known" if found.typicality else "unknown: it will be NaN",
        },
    )
    data = {name: value for name, value in card.data.items() if name != "sample_plan"}
    for title, table in (("training", card.training), ("data", data)):
        _section(title, table)
    if plan := card.data.get("sample_plan"):
        _print_sample(plan)
    _section("metrics (nats per spectrum)", card.metrics)
    _section("software", card.software)
    lines = [card.notes, f"licence {card.licence}", *(f"cite {text}" for text in card.citation)]
    print("\n".join(shown(line) for line in lines if line))


def _comparable(model: TrainedModel) -> dict[str, float]:
    """The held-out loss of c / G, with all constants, which any two models can be compared by."""
    loss = model.card.metrics.get("held_out_loss")
    if loss is None or not model.scaling.is_known:
        return {}
    constant = model.n_coefficients / 2 * math.log(2 * math.pi)
    return {"held_out_normalized_nll": loss + constant + model.scaling.log_volume}


def _print_sample(plan: dict[str, Any]) -> None:
    from xpscale.sampling.sample import SamplePlan

    drawn = SamplePlan.from_dict(plan)
    print(
        f"sample\n  {sum(drawn.drawn):,} of {drawn.n_available:,} objects, {drawn.name}, seed"
        f" {drawn.seed}"
    )
    print(f"  held out: {drawn.split}")
    print("\n".join(f"  {line}" for line in str(drawn).splitlines()))


def _section(title: str, table: Mapping[str, Any]) -> None:
    """A title and an aligned line for each entry; nested tables on their line."""
    if not table:
        return
    print(title)
    width = max(map(len, table))
    for name, value in table.items():
        print(f"  {name:<{width}}  {_words(value)}")


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool) or value is None or value == "":
        return {True: "yes", False: "no", None: "not finite"}.get(value, "none")
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(held)}" for name, held in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return " ".join(map(_words, value))
    return one_line(str(value))


@nouns.command()
def export(model: Model, output: Output, overwrite: Overwrite = False) -> None:
    """Write the model as a program that torch alone runs (torch.export), after comparing both."""
    from xpscale.model.checkpoint import load_model
    from xpscale.model.export import MAX_DIFFERENCE, export_program
    from xpscale.storage.single_file import put_file, require_free

    require_free(output, overwrite=overwrite)
    found = load_model(model)
    program, difference = export_program(found)
    put_file(output, program, overwrite=overwrite)
    say(
        f"model {found.model_id[:12]} as a program of {format_bytes(len(program))}: {output}; it"
        " differs"
        f" from the model by {difference:.1g} at most (allowed: {MAX_DIFFERENCE:g})"
    )


@nouns.command("import")
def import_(
    weights: Annotated[
        str, typer.Argument(metavar="WEIGHT.pt", help="Weights published by Laroche & Speagle.")
    ],
    model: Model,
    scaling: Annotated[
        str, typer.Option(help="A .npz file with mu and sig, as the authors' apogee_norm.npz.")
    ] = "",
    scaling_from: Annotated[
        str, typer.Option(help="Fit the scaling on this spectra store or Parquet folder instead.")
    ] = "",
    release: ReleaseName = "",
    bands: BandWidths = "",
    columns_map: ColumnNames = "",
    trust_units: TrustUnits = False,
) -> None:
    """Import published weights as a model."""
    from xpscale.bands import Bands
    from xpscale.errors import InvalidInputError
    from xpscale.model.published import import_published
    from xpscale.model.scaling import Scaling
    from xpscale.release import DR3, find_release

    if scaling and scaling_from:
        raise InvalidInputError(
            "--scaling and --scaling-from exclude each other", "Give one of them"
        )
    its_release = find_release(release) if release else DR3
    fitted: Scaling | None = None
    if scaling_from:
        spectra = open_input(
            scaling_from, release=release, bands=bands, columns=columns_map, trust_units=trust_units
        )
        its_release = spectra.release
        fitted = Scaling.fit(spectra.read(partition) for partition in spectra.partitions)
    elif scaling:
        fitted = Scaling.from_npz(scaling, Bands.parse(bands) if bands else its_release.known_bands)
    imported = import_published(weights, fitted, release=its_release)
    imported.save(model)
    say(f"model {imported.model_id[:12]}: {model}")
    if fitted is None:
        say(
            "it has no scaling and cannot be applied to spectra yet: import again with --scaling or"
            " --scaling-from"
        )
