"""The tables of a file: of a table, of a zip file's members, of an HDF5 file's groups."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import BinaryIO, cast

from xpscale.archive.hdf5 import hdf5_groups
from xpscale.archive.tables import Table, explained, open_tables
from xpscale.errors import InvalidInputError
from xpscale.expansion import zip_member
from xpscale.storage import BLOCK_BYTES, Storage
from xpscale.storage.names import is_hidden

__all__ = ["is_other_product", "member_names", "opened_tables", "table_name", "tables_in"]

OTHER_PRODUCTS = ("XP_SAMPLED", "MCMC_GSPPHOT", "MCMC_MSC", "EPOCH_PHOTOMETRY", "RVS")
"""What else a DataLink request brings; left aside by the beginning of the file's name."""

_MEMBER = re.compile(
    r".*\.(?:e?csv|fits?|xml|vot|votable|hdf5|h5|parquet|parq|pq)(?:\.gz)?", re.IGNORECASE
)
"""Names of tables in a zip file; others are passed over."""

MOST_NAMES = 8
"""Members that a message names."""


def is_other_product(name: str) -> bool:
    """Whether a file is, by its name, another DataLink product than continuous spectra."""
    return name.rsplit("/", 1)[-1].upper().startswith(OTHER_PRODUCTS)


def member_names(storage: Storage, key: str) -> tuple[list[str], list[str]]:
    """The members of a zip file that may hold continuous spectra, or the groups of an HDF5 file,
    ``[""]`` if it has none; and the members that are other products by their names.

    Parameters
    ----------
    storage, key
        The file.

    Raises
    ------
    InvalidInputError
        The file is damaged, or a zip holds other products only.
    """
    name = f"{storage.url}/{key}"
    with storage.open(key) as stream, explained(name):
        if not key.lower().endswith(".zip"):
            return hdf5_groups(stream, name), []
        with zipfile.ZipFile(stream) as archive:
            names = [item.filename for item in archive.infolist() if not item.is_dir()]
    members = [member for member in names if not is_hidden(member)]
    others = sorted(filter(is_other_product, members))
    chosen = sorted(m for m in members if _MEMBER.fullmatch(m) and m not in others)
    if not chosen:
        seen = ", ".join(members[:MOST_NAMES]) + " ..." * (len(members) > MOST_NAMES)
        raise InvalidInputError(
            f"{name} has no continuous spectra, only {seen or 'nothing'}", "Ask for XP_CONTINUOUS"
        )
    return chosen, others


def tables_in(
    storage: Storage, key: str, member: str = "", content: str = ""
) -> list[tuple[str, ...]]:
    """The columns of each table of a file.

    Parameters
    ----------
    storage, key, member, content
        As of `opened_tables`.

    Raises
    ------
    InvalidInputError
        The file is damaged, or has no table.
    """
    with opened_tables(storage, key, member, content) as tables:
        if found := [tuple(table.names) for table in tables]:
            return found
    raise InvalidInputError(
        f"{table_name(storage, key, member)} has no table", "Give one with spectra"
    )


def table_name(storage: Storage, key: str, member: str) -> str:
    """What messages call a file or a member of it.

    Parameters
    ----------
    storage, key, member
        As of `opened_tables`.
    """
    return f"{storage.url}/{key}{'/' * bool(member)}{member}"


@contextmanager
def opened_tables(
    storage: Storage, key: str, member: str, content: str = "", *, correlations: bool = False
) -> Iterator[Iterator[Table]]:
    """The tables of a file.

    Parameters
    ----------
    storage, key
        The file.
    member
        Member of a zip file, or group of an HDF5 file.
    content
        What tells the file's content from another.  If it is given, a zip file stays open in this
        process for its next member, so that its list of members is read once.
    correlations
        As of `xpscale.archive.tables.open_tables`.

    Raises
    ------
    InvalidInputError
        The file is damaged.
    """
    name = table_name(storage, key, member)
    if key.lower().endswith(".zip"):
        archive = _last_zip.get(storage, key, content) if content else _zip_file(storage, key)
        with explained(f"{storage.url}/{key}"), archive as members:
            data = zip_member(members, member, name)
        yield open_tables(cast(BinaryIO, io.BytesIO(data)), name, correlations=correlations)
        return
    with storage.open(key) as stream:
        yield open_tables(stream, name, member, correlations=correlations)


class _LastZip:
    """The zip file that this process read last, open for its next member."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._name = ("", "", "")
        self._opened = ExitStack()
        self._archive: zipfile.ZipFile

    @contextmanager
    def get(self, storage: Storage, key: str, content: str) -> Iterator[zipfile.ZipFile]:
        """A zip file, for one thread at a time."""
        name = (storage.url, key, content)
        with self._lock:
            if name != self._name:
                self._opened.close()
                self._name = ("", "", "")
                self._archive = self._opened.enter_context(_zip_file(storage, key))
                self._name = name
            yield self._archive


_last_zip = _LastZip()


@contextmanager
def _zip_file(storage: Storage, key: str) -> Iterator[zipfile.ZipFile]:
    with storage.open(key, buffer_bytes=BLOCK_BYTES) as stream, zipfile.ZipFile(stream) as archive:
        yield archive
