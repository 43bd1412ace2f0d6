"""How the parts of one pixel get into a copy of the catalogue: byte for byte, or made anew from the
rows and columns that are wanted.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from xpscale.catalog.layout import LABELS, product_of
from xpscale.catalog.manifest import Manifest, RunIdentity
from xpscale.catalog.sink import ParquetSink
from xpscale.errors import ConflictError, PermanentError, TryAgainError
from xpscale.query.selection import Selection
from xpscale.query.version import CatalogVersion
from xpscale.schema import TableLayout
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.types import Part, Stopwatch, TaskReport, TaskStatus

__all__ = ["PixelCopy", "copy_exactly", "copy_rows", "read_verified"]


@dataclass(frozen=True, slots=True)
class PixelCopy:
    """The parts of one pixel that are read: a task."""

    pixel: Pixel
    parts: tuple[Part, ...]

    @property
    def key(self) -> str:
        """Names the task."""
        return self.pixel.key

    @property
    def n_rows(self) -> int:
        """Rows of the pixel."""
        return self.parts[0].n_rows

    @property
    def n_bytes(self) -> int:
        """Bytes to read."""
        return sum(part.n_bytes for part in self.parts)


def copy_exactly(source: Storage, place: Storage, task: PixelCopy) -> TaskReport:
    """Copy the parts of a pixel byte for byte.

    Parameters
    ----------
    source, place
        The catalogue, and where its copy is made.
    task
        The parts.

    Raises
    ------
    ConflictError
        Something else has a part's key in the copy.
    """
    watch = Stopwatch()
    for part in task.parts:
        with watch("read_s"):
            data = read_verified(source, part)
        with watch("write_s"):
            is_ours = place.create(part.key, data)
        if not is_ours:
            raise ConflictError(
                f"{place.url_of(part.key)} is there, and is not the catalogue's part",
                "Delete it, and run the same command again",
            )
    return _report(task, task.parts, task.n_rows, watch)


def copy_rows(
    selection: Selection, identity: RunIdentity, place: Storage, task: PixelCopy
) -> TaskReport:
    """Make the parts of a pixel anew from some of their rows and columns; if none are wanted, there
    are no parts.

    Parameters
    ----------
    selection
        Which rows.
    identity
        Of the copy: which products and columns.
    place
        Where the copy is made.
    task
        The parts.
    """
    watch = Stopwatch()
    with watch("read_s"):
        rows = _rows(selection, identity.layout, task)
    with watch("write_s"):
        parts = ParquetSink(place, identity.layout).put(task.pixel, rows)
    return _report(task, parts, rows.num_rows, watch)


def _report(task: PixelCopy, parts: tuple[Part, ...], n: int, watch: Stopwatch) -> TaskReport:
    times: dict[str, Any] = watch.seconds
    return TaskReport(task.key, TaskStatus.WRITTEN, parts, n, n, **times)


def _rows(selection: Selection, layout: TableLayout, task: PixelCopy) -> pa.Table:
    """The rows, sorted by position: the selection is run on a catalogue of this pixel alone, which
    holds what was read and verified.
    """
    catalog = selection.catalog
    with tempfile.TemporaryDirectory(prefix="xpscale-") as folder:
        here = Storage(folder)
        for part in task.parts:
            here.create(part.key, read_verified(catalog.storage, part))
        labels = [part for part in task.parts if product_of(part.key) == LABELS]
        parts = tuple(part for part in task.parts if part not in labels)
        products = tuple(product_of(part.key) for part in parts)
        identity = replace(catalog.identity, kept_products=products)
        manifest = Manifest(identity, parts, task.n_rows)
        if catalog.labels and labels:
            keys = {part.key for part in labels}
            files = tuple(file for file in catalog.labels.files if file.key in keys)
            replace(catalog.labels, manifest=manifest.digest, files=files).write(here)
        one_pixel = CatalogVersion(here, catalog.snapshot, manifest)
        names = dict.fromkeys(
            column.name for product in layout.products for column in layout.columns(product)
        )
        chosen = replace(selection, catalog=one_pixel, names=tuple(names))
        return chosen.to_table().sort_by("_healpix_29")


def read_verified(storage: Storage, part: Part) -> bytes:
    """A part, whole, as the manifest states it.

    Parameters
    ----------
    storage, part
        The catalogue, and the part.

    Raises
    ------
    PermanentError
        It is not, and stays the same when it is read again.
    TryAgainError
        It differs each time.
    """
    last = ""
    for _ in range(2):
        data = storage.read(part.key)
        found = hashlib.sha256(data).hexdigest()
        if found == part.sha256:
            return data
        if found == last:
            raise PermanentError(
                f"{storage.url_of(part.key)} is damaged: {len(data):,} bytes with sha256"
                f" {found[:12]}, the manifest states {part.n_bytes:,} with {part.sha256[:12]}",
                "Tell those who publish it, or take it from another mirror",
            )
        last = found
    raise TryAgainError(f"{storage.url_of(part.key)} arrives with other bytes each time")
