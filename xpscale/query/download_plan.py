"""What a download will do: which parts are read, how large they are, and what the copy is."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace

from xpscale.catalog.derived_tables import DerivedTable
from xpscale.catalog.layout import LABELS, LEDGER
from xpscale.catalog.manifest import RunIdentity
from xpscale.catalog.snapshots import read_manifest, read_snapshot
from xpscale.errors import InvalidInputError, PermanentError
from xpscale.formatting import format_bytes
from xpscale.query.engine import ARRAYS
from xpscale.query.part_copies import PixelCopy
from xpscale.query.selection import Selection
from xpscale.query.version import CatalogVersion
from xpscale.runtime.ledger import Ledger
from xpscale.schema import IDENTITY_COLUMNS, SCHEMA_VERSION
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.types import Part

__all__ = ["DownloadPlan", "plan_download"]

MORE_BYTES_A_PART = 8192
"""What a part's report and its rows in other tables take on the disk."""

MEMORY_BYTES = 1 << 30
"""What all parts under way may take: each is in memory whole, and about twice when it is made
anew."""


@dataclass(frozen=True)
class DownloadPlan:
    """What a download will do.

    Parameters
    ----------
    selection
        What is wanted.
    destination
        Where the copy will be.
    identity
        What the copy is made of.
    tasks
        The pixels to read, the largest first.
    labels
        The labels to copy, too, or ``None``.
    """

    selection: Selection
    destination: Storage
    identity: RunIdentity
    tasks: tuple[PixelCopy, ...]
    labels: DerivedTable | None = None

    @property
    def is_exact(self) -> bool:
        """Whether parts are copied byte for byte."""
        return not (_narrows_rows(self.selection) or self.selection.names)

    @property
    def is_share(self) -> bool:
        """Whether some of the catalogue's rows are left out."""
        return self.identity.kept_rows != self.selection.catalog.identity.kept_rows

    @property
    def n_bytes(self) -> int:
        """Bytes to read, also those that an earlier call has read."""
        of_labels = sum(part.n_bytes for part in self.label_parts)
        return of_labels + sum(task.n_bytes for task in self.tasks)

    @property
    def label_parts(self) -> tuple[Part, ...]:
        """The parts of the labels to copy."""
        pixels = {task.pixel for task in self.tasks}
        parts = self.labels.parts if self.labels else ()
        return tuple(part for part in parts if part.pixel in pixels)

    @property
    def n_rows(self) -> int:
        """Sources of the pixels to read."""
        return sum(task.n_rows for task in self.tasks)

    @property
    def n_connections(self) -> int:
        """Pixels to read at a time."""
        largest = max((task.n_bytes for task in self.tasks), default=1)
        return max(1, min(16, MEMORY_BYTES // (largest if self.is_exact else 2 * largest)))

    def __str__(self) -> str:
        labels = (LABELS,) if self.labels else ()
        products = " and ".join((*self.identity.products, *labels))
        size = f"{format_bytes(self.n_bytes)} of {products} in {len(self.tasks):,} pixels"
        if self.is_exact:
            return f"{size}, {self.n_rows:,} sources, to {self.destination}"
        return (
            f"to read {size}, and to keep of {self.n_rows:,} sources those of"
            f" {self.selection.query}, in {self.destination}"
        )

    def require_room(self) -> None:
        """Refuse a disk that cannot hold it.

        Raises
        ------
        PermanentError
            The message has both numbers.
        """
        folder = self.destination.folder
        if folder is None or not self.is_exact:
            return
        while not folder.exists():
            folder = folder.parent
        there = Ledger(self.destination / LEDGER).finished_tasks()
        left = [task for task in self.tasks if task.key not in there]
        needed = sum(task.n_bytes + MORE_BYTES_A_PART * len(task.parts) for task in left)
        needed += sum(part.n_bytes for part in self.label_parts)
        if (free := shutil.disk_usage(folder).free) < needed:
            raise PermanentError(
                f"{self.destination} needs {format_bytes(needed)}, and its disk has"
                f" {format_bytes(free)} free",
                "Make room, choose another disk, or take a share: --products latents, --cone",
            )


def plan_download(
    selection: Selection,
    destination: str | Storage,
    *,
    products: Iterable[str] = (),
    since: int | None = None,
) -> DownloadPlan:
    """What to copy of a catalogue; reads its manifest only.

    Parameters
    ----------
    selection
        Rows and columns, such as ``catalog.cone(...)``; ``catalog.select()`` for all.  Columns
        that are chosen come in addition to the identity columns.
    destination
        A folder or ``s3://`` prefix: empty, or holding an earlier copy of the same selection.
    products
        ``latents``, or with ``spectra`` and ``labels``; by default what the chosen columns are of,
        or all.
    since
        Only the parts that snapshot ``since`` of the catalogue does not have.

    Raises
    ------
    InvalidInputError
        The catalogue has no such product; or the selection has a limit.
    NotFoundError
        There is no snapshot ``since``.
    """
    catalog = selection.catalog
    place = destination if isinstance(destination, Storage) else Storage(destination)
    if place.url == catalog.storage.url:
        raise InvalidInputError(f"{place} is the catalogue itself", "Choose another place")
    if selection.most is not None:
        raise InvalidInputError(
            "a selection with a limit is no share of a catalogue",
            "Leave out limit and head, or write the rows to a file: xpscale query -n",
        )
    asked = tuple(products)
    kept, labels = _kept_products(selection, asked), _kept_labels(selection, asked)
    _require_known_columns(selection)
    of_source = catalog.identity  # which may be a share itself
    chosen = tuple(name for name in selection.names if name not in IDENTITY_COLUMNS)
    # none at all would mean every column
    words = (of_source.kept_rows, _rows_text(selection, since))
    identity = replace(
        of_source,
        kept_products=of_source.kept_products if kept == of_source.products else kept,
        kept_columns=(chosen or ("ra",)) if selection.names else of_source.kept_columns,
        kept_rows="; ".join(filter(None, words)),
    )
    needed = [*kept, *["spectra"] * _reads_arrays(selection), *[LABELS] * selection.needs_labels]
    older = _parts_of_snapshot(catalog, since) if since is not None else frozenset()
    by_pixel: dict[Pixel, list[Part]] = {part.pixel: [] for part in selection.parts}
    for product in dict.fromkeys(needed):
        for part in catalog.parts_of(product):
            if part.pixel in by_pixel and part not in older:
                by_pixel[part.pixel].append(part)
    tasks = [PixelCopy(pixel, tuple(parts)) for pixel, parts in by_pixel.items() if parts]
    tasks.sort(key=lambda task: -task.n_bytes)
    return DownloadPlan(selection, place, identity, tuple(tasks), labels)


def _narrows_rows(selection: Selection) -> bool:
    return bool(selection.regions or selection.conditions) or selection.source_ids is not None


def _reads_arrays(selection: Selection) -> bool:
    return any(name in condition for name in ARRAYS for condition in selection.conditions)


def _require_known_columns(selection: Selection) -> None:
    """Parts are made anew with the columns of this version of xpscale only."""
    theirs, storage = selection.catalog.identity.schema_version, selection.catalog.storage
    if theirs != SCHEMA_VERSION and (_narrows_rows(selection) or selection.names):
        raise InvalidInputError(
            f"{storage} has columns of version {theirs}, and this xpscale makes version"
            f" {SCHEMA_VERSION}",
            "Copy whole products, or write the rows to a file: xpscale query -o OUT.parquet",
        )


def _kept_labels(selection: Selection, products: tuple[str, ...]) -> DerivedTable | None:
    """The labels, if they are asked for, or nothing else is."""
    catalog, chosen = selection.catalog, [*selection.names]
    is_named = any(name not in catalog.known_columns for name in chosen)
    if LABELS in products and not catalog.labels:
        raise InvalidInputError(
            f"no labels are published in {catalog.storage.url}", "Leave them out of --products"
        )
    wanted = LABELS in products or is_named or not (products or chosen)
    return catalog.labels if wanted else None


def _kept_products(selection: Selection, products: tuple[str, ...]) -> tuple[str, ...]:
    known = selection.catalog.identity.products
    if unknown := [product for product in products if product not in (*known, LABELS)]:
        raise InvalidInputError(
            f"{selection.catalog.storage} has no product {unknown[0]!r}",
            f"It has {', '.join(selection.catalog.tables)}",
        )
    chosen = {*selection.names}
    if not products:
        products = known if not chosen or chosen & {*ARRAYS} else ("latents",)
    if "latents" not in products:
        raise InvalidInputError(
            "a copy without latents is no catalogue: they are its main table",
            "Give --products latents,spectra, and with --columns what shall be kept of each",
        )
    if chosen & {*ARRAYS} and "spectra" not in products:
        raise InvalidInputError(
            "reconstruction and scatter are columns of the product spectra",
            "Give --products latents,spectra",
        )
    return tuple(product for product in known if product in products)


def _rows_text(selection: Selection, since: int | None) -> str:
    """Which rows are kept, so that two texts are equal only for the same rows: regions and
    identifiers are shortened in words, and stand in a digest as they are.
    """
    words = [selection.query] if _narrows_rows(selection) else []
    ids = selection.source_ids
    exact = [region.sql().encode() for region in selection.regions]
    exact += [ids.tobytes()] if ids is not None else []
    if exact:
        words.append(f"sha256 {hashlib.sha256(b';'.join(exact)).hexdigest()[:12]}")
    if selection.needs_labels and selection.catalog.labels:
        words.append(f"labels {selection.catalog.labels.source[:12]}")
    if since is not None:
        words.append(f"parts since snapshot {since}")
    return "; ".join(words)


def _parts_of_snapshot(catalog: CatalogVersion, number: int) -> frozenset[Part]:
    manifest = read_manifest(catalog.storage, read_snapshot(catalog.storage, number))
    return frozenset(manifest.parts)
