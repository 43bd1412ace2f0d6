"""``xpscale``: the application, its commands and its exit codes.

Data go to standard output, talk to standard error.  Exit codes follow `xpscale.errors`; 130 is an interruption by the
user.  Every command imports what it needs when it runs, so ``--help`` is instant.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from xpscale import __version__
from xpscale.cli import archive, catalog, demo, infer, model, plot, query, store
from xpscale.errors import XpscaleError

__all__ = ["app", "main"]

app = typer.Typer(
    name="xpscale",
    help="Scatter-VAE inference over every Gaia XP spectrum: archive files to a queryable derived catalogue.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


def _version(show: bool) -> None:
    if show:
        print(f"xpscale {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for noun in (archive, store, model, infer, catalog, query, plot, demo):
    noun.register(app)


def main() -> None:
    """Entry point: run the application and turn errors into one clear message and an exit code."""
    # a preempted job ends like an interrupted one: what is done is kept, and the same command resumes
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except XpscaleError as error:
        print(f"xpscale: {error.message}", file=sys.stderr)
        if error.remedy:
            print(f"  {error.remedy}.", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("xpscale: interrupted; run the same command again to go on from here", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(0)
