"""``xpscale download``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from xpscale.cli.common import Json, print_json, say
from xpscale.cli.infer import Catalog
from xpscale.cli.regions import Box, Cone, Moc, Pixel, Polygon

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(download)


def download(
    catalog: Catalog,
    destination: Annotated[
        str,
        typer.Argument(metavar="DEST", help="A folder or bucket URL: empty, or an older copy."),
    ],
    products: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="latents, and of spectra and labels what is wanted; all if not given.",
        ),
    ] = "",
    cone: Cone = "",
    box: Box = "",
    polygon: Polygon = "",
    moc: Moc = "",
    pixel: Pixel = "",
    ids: Annotated[
        str,
        typer.Option(metavar="ID[,ID..]|@FILE", help="Sources by Gaia source_id, as of 'query'."),
    ] = "",
    where: Annotated[
        str, typer.Option(metavar="SQL", help="A condition: 'reduced_chi2 < 1.5'.")
    ] = "",
    columns: Annotated[
        str, typer.Option(metavar="A,B", help="Columns besides source_id, ra and dec.")
    ] = "",
    snapshot: Annotated[
        int | None, typer.Option(metavar="N", help="Copy this version; the newest if not given.")
    ] = None,
    since: Annotated[
        int | None, typer.Option(metavar="N", help="Only parts that snapshot N does not have.")
    ] = None,
    connections: Annotated[
        int, typer.Option(metavar="N", help="Pixels to read at a time; 0: at most 16.", min=0)
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be read, and stop.")
    ] = False,
    json: Json = False,
) -> None:
    """Copy a catalogue, or a share of it, to a place of your own: a catalogue like the first.

    The size is said first.  Every part must have the sha256 that the manifest states.  Run the same
    command again to resume it, or to add what was published since.  For a few stars 'xpscale
    query -o FILE' reads less: here parts are read whole.
    """
    from xpscale.catalog.identity import claim
    from xpscale.cli.query import choose
    from xpscale.query.catalog import open_catalog
    from xpscale.query.download import run_download
    from xpscale.query.download_plan import plan_download
    from xpscale.runtime.progress import TerminalProgress

    opened = open_catalog(catalog, snapshot)
    regions = {"cone": cone, "box": box, "polygon": polygon, "moc": moc, "pixel": pixel}
    chosen = choose(opened, regions, ids=ids, where=where, columns=columns)
    wanted = [name.strip() for name in products.split(",") if name.strip()]
    plan = plan_download(chosen, destination, products=wanted, since=since)
    say(str(plan))
    if dry_run:
        claim(plan.destination, plan.identity, only_look=True)
        return
    done = run_download(plan, callbacks=[TerminalProgress()], connections=connections)
    if json:
        numbers = {"n_rows": done.manifest.n_out, "n_bytes": done.manifest.n_bytes}
        print_json({**numbers, "n_read": done.n_read, "snapshot": asdict(done.snapshot)})
    else:
        print(done)
