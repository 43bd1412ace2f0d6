"""A real web server on loopback that serves a folder and misbehaves as it is told."""

import contextlib
import functools
import http.server
import re
import socket
import struct
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Fault:
    """One thing to do wrong in one answer to GET (or HEAD, for ``status`` and ``declared``)."""

    status: int = 0
    retry_after: str = ""
    drop_after: int = -1
    """Bytes of the answer before the connection is reset."""
    declared: int = 0
    """What to add to Content-Length."""
    ignore_range: bool = False
    wrong_byte: bool = False
    wait: threading.Event | threading.Barrier | None = None
    """Stand still after ``wait_after`` bytes until this is set, or until as many requests stand
    here.
    """
    wait_after: int = 0


@dataclass
class FaultyWeb:
    """What a server was asked, what it sent, and what it is to do wrong: `once` a request, or
    `always`.
    """

    url: str = ""
    once: dict[str, deque] = field(default_factory=lambda: defaultdict(deque))
    always: dict[str, Fault] = field(default_factory=dict)
    heads: dict[str, Fault] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    ranges: dict[str, list] = field(default_factory=lambda: defaultdict(list))
    n_heads: int = 0

    def fault(self, method, key):
        """The fault of the next answer, if any."""
        if method == "HEAD":
            self.n_heads += 1
            return self.heads.get(key) or self.heads.get("*") or Fault()
        if self.once[key]:
            return self.once[key].popleft()
        return (
            self.always.get(key)
            or (self.always.get("*") if key.endswith(".gz") else None)
            or Fault()
        )

    def forget(self):
        """Count from zero, and do nothing wrong any more."""
        for record in (self.once, self.always, self.heads, self.sent, self.ranges):
            record.clear()
        self.n_heads = 0


class Handler(http.server.SimpleHTTPRequestHandler):
    web: FaultyWeb

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        key = self.path.lstrip("/")
        path, fault = Path(self.translate_path(self.path)), self.web.fault(self.command, key)
        if fault.status or not path.is_file():
            self.send_response(fault.status or 404)
            if fault.retry_after:
                self.send_header("Retry-After", fault.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = bytearray(path.read_bytes())
        if fault.wrong_byte:
            data[len(data) // 2] ^= 1
        size, start, stop = len(data), 0, len(data)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        is_part = asked is not None and not fault.ignore_range
        if self.command == "GET":
            self.web.ranges[key].append(int(asked[1]) if asked else 0)
        if is_part:
            start, stop = int(asked[1]), min(int(asked[2] or size) + bool(asked[2]), size)
            if start >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(206 if is_part else 200)
        if is_part:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - start + fault.declared))
        self.send_header("Last-Modified", "Mon, 13 Jun 2022 10:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(ConnectionError):
                self._send(key, bytes(data[start:stop]), fault)

    def _send(self, key, data, fault):
        end = len(data) + min(fault.declared, 0) if fault.drop_after < 0 else fault.drop_after
        pause = fault.wait_after if fault.wait else 0
        self._count(key, data[:pause])
        if isinstance(fault.wait, threading.Barrier):
            fault.wait.wait(10)
        elif fault.wait:
            fault.wait.wait(60)
        self._count(key, data[pause:end])
        if fault.drop_after >= 0:
            # closing with unread or lingering data off sends a reset, as a dying server does
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 2))
        self.close_connection = True

    def _count(self, key, data):
        self.web.sent[key] += len(data)  # first: a client that has it all looks at once
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def faulty_web(folder):
    """Serve a folder."""
    web = FaultyWeb()
    handler = type("BoundHandler", (Handler,), {"web": web})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    )
    server.daemon_threads = True
    thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.02))
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()
