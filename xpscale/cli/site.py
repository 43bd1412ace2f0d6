"""``xpscale site``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xpscale.cli.common import say
from xpscale.cli.infer import Catalog

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["register"]

EVERY_S = 10.0


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(site)


def site(
    catalog: Catalog,
    out: Annotated[str, typer.Argument(metavar="OUT", help="A folder or bucket URL for the page.")],
    data_url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Where a browser finds the catalogue; found out if OUT lies in or beside it.",
        ),
    ] = "",
    columns: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Columns to colour maps by, of labels too; all but correlations if not given.",
        ),
    ] = "",
    memory: Annotated[
        float, typer.Option(metavar="GB", help="Memory for the bins of maps.", min=0.01)
    ] = 0.5,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the page on this machine until interrupted.")
    ] = False,
    port: Annotated[
        int, typer.Option(help="Port of --serve; 0 takes a free one.", min=0, max=65535)
    ] = 8000,
) -> None:
    """Make a static web page: maps of the sky and of the latents, and a page for every star.

    It works from a bucket or any web server, also offline.  A site of an older version of the
    catalogue is brought up to date.
    """
    from xpscale.site import make_site

    place = make_site(
        catalog,
        out,
        address=data_url or None,
        columns=tuple(filter(None, (name.strip() for name in columns.split(",")))),
        allowed_bytes=int(memory * 1e9),
        say=say,
        on_rows=_progress(),
    )
    say(f"made: {place}")
    if place.folder is None:
        return
    if serve:
        from xpscale.site.web_server import serve_site

        serve_site(Path(place.folder), port, say)
    else:
        say(f"look at it: xpscale site {catalog} {out} --serve")


def _progress() -> Callable[[int], None]:
    """Say now and then how many rows were read."""
    start = last = time.monotonic()
    n_read = 0

    def count(n: int) -> None:
        nonlocal last, n_read
        n_read += n
        if (now := time.monotonic()) - last > EVERY_S:
            last = now
            say(f"  {n_read:,} rows read, {n_read / (now - start):,.0f} rows/s")

    return count
