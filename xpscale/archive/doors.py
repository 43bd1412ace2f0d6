"""Where an archive's bytes come from: http(s), S3 or a folder, each from any offset on."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from xpscale.archive.files import BLOCK_BYTES
from xpscale.errors import InvalidInputError, NotFoundError, TryAgainError
from xpscale.storage import Storage

__all__ = ["Busy", "Door", "Reply", "open_door"]

TIMEOUT_S = 60.0
"""Silence of a server after which a connection counts as dropped."""

PASSING = {408, 425, 429, 500, 502, 503, 504}


class Busy(TryAgainError):
    """The server asks to come back later."""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message, "Try again later")
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes of an object from ``start`` on, which is 0 where a server ignores the wanted offset.

    Parameters
    ----------
    start
        Offset of the first byte that comes.
    n_bytes
        Size of the whole object as the server says; 0 if it does not.
    blocks
        The bytes.  They may end early, with `TryAgainError` or without a word.
    """

    start: int
    n_bytes: int
    blocks: Iterator[bytes]


class Door(Protocol):
    """Where bytes come from.  Keys are relative to the URL it was made of.

    Both methods raise `TryAgainError` for passing faults, `NotFoundError` and `InvalidInputError`
    for lasting ones.
    """

    def size(self, key: str) -> int:
        """Bytes of an object; 0 if that is not to be had."""

    def open(self, key: str, offset: int) -> contextlib.AbstractContextManager[Reply]:
        """An object from an offset on."""


def open_door(url: str) -> Door:
    """The door to a folder, ``s3://`` prefix or http(s) address."""
    storage = Storage(url)
    return WebDoor(storage.url) if storage.url.startswith("http") else StorageDoor(storage)


@dataclass(frozen=True)
class StorageDoor:
    """A folder or an S3 prefix, read range by range."""

    storage: Storage

    def size(self, key: str) -> int:
        """Bytes of an object; 0 if it is not there."""
        return self.storage.size(key) or 0

    @contextlib.contextmanager
    def open(self, key: str, offset: int) -> Iterator[Reply]:
        """An object from an offset on."""
        n_bytes = self.storage.size(key)
        if n_bytes is None:
            raise NotFoundError(f"{self.storage.url}/{key} does not exist", "Check the archive")
        starts = range(offset, n_bytes, BLOCK_BYTES)
        ranges = ((start, min(BLOCK_BYTES, n_bytes - start)) for start in starts)
        yield Reply(offset, n_bytes, (self.storage.read_range(key, *span) for span in ranges))


@dataclass(frozen=True)
class WebDoor:
    """A web server; proxies and certificates as the environment says (``https_proxy``,
    ``SSL_CERT_FILE``).
    """

    url: str

    def size(self, key: str) -> int:
        """``Content-Length`` of a HEAD request; 0 if the server does not say or does not have
        it.
        """
        try:
            with self._ask(key, "HEAD") as response:
                return int(response.headers.get("Content-Length") or 0)
        except (NotFoundError, InvalidInputError):
            return 0

    @contextlib.contextmanager
    def open(self, key: str, offset: int) -> Iterator[Reply]:
        """An object from an offset on, or from its start where the server knows no ranges or has
        fewer bytes.
        """
        try:
            response = self._ask(key, offset=offset)
        except _BeyondEnd:
            response = self._ask(key)
        with response:
            span = re.match(r"bytes (\d+)-\d+/(\d+)?", response.headers.get("Content-Range") or "")
            if response.status == 206 and span:
                start, n_bytes = int(span[1]), int(span[2] or 0)
            else:
                start, n_bytes = 0, int(response.headers.get("Content-Length") or 0)
            yield Reply(start, n_bytes, self._blocks(key, response))

    def _blocks(self, key: str, response: Any) -> Iterator[bytes]:
        try:
            # read1, unlike read, hands over what came before a connection broke
            while block := response.read1(1 << 20):
                yield block
        except (OSError, http.client.HTTPException) as error:
            raise TryAgainError(
                f"{self.url}/{key}: {error or type(error).__name__}", "Try again"
            ) from error

    def _ask(self, key: str, method: str = "GET", offset: int = 0) -> Any:
        url = f"{self.url}/{key}"
        headers = {"User-Agent": "xpscale", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            return urllib.request.urlopen(
                urllib.request.Request(url, headers=headers, method=method), timeout=TIMEOUT_S
            )
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and offset:
                    raise _BeyondEnd from error
                raise _meaning(error, url) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error or type(error).__name__
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise InvalidInputError(
                    f"{url}: {reason}",
                    "Check the address; SSL_CERT_FILE names other certificates to trust",
                ) from error
            raise TryAgainError(
                f"{url}: {reason}", "Try again; if it stays, check the network"
            ) from error


class _BeyondEnd(Exception):
    """The object ends before the wanted offset."""


def _meaning(error: urllib.error.HTTPError, url: str) -> Exception:
    what = f"{url}: {error.code} {error.reason}"
    if error.code in PASSING:
        return Busy(what, _retry_after_s(error.headers.get("Retry-After") or ""))
    if error.code in (404, 410):
        return NotFoundError(what, "Check the archive; its _MD5SUM.txt lists the file")
    return InvalidInputError(what, "The server refuses it: check the address")


def _retry_after_s(text: str) -> float:
    """Seconds that a ``Retry-After`` of either form (RFC 9110 section 10.2.3) asks for; 0 if it
    cannot be read.
    """
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0
