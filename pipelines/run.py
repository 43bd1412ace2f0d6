"""Commands of ``xpscale``, one after the other, with one settings file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from unittest import mock

from xpscale.cli.main import main

__all__ = ["run"]


def run(commands: Iterable[str], settings: str = "") -> None:
    """Run commands until one fails; its exit code is then this program's.

    Parameters
    ----------
    commands
        What follows ``xpscale`` on the command line.
    settings
        The file for ``--settings``; the first argument of this program if not given.
    """
    if not settings and len(sys.argv) != 2:
        sys.exit("Give one settings file; 'xpscale settings init' writes one")
    for command in commands:
        words = ["xpscale", *command.split(), "--settings", settings or sys.argv[1]]
        print(f"$ {' '.join(words)}", file=sys.stderr, flush=True)
        with mock.patch.object(sys, "argv", words):
            try:
                main()
            except SystemExit as end:
                if end.code:
                    raise
