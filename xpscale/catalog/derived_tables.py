"""Tables made of a published version's latents: its statistics, its margin, its index of
identifiers, and labels.

Their files carry the name of the manifest that they are made of, so they are known as ours and are
replaced when a later version is published.  A table counts once its record is there, which is
written after its last file and names each of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.catalog.layout import DERIVED, LABELS, kind_of, pixel_of, table_key
from xpscale.errors import NotFoundError, PermanentError
from xpscale.json_files import from_fields, parse_json
from xpscale.storage import Storage
from xpscale.types import Part, TaskReport, TaskStatus

__all__ = [
    "MADE_OF",
    "DerivedTable",
    "TableFile",
    "all_tables",
    "are_whole",
    "derived_sizes",
    "read_table",
    "read_tables",
    "remove_other_files",
    "table_task",
    "written_files",
]

MADE_OF = b"xpscale.manifest"
"""Key in a file's metadata: sha256 of the manifest of the version that it is made of, and of what
else, after a blank.
"""


@dataclass(frozen=True, order=True, slots=True)
class TableFile:
    """One Parquet file of a derived table.

    Parameters
    ----------
    first, last
        Least and largest value of the column it is sorted by.
    key
        Object key in the catalogue.
    n_rows, n_bytes
        Rows inside, size of the object in bytes.
    sha256
        Hex digest of the object's bytes.
    """

    first: int
    last: int
    key: str
    n_rows: int
    n_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DerivedTable:
    """A table made of one version: its files, in the order of what they are sorted by.

    Parameters
    ----------
    name
        One of `xpscale.catalog.layout.DERIVED`, or `xpscale.catalog.layout.LABELS`.
    manifest
        sha256 of the version's manifest.
    files
        All files, in any order.
    source
        sha256 of what else it is made of; empty if of nothing.
    """

    name: str
    manifest: str
    files: tuple[TableFile, ...]
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(sorted(self.files)))

    @property
    def n_rows(self) -> int:
        """Rows of all files."""
        return sum(file.n_rows for file in self.files)

    @property
    def n_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.n_bytes for file in self.files)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The files of a table that has partitions, as parts."""
        return tuple(
            Part(pixel_of(file.key), file.key, file.n_rows, file.n_bytes, file.sha256)
            for file in self.files
        )

    def write(self, storage: Storage) -> None:
        """Write the record, after which the table counts."""
        files = ",\n".join(json.dumps(asdict(file)) for file in self.files)
        source = f'"source": "{self.source}", ' if self.source else ""
        head = f'"name": "{self.name}", "manifest": "{self.manifest}", {source}"files"'
        text = f"{{{head}: [\n{files}\n]}}\n"
        storage.replace(table_key(self.name, self.manifest), text.encode())


def read_table(storage: Storage, name: str, manifest: str) -> DerivedTable | None:
    """A table of a version; ``None`` if it was not made, or not wholly.

    Parameters
    ----------
    storage
        The catalogue.
    name
        As of `DerivedTable`.
    manifest
        sha256 of the version's manifest.

    Raises
    ------
    PermanentError
        The record is damaged.
    """
    key = table_key(name, manifest)
    try:
        record = parse_json(storage.read(key))
        listed = tuple(from_fields(TableFile, each) for each in record["files"])
        return DerivedTable(name, manifest, listed, str(record.get("source", "")))
    except NotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(
            f"{storage}/{key} is damaged ({error})",
            "Delete it and run 'xpscale catalog complete'",
        ) from error


def read_tables(storage: Storage, manifest: str) -> dict[str, DerivedTable] | None:
    """Statistics, margin and index of a version by name; ``None`` if one was not made, or not
    wholly.

    Parameters
    ----------
    storage, manifest
        As of `read_table`.
    """
    found = {name: read_table(storage, name, manifest) for name in DERIVED}
    known = {name: table for name, table in found.items() if table}
    return known if len(known) == len(DERIVED) else None


def all_tables(storage: Storage, manifest: str) -> dict[str, DerivedTable]:
    """Whatever tables are made of a version, by name.

    Parameters
    ----------
    storage, manifest
        As of `read_table`.
    """
    labels = read_table(storage, LABELS, manifest)
    return (read_tables(storage, manifest) or {}) | ({LABELS: labels} if labels else {})


