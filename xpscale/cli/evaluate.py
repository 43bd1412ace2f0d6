"""``xpscale evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

from xpscale.cli.common import Output, Overwrite, say
from xpscale.cli.model import Model
from xpscale.cli.store import BandWidths, ColumnNames, ReleaseName, Spectra, TrustUnits, open_input
from xpscale.formatting import tell_steps

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(evaluate)


def evaluate(
    model: Model,
    store: Spectra,
    output: Output,
    labels: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Labels of stars: Parquet, CSV, FITS, VOTable or ECSV with source_id.",
        ),
    ] = "",
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN",
            help="The column of a label without a usual name (teff, logg, fe_h, alpha_m ...), or"
            " of a further label; may be repeated.",
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Another model to compare with; may be repeated."),
    ] = None,
    rows: Annotated[
        int,
        typer.Option(
            help="Stars kept in memory, inside and outside of the held-out sky, for methods that"
            " look at all of them together.",
            min=100,
        ),
    ] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same numbers.", min=0)] = 0,
    release: ReleaseName = "",
    bands: BandWidths = "",
    columns_map: ColumnNames = "",
    trust_units: TrustUnits = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a science report of a model on stars that it was not trained on: one page, JSON and
    figures; every number with an interval.

    xpscale evaluate demo-out/model demo-out/store --labels demo-out/labels.parquet -o report
    """
    from xpscale.errors import InvalidInputError
    from xpscale.evaluation.evaluate import evaluate as make_report

    columns = {}
    for text in label or ():
        name, sign, column = text.partition("=")
        if not (name.strip() and sign and column.strip()):
            raise InvalidInputError(
                f"--label {text!r} cannot be read", "Give NAME=COLUMN, for instance teff=TEFF"
            )
        columns[name.strip()] = column.strip()
    if columns and not labels:
        raise InvalidInputError("--label needs --labels", "Name the file with the columns")
    report = make_report(
        model,
        open_input(
            store, release=release, bands=bands, columns=columns_map, trust_units=trust_units
        ),
        output,
        labels=labels or None,
        label_columns=columns,
        against=against or (),
        max_rows=rows,
        seed=seed,
        overwrite=overwrite,
        progress=tell_steps(say),
    )
    print(report)
    say(f"look at it: {output.rstrip('/')}/index.html")
