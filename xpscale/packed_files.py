"""Files that hold other files, or are compressed otherwise than by gzip: not unpacked here."""

from __future__ import annotations

__all__ = ["packed_kind"]

KINDS = {
    "tar archive": ((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"), b""),
    "7-Zip archive": ((".7z",), b"7z\xbc\xaf\x27\x1c"),
    "RAR archive": ((".rar",), b"Rar!"),
    "zip archive": ((), b"PK\x03\x04"),
    "file compressed by bzip2": ((".bz2",), b"BZh"),
    "file compressed by xz": ((".xz",), b"\xfd7zXZ"),
    "file compressed by Zstandard": ((".zst",), b"\x28\xb5\x2f\xfd"),
}
"""Endings of names, and first bytes where they tell; zip files are read, under their own name."""


def packed_kind(name: str, head: bytes = b"") -> str:
    """What kind of packed file it is; empty for others.

    >>> packed_kind("spectra.tar.gz"), packed_kind("spectra.csv.gz")
    ('tar archive', '')

    Parameters
    ----------
    name
        Of the file.
    head
        Its first bytes, if they are known.
    """
    for kind, (endings, magic) in KINDS.items():
        if name.lower().endswith(endings or ("\0",)) or (magic and head.startswith(magic)):
            return kind
    return ""
