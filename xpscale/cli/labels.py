"""``xpscale labels``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xpscale.cli.common import (
    ClusterChoice,
    Overwrite,
    RowsOutput,
    Scheduler,
    Workers,
    chosen_cluster,
    executor,
    print_table,
    say,
)
from xpscale.cli.infer import Catalog
from xpscale.cli.regions import Box, Cone, Moc, Pixel, Polygon
from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from xpscale.settings.cluster import Cluster

__all__ = ["register"]

labels_app = typer.Typer(help="Labels of stars, read off their latents.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(labels_app, name="labels")


@labels_app.command()
def fit(
    catalog: Catalog,
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE", help="Stars of known labels: FITS, VOTable, ECSV, CSV or Parquet."
        ),
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="LABELS", help="The file of fitted labels.")
    ],
    columns: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Your columns of labels; those with a column of errors (teff_err, e_teff) else.",
        ),
    ] = "",
    source_id: Annotated[
        str, typer.Option("--id", metavar="NAME", help="Your column of Gaia source_id.")
    ] = "",
    where: Annotated[
        str, typer.Option(metavar="SQL", help="Only teach with sources that satisfy this.")
    ] = "flags = 0",
    overwrite: Overwrite = False,
) -> None:
    """Fit labels (teff, logg, ...) to the latents of stars of which they are known.

    Prints how well stars are predicted that were left out of the fit, by whole pixels of the sky.

    For instance:

      xpscale labels fit CATALOG apogee.fits -o labels.safetensors --columns teff,logg,fe_h
    """
    from xpscale.labels.label_file import save_label_model
    from xpscale.labels.workflow import fit_labels
    from xpscale.query.catalog import open_catalog
    from xpscale.storage.single_file import require_free

    require_free(output, overwrite=overwrite)
    rows = open_catalog(catalog).select()
    asked = [name.strip() for name in columns.split(",") if name.strip()]
    model = fit_labels(
        rows.where(where) if where else rows,
        table,
        asked,
        source_id,
        lambda name: say(f"fitting {name}"),
    )
    save_label_model(model, output, overwrite=overwrite)
    print(model)
    say(f"{len(model.labels)} labels of {model.n_stars:,} stars: {output}")


@labels_app.command()
def apply(
    catalog: Catalog,
    labels: Annotated[str, typer.Argument(metavar="LABELS", help="From 'xpscale labels fit'.")],
    cone: Cone = "",
    box: Box = "",
    polygon: Polygon = "",
    moc: Moc = "",
    pixel: Pixel = "",
    where: Annotated[str, typer.Option(metavar="SQL", help="Only sources that satisfy this.")] = "",
    columns: Annotated[
        str, typer.Option(metavar="A,B", help="The catalogue's columns that come along.")
    ] = "source_id,ra,dec,flags",
    output: RowsOutput = "",
    overwrite: Overwrite = False,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish",
            help="Write those of all stars into the catalogue, for SQL and as a HATS extension.",
        ),
    ] = False,
    workers: Workers = None,
    scheduler: Scheduler = "",
    cluster: ClusterChoice = "",
) -> None:
    """Labels with errors and flags of the stars of a catalogue, or of a part of it.

    For instance:

      xpscale labels apply CATALOG labels.safetensors --where 'flags = 0' -o labels.parquet

      xpscale labels apply CATALOG labels.safetensors --publish
    """
    from xpscale.cli.query import choose
    from xpscale.labels.label_file import load_label_model
    from xpscale.labels.workflow import apply_labels
    from xpscale.query.catalog import open_catalog
    from xpscale.query.write import require_writable, write

    regions = {"cone": cone, "box": box, "polygon": polygon, "moc": moc, "pixel": pixel}
    if publish:
        if output or where or any(regions.values()):
            raise InvalidInputError(
                "--publish writes the labels of all stars", "Leave out -o, --where and regions"
            )
        _publish(catalog, labels, chosen_cluster(cluster, scheduler, workers))
        return
    if output:
        require_writable(output, overwrite=overwrite)
    chosen = choose(open_catalog(catalog), regions, where=where, columns=columns)
    found = apply_labels(chosen, load_label_model(labels))
    if output:
        say(f"{write(found, output, overwrite=overwrite):,} sources: {output}")
    else:
        print_table(found.to_table())


def _publish(catalog: str, labels: str, cluster: Cluster) -> None:
    from xpscale.labels.extension import publish_labels
    from xpscale.labels.label_file import load_label_model
    from xpscale.runtime.progress import TerminalProgress

    model = load_label_model(labels)
    with executor(cluster) as started:
        say(str(publish_labels(catalog, model, executor=started, callbacks=[TerminalProgress()])))
