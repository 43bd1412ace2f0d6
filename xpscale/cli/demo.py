"""``xpscale demo``."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(demo)


def demo(
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Where to put everything.")
    ] = "demo-out",
) -> None:
    """Make a derived catalogue of 30-odd thousand real stars, with figures; a few minutes on two
    cores.
    """
    from xpscale.demo.flow import run_demo

    run_demo(out)
