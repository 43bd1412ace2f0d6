"""Faults on demand: a proxy that disturbs requests to an S3 server, and a disk that is soon full.

    with seaweedfs(tmp_path) as s3, faulty(s3) as proxy, proxy.apply():
        proxy.arm(Fault("lost", at=3))
        Storage("s3://xpscale/folder").create("key", b"value")

`tests.support.kill_points` makes processes die or pause at a write.
"""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.processes import HOST
from tests.support.services import S3Service
from xpscale.errors import InvalidInputError, NotFoundError

__all__ = ["KINDS", "Fault", "FaultyProxy", "faulty", "make_room", "small_disk"]

KINDS = {
    "lost": "stored, and the connection is closed instead of an answer",
    "late": "stored, the answer comes after a pause",
    "held up": "the connection is closed, the request is delivered after a pause",
    "twice": "delivered twice, the second answer is returned",
    "busy": "refused with 503",
    "busy after": "stored, and answered with 503",
    "torn": "ends in the middle of its body",
    "hang": "never delivered, never answered",
}
"""What can happen to a request."""

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request"
    b" rate</Message></Error>"
)

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and the requests it is injected into.

    Parameters
    ----------
    kind
        One of `KINDS`.
    at
        Number of the first request, counted from 0 since the proxy was armed.
    n
        Number of successive requests.
    seconds
        Length of the pause of ``late``, ``held up`` and ``hang``.
    method
        HTTP method of the requests that are counted.

    Raises
    ------
    InvalidInputError
        If no fault has this name.
    """

    kind: str
    at: int = 0
    n: int = 1
    seconds: float = 0.3
    method: str = "PUT"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInputError(
                f"no fault is called {self.kind!r}", f"Use one of {', '.join(KINDS)}"
            )


@dataclass(slots=True)
class FaultyProxy:
    """An HTTP proxy before an S3 server that forwards everything until it is armed.

    Parameters
    ----------
    service
        The server, at the proxy's address: `S3Service.apply` sends clients through the proxy.
    struck
        Number of requests with a fault, by kind.
    """

    service: S3Service
    struck: dict[str, int] = field(default_factory=dict)
    _faults: tuple[Fault, ...] = ()
    _counts: dict[str, int] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def apply(self) -> contextlib.AbstractContextManager[S3Service]:
        """As `S3Service.apply`."""
        return self.service.apply()

    def arm(self, *faults: Fault) -> None:
        """Inject these faults from now on, with requests counted from 0; without faults, none."""
        with self._lock:
            self._faults, self._counts = faults, {}

    def _next(self, method: str) -> Fault | None:
        with self._lock:
            number = self._counts.get(method, 0)
            self._counts[method] = number + 1
            for fault in self._faults:
                if fault.method == method and fault.at <= number < fault.at + fault.n:
                    self.struck[fault.kind] = self.struck.get(fault.kind, 0) + 1
                    return fault
        return None


@contextlib.contextmanager
def faulty(s3: S3Service) -> Iterator[FaultyProxy]:
    """Run a proxy before an S3 server, on its own port."""
    server = ThreadingHTTPServer((HOST, 0), _Handler)
    server.daemon_threads = True
    proxy = FaultyProxy(replace(s3, endpoint=f"http://{HOST}:{server.server_address[1]}"))
    server.proxy, server.upstream = proxy, urlsplit(s3.endpoint).netloc  # type: ignore[attr-defined]
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that went away
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One client connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.proxy._next(self.command)  # type: ignore[attr-defined]
        kind, seconds = (fault.kind, fault.seconds) if fault else ("", 0.0)
        if kind == "busy":
            self._answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        if kind == "hang":
            time.sleep(seconds)
            self._close()
            return
        if kind == "torn":
            self._forward(body[: len(body) // 2], declared=len(body), wait=False)
            self._close()
            return
        if kind == "held up":
            threading.Timer(seconds, self._forward, (body,)).start()
            self._close()
            return
        if kind == "twice":
            self._forward(body)
        try:
            status, headers, data = self._forward(body)
        except (OSError, http.client.HTTPException):  # the server is down
            self._close()
            return
        if kind == "lost":
            self._close()
            return
        if kind == "late":
            time.sleep(seconds)
        if kind == "busy after":
            status, headers, data = 503, [("Content-Type", "application/xml")], SLOW_DOWN
        self._answer(status, headers, data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    def _forward(
        self, body: bytes, declared: int | None = None, wait: bool = True
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Forward the request with unchanged headers, which are signed; the server's answer."""
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)  # type: ignore[attr-defined]
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP | {"expect"}:
                    connection.putheader(name, value)
            if "Content-Length" in self.headers:
                connection.putheader(
                    "Content-Length", str(len(body) if declared is None else declared)
                )
            connection.putheader("Connection", "close")
            connection.endheaders(body)
            if not wait:
                return 0, [], b""
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        length = next(
            (value for name, value in headers if name.lower() == "content-length"), str(len(data))
        )
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _close(self) -> None:
        self.close_connection = True


def make_room(folder: Path, n_bytes: int) -> None:
    """Change the size of a `small_disk`.

    Parameters
    ----------
    folder
        Where it is mounted.
    n_bytes
        Its new size.
    """
    subprocess.run(
        ["mount", "-o", f"remount,size={n_bytes}", str(folder)], check=True, capture_output=True
    )


@contextlib.contextmanager
def small_disk(folder: Path, n_bytes: int) -> Iterator[Path]:
    """Mount a file system that raises ENOSPC when it is full.

    Parameters
    ----------
    folder
        Where to mount it.
    n_bytes
        Its size.

    Raises
    ------
    NotFoundError
        If this user may not mount one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotFoundError(f"no small disk can be mounted at {folder}", "Run as root") from error
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)
