"""A small web server for a site on this machine, which answers range requests.

``python -m http.server`` sends whole files only; a page then has to read all of a part for one
star.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, unquote

from xpscale.catalog.layout import RUN
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.json_files import parse_json, read_value
from xpscale.site.data_url import served_folder

if TYPE_CHECKING:
    from io import BytesIO

__all__ = ["RangeHandler", "serve_site", "shown_folders", "site_server"]

BLOCK_BYTES = 1 << 16


class RangeHandler(SimpleHTTPRequestHandler):
    """Files below a folder, whole or one range of their bytes (RFC 9110, section 14)."""

    protocol_version = "HTTP/1.1"
    _n_left: int | None = None

    def send_head(self) -> BytesIO | BinaryIO | None:
        """Send the headers, and return the file from which the body comes."""
        self._n_left = None
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if not wanted or wanted[0] == "bytes=-" or not path.is_file():
            return super().send_head()
        size = path.stat().st_size
        first, last = _span(wanted[1], wanted[2], size)
        if first > last:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self._n_left = last + 1 - first
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(self._n_left))
        self.end_headers()
        file = path.open("rb")
        file.seek(first)
        return file

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send the body, and no more of it than the headers promise.

        Parameters
        ----------
        source, outputfile
            The file, and the connection.
        """
        if self._n_left is None:
            super().copyfile(source, outputfile)
            return
        while self._n_left and (block := source.read(min(self._n_left, BLOCK_BYTES))):
            outputfile.write(block)
            self._n_left -= len(block)

    def end_headers(self) -> None:
        """Say that ranges are answered, and that a page is asked for anew each time."""
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent.

        Parameters
        ----------
        format, args
            What would be said.
        """


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """First and last byte of ``bytes=first-last``; ``bytes=-n`` means the last n."""
    if not first:
        return max(0, size - int(last)), size - 1 if int(last) else -1
    return int(first), min(int(last), size - 1) if last else size - 1


def _address(site: Path) -> str:
    """Where the page of a site looks for its catalogue."""
    try:
        text = (site / "site.json").read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"{site} holds no finished site", "Make it first") from error
    address = read_value(lambda text: str(parse_json(text)["catalog"]), text, f"{site}", "site")
    catalog = os.path.normpath(site / unquote(address))
    if address and "://" not in address and not Path(catalog, RUN).is_file():
        raise InvalidInputError(
            f"{site}/site.json names {address}, which is no catalogue",
            "Somebody changed it, or the site was moved: make it again",
        )
    return address


def shown_folders(site: Path) -> dict[str, Path]:
    """What another web server has to show: the page, and the catalogue where that is a folder.

    Parameters
    ----------
    site
        The folder of the site.

    Returns
    -------
    dict of str to Path
        Folders by the paths at which to show them; the page's comes first.

    Raises
    ------
    NotFoundError
        There is no site.
    """
    site = site.resolve()
    address = _address(site)
    folders = [site]
    if address and "://" not in address:
        folders.append(Path(os.path.normpath(site / unquote(address))))
    root = served_folder(site, address)
    return {
        f"/{folder.relative_to(root).as_posix()}".removesuffix("/."): folder for folder in folders
    }


def site_server(site: Path, port: int = 0) -> tuple[ThreadingHTTPServer, str]:
    """A server of a site on this machine, not yet started, and the page's address.

    Parameters
    ----------
    site
        The folder of the site.
    port
        0 takes a free one.

    Raises
    ------
    NotFoundError
        There is no site.
    InvalidInputError
        The port is taken.
    """
    site = site.resolve()
    root = served_folder(site, _address(site))
    try:
        server = ThreadingHTTPServer(
            ("127.0.0.1", port), partial(RangeHandler, directory=os.fspath(root))
        )
    except OSError as error:
        raise InvalidInputError(
            f"port {port} cannot be used ({error.strerror})", "Give another one with --port"
        ) from error
    path = quote(f"{site.relative_to(root).as_posix()}/".removeprefix("./"))
    return server, f"http://127.0.0.1:{server.server_port}/{path}"


def serve_site(site: Path, port: int, say: Callable[[str], None]) -> None:
    """Show a site on this machine until interrupted.

    Parameters
    ----------
    site
        The folder of the site.
    port
        0 takes a free one.
    say
        Told the address.
    """
    server, address = site_server(site, port)
    say(f"look at it: {address}  (Ctrl-C ends)")
    with server:
        server.serve_forever()
