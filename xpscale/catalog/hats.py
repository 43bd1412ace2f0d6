"""What HATS readers need in addition to the parts: a HATS 1.0 collection that lsdb opens.

::

    CATALOG/
        latents/   hats.properties, properties, partition_info.csv, skymap.fits, skymap.2.fits ...,
                   moc.fits, data_thumbnail.parquet, dataset/_common_metadata, dataset/_metadata (of
                   few row groups)
        spectra/   the same
        spectra.properties         how the extension joins
        latents_10arcs/, latents_source_id/, labels/, labels.properties    the same of margin, index
                   and labels, once they are there
        README.md, index.html, skymap.png      for people
        collection.properties      last: from here on HATS readers see the version

Everything is built in a temporary folder, then sent object by object, so it can be written again at
any time.  What is about to be sent is announced first, with the sha256 of each file, in
``_xpscale/hats``: from that a later commit knows which files are ours to replace, and a check which
of them have changed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hats.io.validation import is_valid_catalog, is_valid_collection

from xpscale.catalog.derived_tables import all_tables
from xpscale.catalog.hats_properties import MANIFEST_FIELD, collection_properties
from xpscale.catalog.hats_tables import HatsFiles, sky_counts
from xpscale.catalog.landing import write_pages
from xpscale.catalog.layout import (
    COLLECTION,
    HATS,
    INDEX,
    LABELS,
    MARGIN,
    PAGE,
    PICTURE,
    README,
    STATISTICS,
    STATISTICS_FILE,
    hats_key,
)
from xpscale.catalog.manifest import Manifest, Snapshot
from xpscale.catalog.snapshots import require_own_tables
from xpscale.catalog.survey import ranges
from xpscale.errors import NotFoundError, PermanentError
from xpscale.formatting import first_line
from xpscale.json_files import parse_json
from xpscale.storage import Storage

__all__ = ["announcement", "changed_files", "hats_differences", "hats_problems", "write_hats"]

FILES_FIELD = "xpscale_files_sha256"
"""In ``collection.properties``: a digest of the other files, so that no two versions of it are
alike."""

FOR_PEOPLE = (README, PAGE, PICTURE)
"""A file of somebody else's in their place stays."""


def write_hats(storage: Storage, manifest: Manifest, snapshot: Snapshot) -> None:
    """Write the HATS metadata of one version; it may be written again at any time.

    Parameters
    ----------
    storage
        The catalogue.
    manifest, snapshot
        The version.

    Raises
    ------
    PermanentError
        If a part's footer does not have the rows the manifest says.
    ConflictError
        If a file is there that xpscale did not write.
    """
    name, products = storage.name, manifest.identity.products
    tables, before = all_tables(storage, manifest.digest), _announced_before(storage, manifest)
    with tempfile.TemporaryDirectory(prefix="xpscale-") as folder:
        root = Path(folder)
        counts = sky_counts(storage, manifest)
        writer = HatsFiles(root, storage, manifest, snapshot)
        for product in products:
            writer.write_product(product, counts)
        for table in (MARGIN, INDEX, LABELS):
            if table in tables:
                writer.write_table(tables[table])
        is_complete = MARGIN in tables
        ranges = _ranges(storage) if is_complete else None
        write_pages(root, name, manifest, snapshot, counts, ranges, tables.get(LABELS))
        files = {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file()
        }
        for key in FOR_PEOPLE:
            if key in files and not _may_write(storage, key, files[key]):
                del files[key]
        digest = {FILES_FIELD: _digest(json.dumps(_sums(files), sort_keys=True).encode())}
        extensions = [*products[1:], *({LABELS} & set(tables))]
        collection_properties(
            name, manifest, snapshot, extensions, digest, is_complete=is_complete
        ).to_properties_file(root)
        files[COLLECTION] = (root / COLLECTION).read_bytes()
    key = _send(files, storage)
    if before and before[0] != key and before[1].keys() <= files.keys():
        storage.delete(before[0])  # each of its files is replaced


def _ranges(storage: Storage) -> dict[str, tuple[Any, Any]]:
    with storage.open(STATISTICS_FILE) as file:
        return ranges(pq.read_table(file))


def _announced_before(storage: Storage, manifest: Manifest) -> tuple[str, dict[str, str]] | None:
    """The announcement of the files that are there, if they are of this version: another version's
    may be needed by a commit that goes on at the same time.
    """
    found = announcement(storage)
    return found if found and _fields(storage).get(MANIFEST_FIELD) == manifest.digest else None