def derived_sizes(storage: Storage, tables: Mapping[str, DerivedTable]) -> dict[str, int]:
    """Bytes of the files of tables that are there, by key: a listing a folder, not a look at each.

    Parameters
    ----------
    storage
        The catalogue.
    tables
        From `read_tables`.
    """
    keys = [file.key for table in tables.values() for file in table.files]
    if not storage.can_list:
        return storage.sizes(keys)
    folders = {key.partition("/dataset/")[0] + "/dataset" for key in keys if "/dataset/" in key}
    sizes = {key: n for folder in folders for key, n in storage.list(folder).items()}
    return sizes | storage.sizes(key for key in keys if "/dataset/" not in key)


def are_whole(storage: Storage, tables: Mapping[str, DerivedTable]) -> bool:
    """Whether all files of tables are there, by their size.

    Parameters
    ----------
    storage, tables
        As of `derived_sizes`.
    """
    sizes = derived_sizes(storage, tables)
    return all(sizes.get(f.key) == f.n_bytes for table in tables.values() for f in table.files)


def written_files(reports: Iterable[TaskReport]) -> tuple[TableFile, ...]:
    """The files that `table_task` has written, or found to be there, by its reports."""
    return tuple(TableFile(**each.details["file"]) for each in reports if each.details)


def remove_other_files(storage: Storage, folder: str, needed: Set[str]) -> None:
    """Remove what a table of an earlier version has in a folder: its readers would see it.

    Parameters
    ----------
    storage
        The catalogue.
    folder
        The table's.
    needed
        Keys of the files that stay.
    """
    listed = storage.list(f"{folder}/dataset")
    storage.delete(*(key for key in listed if kind_of(key) == "derived" and key not in needed))


def table_task(
    storage: Storage,
    key: str,
    manifest: str,
    make: Callable[[], pa.Table],
    **options: Any,
) -> TaskReport:
    """Write one file of a derived table, unless an earlier attempt has, and report it in
    ``details["file"]``; without rows there is none.

    Parameters
    ----------
    storage
        The catalogue.
    key
        The file; one of an earlier version is replaced.
    manifest
        sha256 of the version's manifest, and of what else the rows are made of, after a blank.
    make
        Makes the rows, sorted by the first column.
    options
        Of `pyarrow.parquet.write_table`.

    Raises
    ------
    ConflictError
        Something else is there.
    """
    data = _finished(storage, key, manifest)
    if data is None:
        table = make()
        if not table.num_rows:
            return TaskReport(key, TaskStatus.EMPTY)
        data = _encoded(table, manifest, options)
        storage.replace(key, data, lambda there: _made_of(there) is not None)
    file = _described(key, data)
    details = {"file": asdict(file)}
    return TaskReport(key, TaskStatus.WRITTEN, n_in=file.n_rows, n_out=file.n_rows, details=details)


def _encoded(table: pa.Table, manifest: str, options: Mapping[str, Any]) -> bytes:
    marked = table.replace_schema_metadata({**(table.schema.metadata or {}), MADE_OF: manifest})
    sink = pa.BufferOutputStream()
    pq.write_table(marked, sink, **options)
    return bytes(sink.getvalue())


def _finished(storage: Storage, key: str, manifest: str) -> bytes | None:
    """A file that an earlier attempt has written for the same version."""
    try:
        data = storage.read(key)
    except NotFoundError:
        return None
    return data if _made_of(data) == manifest else None


def _made_of(data: bytes) -> str | None:
    """The manifest in the metadata of a file; ``None`` if it is no file of a derived table."""
    try:
        found = pq.read_metadata(pa.BufferReader(data)).metadata or {}
    except (pa.ArrowException, OSError):
        return None
    return found[MADE_OF].decode() if MADE_OF in found else None


def _described(key: str, data: bytes) -> TableFile:
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        sorted_by = file.read(columns=[file.schema_arrow.names[0]]).column(0)
    first, last = sorted_by[0].as_py(), sorted_by[-1].as_py()
    digest = hashlib.sha256(data).hexdigest()
    return TableFile(first, last, key, len(sorted_by), len(data), digest)
