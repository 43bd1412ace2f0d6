"""A web server on the loopback interface that counts what it is asked and what it sends.

    with counted_web(folder, tls=tmp_path) as web, web.trusted():
        xps.open_catalog(f"{web.url}/catalog")
        print(web.n_requests, web.n_bytes)

It serves a folder, with ranges of bytes and with or without listings; or it stands in front of
another server, such as an S3 server, and passes everything on.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import http.server
import os
import re
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.processes import HOST

__all__ = ["CountedWeb", "counted_web"]

TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")
"""Variables that name the certificates to trust: of OpenSSL, Python and Rust, requests, curl and
boto.
"""


@dataclass(slots=True)
class CountedWeb:
    """A running server, and what it was asked.

    Parameters
    ----------
    url
        ``http://127.0.0.1:PORT`` or ``https://...``.
    ca_file
        The certificate to trust; empty without TLS.
    requests
        Method, path, range and bytes of the answer's body, of each request.
    """

    url: str
    ca_file: str = ""
    requests: list[tuple[str, str, str, int]] = field(default_factory=list)

    @property
    def n_requests(self) -> int:
        """Number of requests since `forget`."""
        return len(self.requests)

    @property
    def n_bytes(self) -> int:
        """Bytes sent since `forget`, without headers."""
        return sum(n_bytes for *_, n_bytes in self.requests)

    def forget(self) -> None:
        """Count from zero."""
        self.requests.clear()

    @contextlib.contextmanager
    def trusted(self) -> Iterator[None]:
        """Trust the server's certificate in this process and those it starts."""
        before = {name: os.environ.get(name) for name in TRUST}
        os.environ.update(dict.fromkeys(TRUST, self.ca_file) if self.ca_file else {})
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                os.environ.update({name: value} if value is not None else {})


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: CountedWeb
    is_listed: bool

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_dir() and self.is_listed:
            body = self.list_directory(path)
            self._body(200, body.read() if body else b"", written=body is not None)
        elif not path.is_file():
            self._answer(404, {}, b"")
        else:
            self._file(path)

    def _file(self, path: Path) -> None:
        size, headers = path.stat().st_size, {"Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        start, stop = 0, size
        if asked and asked[1]:
            start, stop = int(asked[1]), min(int(asked[2] or size) + 1, size)
        elif asked:
            start = max(size - int(asked[2]), 0)
        if start >= size > 0:
            self._answer(416, {"Content-Range": f"bytes */{size}"}, b"")
            return
        if asked:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        headers["Last-Modified"] = self.date_time_string(path.stat().st_mtime)
        with path.open("rb") as file:
            file.seek(start)
            self._answer(206 if asked else 200, headers, file.read(stop - start))

    def _body(self, status: int, body: bytes, *, written: bool) -> None:
        """The rest of an answer whose headers may have been written."""
        if not written:
            self.send_response(status)
            self.end_headers()
        sent = body if self.command != "HEAD" else b""
        self.web.requests.append(
            (self.command, self.path, self.headers.get("Range", ""), len(sent))
        )
        self.wfile.write(sent)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self._body(status, body, written=True)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Passing(_Handler):
    """Passes requests on, and answers back."""

    upstream: str

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)  # also Host, which S3 requests are signed for
        connection.endheaders(body)
        answer = connection.getresponse()
        data = answer.read()
        dropped = (
            "connection",
            "transfer-encoding",
            *["content-length"] * (self.command != "HEAD"),
        )
        kept = {n: v for n, v in answer.getheaders() if n.lower() not in dropped}
        connection.close()
        if self.command == "HEAD":
            self.send_response(answer.status)
            for name, value in kept.items():
                self.send_header(name, value)
            self.end_headers()
            self._body(answer.status, b"", written=True)
        else:
            self._answer(answer.status, kept, data)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET


@contextlib.contextmanager
def counted_web(
    folder: str | Path = "", *, upstream: str = "", tls: str | Path = "", listed: bool = False
) -> Iterator[CountedWeb]:
    """Run the server.

    Parameters
    ----------
    folder
        What it serves, read only.
    upstream
        Address of the server that it stands in front of, instead of a folder.
    tls
        Folder for a certificate made on the spot: then it speaks https.
    listed
        Whether it answers for a folder with a page of links; otherwise 404.
    """
    web = CountedWeb("")
    kind = _Passing if upstream else _Handler
    handler = type("Bound", (kind,), {"web": web, "is_listed": listed, "upstream": upstream})
    server = http.server.ThreadingHTTPServer(
        (HOST, 0), functools.partial(handler, directory=str(folder))
    )
    server.daemon_threads = True
    if tls:
        web.ca_file = str(Path(tls) / "ca.pem")
        server.socket = _certified(web.ca_file).wrap_socket(server.socket, server_side=True)
    web.url = f"http{'s' * bool(tls)}://{HOST}:{server.server_port}"
    thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.02))
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _certified(ca_file: str) -> ssl.SSLContext:
    """A server's context whose certificate a new authority has signed, which is written down."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca_file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)
    return context