def announcement(storage: Storage) -> tuple[str, dict[str, str]] | None:
    """Key of the announcement of the HATS files that are there, and the sha256 of each file;
    ``None`` if no commit wrote ``collection.properties`` as it is.
    """
    try:
        found = _digest(storage.read(COLLECTION))
    except NotFoundError:
        return None
    for key in storage.list(HATS):
        sums = _announced(storage, key)
        if sums.get(COLLECTION) == found:
            return key, sums
    return None


def changed_files(storage: Storage, sums: Mapping[str, str]) -> tuple[str, ...]:
    """What is else than an announcement says; empty if nothing.

    Parameters
    ----------
    storage
        The catalogue.
    sums
        sha256 by key.
    """
    changes = []
    for key, digest in sums.items():
        try:
            if _digest(storage.read(key)) != digest:
                changes.append(f"{key} is not what the commit wrote")
        except NotFoundError:
            changes.append(f"{key} is missing")
    return tuple(changes)


def hats_differences(storage: Storage, manifest: Manifest) -> tuple[str, ...]:
    """What the HATS files are else than those of a version that is wholly described; empty if
    nothing.

    Parameters
    ----------
    storage
        The catalogue.
    manifest
        The version.
    """
    found = announcement(storage)
    if found is None:
        is_there = storage.exists(COLLECTION)
        return (f"{COLLECTION} is {'not what a commit wrote' if is_there else 'missing'}",)
    changes, described = changed_files(storage, found[1]), _fields(storage).get(MANIFEST_FIELD)
    if described != manifest.digest:
        return *changes, f"the HATS files describe manifest {described}, not {manifest.digest}"
    for table in set(all_tables(storage, manifest.digest)) - {STATISTICS}:
        if f"{table}/hats.properties" not in found[1]:
            return *changes, f"{COLLECTION} does not name {table}, which is there"
    return changes


def hats_problems(storage: Storage, extensions: Iterable[str]) -> tuple[str, ...]:
    """What hats' own strict validation finds; empty if the collection is valid.

    Parameters
    ----------
    storage
        The catalogue.
    extensions
        Its extensions.
    """
    storage.upath.fs.invalidate_cache()  # s3fs remembers listings of before the commit
    with _warnings_of_root_logger() as said:
        try:
            require_own_tables(storage)
            valid = is_valid_collection(storage.upath, strict=True)
            for product in extensions:
                valid &= is_valid_catalog((storage / product).upath, strict=True)
        except Exception as error:  # whatever the damage makes hats' libraries raise
            return (*said, f"{type(error).__name__}: {first_line(error)}")
    return () if valid else tuple(said) or ("not a valid HATS collection",)


def _fields(storage: Storage) -> dict[str, str]:
    lines = storage.read(COLLECTION).decode().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _send(files: Mapping[str, bytes], storage: Storage) -> str:
    """Announce the files, then send them, each whole, over none but those that a commit announced;
    what readers look at first goes last.  The key of the announcement.
    """
    announced = json.dumps(_sums(files), indent=1).encode()
    key = hats_key(_digest(announced))
    if not storage.create(key, announced):
        raise PermanentError(f"{storage}/{key} is not what its name says", "Delete it")

    def place(key: str) -> tuple[bool, bool, bool, str]:
        return key == COLLECTION, "/" not in key, key.endswith(".properties"), key

    for each in sorted(files, key=place):
        storage.replace(each, files[each], lambda there: _is_announced(storage, there))
    storage.create(key, announced)  # again, for a commit may have removed one like it as replaced
    return key


def _is_announced(storage: Storage, there: bytes) -> bool:
    """Whether a commit has announced a file with this content."""
    digest = _digest(there)
    return any(digest in _announced(storage, key).values() for key in storage.list(HATS))


def _may_write(storage: Storage, key: str, data: bytes) -> bool:
    try:
        there = storage.read(key)
    except NotFoundError:
        return True
    return there == data or _is_announced(storage, there)


def _announced(storage: Storage, key: str) -> dict[str, str]:
    """The sha256 of each file in an announcement; of another object nothing."""
    text = storage.read(key)
    if key != hats_key(_digest(text)):
        return {}
    return dict(parse_json(text))


def _sums(files: Mapping[str, bytes]) -> dict[str, str]:
    return {key: _digest(files[key]) for key in sorted(files)}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _warnings_of_root_logger() -> Iterator[list[str]]:
    """The hats validator says what is wrong through the root logger only."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    others = root.handlers[:]
    root.handlers[:] = [handler]
    try:
        yield said
    finally:
        root.handlers[:] = others
