"""Labels of stars as a table of a published version: replaced by others as a whole, so that no
reader finds some of each.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow.parquet as pq

from xpscale.catalog.commit import commit
from xpscale.catalog.derived_tables import (
    DerivedTable,
    TableFile,
    are_whole,
    read_table,
    remove_other_files,
)
from xpscale.catalog.layout import LABELS, TABLES
from xpscale.catalog.manifest import Manifest
from xpscale.storage import Storage

__all__ = ["LABEL_ROWS", "OPTIONS", "put_labels"]

LABEL_ROWS = 32_768
"""Rows of a row group."""

OPTIONS = {
    "compression": "zstd",
    "sorting_columns": [pq.SortingColumn(0)],
    "row_group_size": LABEL_ROWS,
}
"""How their files are written."""


def put_labels(
    storage: Storage,
    manifest: Manifest,
    source: str,
    write: Callable[[], tuple[TableFile, ...]],
    *,
    with_hats: bool = True,
) -> tuple[DerivedTable, bool]:
    """The labels of the current version, and whether they were there; otherwise they are written,
    and those that were there before are not read any more.

    Parameters
    ----------
    storage, manifest
        The catalogue, and its current version.
    source
        What they are made of: the content hash of the fitted labels.
    write
        Writes the files.
    with_hats
        As of `xpscale.catalog.commit.commit`.
    """
    before = read_table(storage, LABELS, manifest.digest)
    is_there = bool(before and before.source == source and are_whole(storage, {LABELS: before}))
    table = before
    if table is None or not is_there:
        storage.delete(*storage.list(f"{TABLES}/{LABELS}"))
        if before:
            commit(storage, manifest, with_hats=with_hats)  # its collection names no labels now
        table = DerivedTable(LABELS, manifest.digest, write(), source)
        table.write(storage)
        remove_other_files(storage, LABELS, {file.key for file in table.files})
    commit(storage, manifest, with_hats=with_hats)  # the collection names them now
    return table, is_there
