"""Addresses that mean the same to every library below us."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from xpscale.errors import InvalidInputError
from xpscale.local_files import local_path
from xpscale.safe_text import has_password
from xpscale.storage.clouds import SCHEMES

__all__ = ["checked", "inside", "web_quoted"]

MAX_KEY = 1024
"""Characters of a key, as S3 has it."""


def checked(url: str | os.PathLike[str]) -> str:
    """The one spelling of an address.

    >>> checked("s3://bucket/run#1/"), checked("https://host/my data")
    ('s3://bucket/run#1', 'https://host/my%20data')
    >>> checked("abfs://container/folder"), checked("gcs://bucket/folder")
    ('az://container/folder', 'gs://bucket/folder')
    >>> checked("abfs://container@account.dfs.core.windows.net/folder")
    'abfss://container@account.dfs.core.windows.net/folder'

    Parameters
    ----------
    url
        A local path or ``file://``, as it is; ``s3://BUCKET/PREFIX``, ``gs://``, ``az://`` and
        their other spellings (`xpscale.storage.clouds`), where every character of the prefix stands
        for itself; or a web address, quoted (``%20``) as browsers show it.

    Raises
    ------
    InvalidInputError
        Libraries would disagree about it, or none can open it.
    """
    text = os.fspath(url)
    if not text.strip():
        raise InvalidInputError("an address is empty", "Give a path or a URL")
    scheme = text.partition("://")[0].lower() if "://" in text else "file"
    rest = text.partition("://")[2] if "://" in text else text
    if scheme == "file":
        return str(local_path(rest).absolute()).rstrip("/") or "/"
    parts = rest.rstrip("/").split("/")
    is_bucket = scheme in SCHEMES
    if not is_bucket and scheme not in ("http", "https"):
        raise InvalidInputError(
            f"{text} has a scheme xpscale cannot open",
            "Use a local path, s3://, gs://, az://, https:// or http://",
        )
    if not {"", ".", ".."}.isdisjoint(parts):
        what = "no bucket or host" if not parts[0] else "an empty part, or . or .."
        raise InvalidInputError(f"{text} has {what}", f"Write {scheme}://NAME/FOLDER/FOLDER")
    if not is_bucket and (found := re.search(r"[?#]", rest)):
        raise InvalidInputError(
            f"{text} has a {found[0]}, which begins no part of a path on the web",
            "Write %3F for ? and %23 for #; an address with a query cannot be read in parts",
        )
    if has_password(text):
        raise InvalidInputError(
            f"{text} has a password in it, which would be kept in what is written",
            "Leave it out: credentials come from the environment; copy files that need others to a"
            " local folder",
        )
    if is_bucket:
        scheme = SCHEMES[scheme]
        if scheme in ("az", "abfss"):  # only one that names its account says which it is
            scheme = "abfss" if "@" in parts[0] else "az"
        return f"{scheme}://{rest.rstrip('/')}"
    return f"{scheme}://{web_quoted(rest.rstrip('/'))}"


def inside(key: str, place: str) -> str:
    """The key of an object below a place, which a file of others may have named.

    >>> inside("latents/dataset/_metadata", "s3://bucket/catalog")
    'latents/dataset/_metadata'

    Parameters
    ----------
    key
        A relative path; empty for the place itself.
    place
        What to call the place in errors.

    Raises
    ------
    InvalidInputError
        It leads out of the place.
    """
    leads_out = key.startswith("/") or "\0" in key or "://" in key or ".." in key.split("/")
    if leads_out or len(key) > MAX_KEY:
        raise InvalidInputError(
            f"{key[:100]!r} is no name of an object below {place}",
            "What names it is damaged, or made to reach other files: do not trust it",
        )
    return key


def web_quoted(path: str) -> str:
    """A path as it stands in a web address, where what is quoted already stays.

    Parameters
    ----------
    path
        Host and path, or a path.
    """
    return re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", quote(path, safe="/%:@!$&'()*+,;=~[]"))
