"""Files of tables: their formats by name, and what tells their contents apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from xpscale.storage.names import is_hidden

if TYPE_CHECKING:
    from xpscale.storage import Storage

__all__ = ["content_hash", "file_digest", "format_of"]

HASHED_BYTES = 1 << 30
"""Files up to this size are told from others by their content, larger ones by their size."""

FORMATS = {
    "csv": "CSV",
    "ecsv": "ECSV",
    "fits": "FITS",
    "fit": "FITS",
    "xml": "VOTable",
    "vot": "VOTable",
    "votable": "VOTable",
    "zip": "zip",
    "hdf5": "HDF5",
    "h5": "HDF5",
    "parquet": "Parquet",
    "parq": "Parquet",
    "pq": "Parquet",
}
"""Formats by a name's ending, ``.gz`` or not."""


def format_of(key: str) -> str:
    """``"CSV"`` and so on; empty for a name that tells of no table, as hidden files, ``_metadata``
    and folders called ``parquet`` do.
    """
    stem, _, ending = key.rsplit("/", 1)[-1].lower().removesuffix(".gz").rpartition(".")
    return FORMATS.get(ending, "") if stem and not is_hidden(key) else ""


def content_hash(lines: Iterable[str]) -> str:
    """SHA-256 of some lines of text, in hex."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def file_digest(storage: Storage, key: str, n_bytes: int) -> str:
    """What tells the content of a file from another: SHA-256, or the size of a file above
    `HASHED_BYTES`.

    Parameters
    ----------
    storage, key
        The file.
    n_bytes
        Its size.
    """
    if n_bytes > HASHED_BYTES:
        return f"{n_bytes} bytes"
    with storage.open(key) as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 24):
            digest.update(block)
    return digest.hexdigest()
