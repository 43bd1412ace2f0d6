"""The web server that an application runs in, until a signal ends it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn

from xpscale import __version__
from xpscale.errors import ConflictError

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["run"]

FINISH_S = 5
"""Seconds that replies have to finish in when the server ends."""


def run(app: Starlette, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Parameters
    ----------
    app
        The application.
    host, port
        Where to listen; port 0 for any that is free.
    ready
        Called with the address once clients can connect.

    Raises
    ------
    ConflictError
        The port is taken, or the host is not this machine's.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=FINISH_S,
        server_header=False,
        headers=[("Server", f"xpscale/{__version__}")],
    )
    server = uvicorn.Server(config)

    def stop(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):  # the server passes on what it has caught
        signal.signal(number, stop)
    with _listening(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{listener.getsockname()[1]}/")
        server.run([listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConflictError(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            "Choose another with --host and --port",
        ) from error
