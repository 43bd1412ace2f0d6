"""``xpscale certificates``: what a Dask cluster's processes know each other by."""

from __future__ import annotations

from typing import Annotated

import typer

from xpscale.cli.common import say

__all__ = ["register"]

nouns = typer.Typer(
    no_args_is_help=True, help="Certificates for the Dask cluster that you start: TLS."
)


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(nouns, name="certificates")


@nouns.command()
def make(
    folder: Annotated[str, typer.Argument(help="A new folder, which all machines can read.")],
    days: Annotated[int, typer.Option(help="How long they are good for.", min=1, max=3650)] = 365,
) -> None:
    r"""Make certificates for a cluster: nobody without them can connect.

    \b
    Example:
    xpscale certificates make ~/cluster-tls
    dask scheduler --tls-ca-file ~/cluster-tls/ca.pem ...      # see the page on security
    XPSCALE_TLS=~/cluster-tls xpscale infer STORE MODEL CATALOG --scheduler tls://HOST:8786
    """
    from xpscale.runtime.tls import VARIABLE, make_certificates

    end = make_certificates(folder, days)
    say(f"made: {folder}, good until {end:%Y-%m-%d}; whoever can read it may use the cluster")
    say(f"use them: tls = {folder!r} in a table [cluster] of the settings, or {VARIABLE}={folder}")
