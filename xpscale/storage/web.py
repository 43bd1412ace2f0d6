"""An object of a web server from any offset on, as its bytes come.

obstore reads everything else.  It does not tell how long a busy server asks to wait
(``Retry-After``) and fails where a server ignores the offset, so what runs for hours against the
archive's server is read with the standard library.
"""

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
from typing import Any

from xpscale.errors import InvalidInputError, NotFoundError, TryAgainError
from xpscale.storage.failures import PASSING, Busy

__all__ = ["Stream", "open_web"]

TIMEOUT_S = 60.0
"""Silence of a server after which a connection counts as dropped."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes of an object.

    Parameters
    ----------
    start
        Offset of the first byte that comes: 0 where a server ignores the wanted offset.
    n_bytes
        Size of the whole object as the server says; 0 if it does not.
    blocks
        The bytes.  They may end early, with or without an error.
    """

    start: int
    n_bytes: int
    blocks: Iterator[bytes]


@contextlib.contextmanager
def open_web(url: str, offset: int) -> Iterator[Stream]:
    """An object from an offset on, or from its start where the server cannot do that.

    Proxies and certificates are those of the environment (``https_proxy``, ``SSL_CERT_FILE``).

    Parameters
    ----------
    url
        Address of the object.
    offset
        The first byte wanted.
    """
    response = _ask(url, offset)
    with response:
        span = re.match(r"bytes (\d+)-\d+/(\d+)?", response.headers.get("Content-Range") or "")
        if response.status == 206 and span:
            start, n_bytes = int(span[1]), int(span[2] or 0)
        else:
            start, n_bytes = 0, int(response.headers.get("Content-Length") or 0)
        yield Stream(start, n_bytes, _blocks(url, response))


def _blocks(url: str, response: Any) -> Iterator[bytes]:
    try:
        # read1, unlike read, returns what came before a connection broke
        while block := response.read1(1 << 20):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise TryAgainError(f"{url}: {error or type(error).__name__}", "Try again") from error


def _ask(url: str, offset: int) -> Any:
    headers = {"User-Agent": "xpscale", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        return urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and offset:  # the object ends before it
                return _ask(url, 0)
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


def _meaning(error: urllib.error.HTTPError, url: str) -> Exception:
    what = f"{url}: {error.code} {error.reason}"
    if error.code in PASSING:
        return Busy(what, _retry_after_s(error.headers.get("Retry-After") or ""))
    if error.code in (404, 410):
        return NotFoundError(what, "Check the address")
    return InvalidInputError(what, "The server refuses it: check the address")


def _retry_after_s(text: str) -> float:
    """Seconds that a ``Retry-After`` of either form (RFC 9110, section 10.2.3) asks for; 0 if it
    cannot be read.
    """
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0
