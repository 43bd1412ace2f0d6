"""``xpscale crossmatch``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, TypeVar

import typer

from xpscale.cli.common import Overwrite, RowsOutput, print_table, say
from xpscale.cli.infer import Catalog

__all__ = ["register"]

T = TypeVar("T")


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(crossmatch)


def crossmatch(
    catalog: Catalog,
    table: Annotated[
        str,
        typer.Argument(metavar="TABLE", help="Your list: FITS, VOTable, ECSV, CSV or Parquet."),
    ],
    radius: Annotated[
        str,
        typer.Option(
            metavar="ARCSEC",
            help="Match by position, to this separation (or with a unit: 0.5arcmin); by source_id"
            " if not given.",
        ),
    ] = "",
    find: Annotated[
        str, typer.Option(metavar="best|all", help="The nearest source of each row, or all.")
    ] = "best",
    unmatched: Annotated[
        bool, typer.Option("--unmatched", help="Keep the rows that match nothing, too.")
    ] = False,
    ra: Annotated[str, typer.Option(metavar="NAME", help="Your column of right ascension.")] = "",
    dec: Annotated[str, typer.Option(metavar="NAME", help="Your column of declination.")] = "",
    source_id: Annotated[
        str, typer.Option("--id", metavar="NAME", help="Your column of Gaia source_id.")
    ] = "",
    where: Annotated[str, typer.Option(metavar="SQL", help="Only sources that satisfy this.")] = "",
    columns: Annotated[
        str, typer.Option(metavar="A,B", help="The catalogue's columns; all of latents else.")
    ] = "",
    output: RowsOutput = "",
    overwrite: Overwrite = False,
) -> None:
    """What the catalogue has of your own list of stars.

    Your columns come first and keep their units; where the catalogue has one of that name, yours
    ends on _mine.  Positions are compared as they are, ICRS at the epoch of the catalogue: apply
    proper motions to an older list first.

    For instance:

      xpscale crossmatch CATALOG stars.fits --radius 1 -o found.fits

      xpscale crossmatch CATALOG stars.csv --radius 5 --find all --ra RAJ2000 --dec DEJ2000

      xpscale crossmatch CATALOG members.vot --unmatched -o members.parquet
    """
    from xpscale.query.catalog import open_catalog
    from xpscale.query.write import require_writable, write

    if output:
        require_writable(output, overwrite=overwrite)
    chosen = open_catalog(catalog).select()
    if where:
        chosen = chosen.where(where)
    if columns:
        chosen = chosen.columns(*(name.strip() for name in columns.split(",")))
    found = chosen.crossmatch(
        table,
        radius or None,
        find=find,
        unmatched=unmatched,
        ra=ra,
        dec=dec,
        source_id=source_id,
        track=_track,
    )
    if output:
        say(f"{write(found, output, overwrite=overwrite):,} rows: {output}")
    else:
        print_table(found.to_table())
        say(f"{len(found):,} rows")


def _track(groups: Sequence[T]) -> Iterable[T]:
    """A bar on standard error while groups of parts are read."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(
        groups, "matching", console=console, transient=True, disable=not console.is_terminal
    )
