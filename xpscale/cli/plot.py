"""``xpscale plot sky|cmd|latents|training|sample|run``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xpscale.cli.common import Output, Overwrite, save_figure
from xpscale.cli.infer import Catalog
from xpscale.cli.model import Model

if TYPE_CHECKING:
    from xpscale.plots.colour import Colour
    from xpscale.query.catalog import Catalog as OpenedCatalog

__all__ = ["register"]

nouns = typer.Typer(
    no_args_is_help=True,
    help=(
        "Draw a catalogue, a training run or its sample, or where an inference run spent its time."
    ),
)

MAX_POINTS = 200_000


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(nouns, name="plot")


@nouns.command()
def sky(
    catalog: Catalog,
    output: Output,
    column: Annotated[
        str, typer.Option(help="Median of this column; the number of sources if not given.")
    ] = "",
    order: Annotated[
        int,
        typer.Option(help="HEALPix order of the map; -1 chooses about 20 sources a pixel.", max=12),
    ] = -1,
    frame: Annotated[str, typer.Option(help="galactic or icrs.")] = "galactic",
    overwrite: Overwrite = False,
) -> None:
    """A map of the whole sky."""
    from xpscale.plots.sky import sky as draw
    from xpscale.query.aggregate import sky_map
    from xpscale.query.catalog import open_catalog
    from xpscale.storage.single_file import require_free

    require_free(output, overwrite=overwrite)
    opened = open_catalog(catalog)
    found = sky_map(opened, column or None, None if order < 0 else order)
    figure, _ = draw(
        found.pixels,
        found.values,
        found.order,
        label=_with_unit(opened, column) or None,
        frame=frame,
        n_rows=found.n_rows,
        provenance=opened.provenance(""),
    )
    save_figure(figure, output, overwrite=overwrite)


@nouns.command()
def cmd(
    catalog: Catalog,
    output: Output,
    where: Annotated[str, typer.Option(metavar="SQL", help="Only sources that satisfy this.")] = "",
    apparent: Annotated[
        bool,
        typer.Option(
            "--apparent", help="G as observed, also where parallaxes give absolute magnitudes."
        ),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """The colour-magnitude diagram, as a histogram of all sources."""
    from xpscale.plots.colour_magnitude import colour_magnitude as draw
    from xpscale.query.catalog import open_catalog
    from xpscale.query.colour_counts import colour_magnitude
    from xpscale.storage.single_file import require_free

    require_free(output, overwrite=overwrite)
    opened = open_catalog(catalog)
    chosen = opened.where(where) if where else opened.select()
    found = colour_magnitude(chosen, absolute=False if apparent else None)
    figure, _ = draw(
        found.counts,
        found.colour_edges,
        found.magnitude_edges,
        colour=found.colour,
        magnitude=found.magnitude,
        n_left_out=found.n_left_out,
        provenance=opened.provenance(""),
    )
    save_figure(figure, output, overwrite=overwrite)


@nouns.command()
def latents(
    catalog: Catalog,
    output: Output,
    color: Annotated[
        str, typer.Option(help="A column of the catalogue, or of --labels, to colour by.")
    ] = "",
    labels: Annotated[
        str, typer.Option(help="A Parquet file with source_id and the colour's column.")
    ] = "",
    where: Annotated[str, typer.Option(metavar="SQL", help="Only sources that satisfy this.")] = "",
    overwrite: Overwrite = False,
) -> None:
    """Every pair of active latents against each other; a random part of them if there are very
    many.
    """
    from xpscale.errors import InvalidInputError
    from xpscale.plots.colour import Colour
    from xpscale.plots.latents import latents as draw
    from xpscale.query.catalog import open_catalog
    from xpscale.storage.single_file import require_free

    require_free(output, overwrite=overwrite)
    if labels and not color:
        raise InvalidInputError("--labels needs --color", "Say which of its columns to colour by")
    opened = open_catalog(catalog)
    share = MAX_POINTS / max(opened.n_rows, 1)
    chosen = (
        opened.select()
        if share >= 1
        else opened.where(f"hash(source_id) % 1000000 < {share * 1e6:.0f}")
    )
    if where:
        chosen = chosen.where(where)
    means = (f"latent_mean_{i}" for i in range(opened.identity.n_latents))
    if color and not labels:
        color = opened.columns(color).names[0]
    table = chosen.columns("source_id", *means, *[color] * (not labels and bool(color))).to_table()
    if labels:
        colour: Colour | None = _labelled(labels, color)
    elif color:
        colour = Colour(table[color].to_numpy(), _with_unit(opened, color))
    else:
        colour = None
    save_figure(
        draw(table, colour, provenance=opened.provenance(""))[0], output, overwrite=overwrite
    )


def _with_unit(opened: OpenedCatalog, column: str) -> str:
    """A column as figures call it; empty without one."""
    columns = {**opened.known_columns, **opened.label_columns} if column else {}
    unit = columns[column].unit if column in columns else ""
    return f"{column} [{unit}]" if unit else column


def _labelled(path: str, color: str) -> Colour:
    """A column of a Parquet file, by source_id; rows without an identifier are of no use."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from xpscale.errors import InvalidInputError, NotFoundError
    from xpscale.formatting import first_line
    from xpscale.plots.colour import Colour

    try:
        known = pq.read_table(path, columns=["source_id", color])
        known = known.filter(pc.is_valid(known["source_id"]))
        ids = known["source_id"].cast(pa.int64()).to_numpy()
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}", "Check the path") from error
    except (pa.ArrowException, KeyError, OSError) as error:
        raise InvalidInputError(
            f"{path} has no column source_id of numbers and {color}: {first_line(error)}",
            "Give a Parquet file that has both",
        ) from error
    return Colour(known[color].to_numpy(), color, ids)


@nouns.command()
def training(model: Model, output: Output, overwrite: Overwrite = False) -> None:
    """Loss terms by epoch, training and held out."""
    from xpscale.plots.training import training_curve
    from xpscale.storage import Storage

    save_figure(
        training_curve(Storage(model).read("history.csv").decode())[0], output, overwrite=overwrite
    )


@nouns.command()
def sample(
    sample: Annotated[
        str, typer.Argument(metavar="SAMPLE", help="A sample, from 'xpscale sample'.")
    ],
    output: Output,
    overwrite: Overwrite = False,
) -> None:
    """Object density, cell by cell, and what the sample draws of it."""
    from xpscale.plots.sample import sample_density
    from xpscale.sampling.sample import load_sample

    save_figure(sample_density(load_sample(sample).plan)[0], output, overwrite=overwrite)


@nouns.command()
def run(
    catalog: Catalog,
    output: Output,
    name: Annotated[
        str,
        typer.Option(
            "--run", help="Name of the run, as 'status' prints it; the latest if not given."
        ),
    ] = "",
    overwrite: Overwrite = False,
) -> None:
    """Where a run's time went: rate, a time line of every worker, and the share of each stage."""
    from xpscale.catalog.layout import LEDGER
    from xpscale.errors import NotFoundError
    from xpscale.plots.run import run_times
    from xpscale.runtime.history import read_records
    from xpscale.storage import Storage

    records = {
        record.name: record for record in read_records(Storage(catalog) / LEDGER) if record.tasks
    }
    if not records or (name and name not in records):
        known = ", ".join(records) or "none"
        raise NotFoundError(
            f"{catalog} has no record of a run {name}".rstrip(), f"Runs there: {known}"
        )
    save_figure(run_times(records[name or max(records)])[0], output, overwrite=overwrite)
