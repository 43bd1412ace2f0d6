"""Where a page finds the files of its catalogue."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from xpscale.storage import Storage

__all__ = ["data_url", "served_folder"]


def data_url(catalog: Storage, site: Storage, given: str | None) -> str:
    """The address of a catalogue as its page uses it; empty if a browser cannot reach it.

    Parameters
    ----------
    catalog, site
        Where both lie.
    given
        What the user says: an address, or a path relative to the page.  By default it is relative
        where the site lies in or beside the catalogue, on a disk as in a bucket, and the
        catalogue's own address where that is on the web.
    """
    if given is not None:
        return given.rstrip("/") + "/"
    if catalog.url.startswith(("http://", "https://")):
        return catalog.url.rstrip("/") + "/"
    return _relative(catalog, site)


def _relative(catalog: Storage, site: Storage) -> str:
    if catalog.folder is not None and site.folder is not None:
        here, there = str(site.folder.resolve()), str(catalog.folder.resolve())
    else:
        here, there = site.url, catalog.url
    path = os.path.relpath(there, here).replace(os.sep, "/")
    near = path in ("..", f"../{os.path.basename(there)}")
    return f"{quote(path)}/" if near else ""


def served_folder(site: Path, address: str) -> Path:
    """The folder that a web server must show, so that the page and its catalogue are both in it.

    Parameters
    ----------
    site
        The folder of the site.
    address
        From `data_url`.
    """
    if "://" in address:
        return site
    return Path(os.path.commonpath([site, os.path.normpath(site / unquote(address))]))
