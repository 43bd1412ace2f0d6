"""``xpscale serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xpscale.cli.common import say
from xpscale.cli.infer import Catalog

__all__ = ["register"]

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(serve)


def serve(
    catalog: Catalog,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port; 0 for any that is free.", min=0, max=65535)
    ] = 8080,
    url: Annotated[
        str, typer.Option(help="The address that clients see, where a proxy stands before it.")
    ] = "",
    site: Annotated[
        str, typer.Option(metavar="OUT", help="Show this page of 'xpscale site', too.")
    ] = "",
    max_rows: Annotated[int, typer.Option(help="The most rows of a result.", min=1)] = 1_000_000,
    seconds: Annotated[
        float, typer.Option(help="The most seconds of a query that is waited for.", min=1)
    ] = 60,
    memory_gb: Annotated[
        float, typer.Option(help="Memory of all queries together, GB.", min=0.1)
    ] = 2,
    queries: Annotated[int, typer.Option(help="Queries at the same time.", min=1)] = 4,
) -> None:
    """Serve a catalogue to TOPCAT, pyvo and other clients of the Virtual Observatory: TAP and
    Simple Cone Search, read only.

    Examples: xpscale serve demo-out/catalog; xpscale serve s3://bucket/catalogue --port 8000;
    xpscale serve CATALOG --host 0.0.0.0 --url https://stars.example.org
    """
    from xpscale.query.catalog import open_catalog
    from xpscale.serve.app import application
    from xpscale.serve.database import Database
    from xpscale.serve.limits import Limits
    from xpscale.serve.server import run
    from xpscale.site.web_server import shown_folders

    opened = open_catalog(catalog)
    folders = shown_folders(Path(site)) if site else {}
    if host not in LOOPBACK:
        say(
            f"note: whoever can reach {host} can query this catalogue, without a password; put a"
            " proxy with TLS before it where that is the internet"
        )

    limits = Limits(
        rows=max_rows,
        default_rows=min(max_rows, Limits().default_rows),
        sync_s=seconds,
        memory_bytes=int(memory_gb * 1e9),
        queries=queries,
    )

    def ready(address: str) -> None:
        seen = f", for clients {url}" if url else ""
        say(f"{opened!r}\nserving at {address}{seen}  (TAP: /tap, cone search: /scs); Ctrl-C ends")
        for path in list(folders)[:1]:
            say(f"page at {url or address}{path}/")

    app = application(Database(opened, limits), url, list_jobs=host in LOOPBACK, folders=folders)
    run(app, host, port, ready)
    say("ended")
