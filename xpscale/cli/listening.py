"""Options of the commands that run long: what they say while they run, and to whom."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from xpscale.runtime.events import Callback

__all__ = ["LOOPBACK", "LogFormat", "MetricsAddress", "MetricsPort", "listeners"]

LOOPBACK = "127.0.0.1"


def _log_format(chosen: str) -> str:
    if chosen not in ("text", "json"):
        raise typer.BadParameter("text or json")
    if chosen == "json":
        from xpscale.runtime.json_log import start_json_log

        start_json_log()
    return chosen


LogFormat = Annotated[
    str,
    typer.Option(
        "--log-format",
        metavar="FORMAT",
        help="What standard error says: text, or json, one object a line.",
        callback=_log_format,
        is_eager=True,
    ),
]
MetricsPort = Annotated[
    int,
    typer.Option(
        help="Serve Prometheus metrics on this port while it runs.",
        show_default=False,
        min=0,
        max=65_535,
    ),
]
MetricsAddress = Annotated[
    str, typer.Option(help="Where to serve them: 0.0.0.0 for other machines, too.")
]


@contextlib.contextmanager
def listeners(log_format: str, port: int, address: str) -> Iterator[list[Callback]]:
    """Who hears what happens in a run: the terminal or the log, and metrics if a port is given.

    Parameters
    ----------
    log_format
        ``"text"`` or ``"json"``.
    port, address
        Where to serve metrics; nowhere if ``port`` is 0.
    """
    from xpscale.runtime.json_log import JsonProgress
    from xpscale.runtime.progress import TerminalProgress

    first: Callback = JsonProgress() if log_format == "json" else TerminalProgress()
    if not port:
        yield [first]
        return
    from xpscale.runtime.prometheus import MetricsServer

    with MetricsServer(port, address) as metrics:
        yield [first, metrics]
