"""Is the catalogue what its manifest says?"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.catalog.clean import find_strays
from xpscale.catalog.derived_tables import all_tables, derived_sizes
from xpscale.catalog.identity import read_identity
from xpscale.catalog.layout import COLLECTION, LABELS, product_of
from xpscale.catalog.manifest import Manifest, Quarantined
from xpscale.catalog.snapshots import current, read_manifest
from xpscale.catalog.votable import CONTENT_KEY, product_schema
from xpscale.formatting import first_line
from xpscale.schema import IDENTITY_COLUMNS, SCHEMA_VERSION
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.types import Part

__all__ = ["CheckReport", "check"]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` looked at and what it found.

    Parameters
    ----------
    catalog, snapshot
        Which version.
    deep
        Whether every byte was read.
    n_parts, n_rows, n_bytes
        What the manifest names.
    problems
        What is wrong; each names its object.
    strays
        Objects that nobody needs and no reader sees: no problem, and `xpscale.catalog.clean`
        removes them.
    quarantined
        The tasks that this version was published without.
    is_listed
        Whether the place lists its objects; if not, strays and changed HATS files are not seen.
    """

    catalog: str
    snapshot: int
    deep: bool
    n_parts: int
    n_rows: int
    n_bytes: int
    problems: tuple[str, ...]
    strays: tuple[str, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    is_listed: bool = True

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps({"ok": self.ok, **asdict(self)}, indent=1)


def check(storage: Storage, deep: bool = True) -> CheckReport:
    """Compare the current version with its manifest.

    Always: every part is there, with its size, rows and schema; nothing else lies among the parts;
    products share pixels, none overlaps another; statistics, margin, index and labels, if they are
    made, have their files; the HATS metadata describe this manifest, are as they were written, and
    pass hats' strict validation.  A web server lists nothing: there nobody sees what else lies
    among the parts, and of the HATS metadata only that they are of this version.

    Parameters
    ----------
    storage
        The catalogue.
    deep
        Also read every byte: sha256, order and pixel of the rows, the same sources in all products,
        none twice in a part.

    Raises
    ------
    NotFoundError
        If nothing is published.
    PermanentError
        If the manifest itself is damaged.
    """
    snapshot = current(storage)
    manifest = read_manifest(storage, snapshot)
    products = manifest.identity.products
    by_pixel: dict[Pixel, list[Part]] = {}
    for part in manifest.parts:
        by_pixel.setdefault(part.pixel, []).append(part)
    sizes = _sizes(storage, manifest)
    strays = find_strays(storage) if storage.can_list else ()
    problems = [
        *_identity_problems(storage, manifest),
        *_pixel_problems(by_pixel, products),
        *_listing_problems(manifest.parts, sizes),
        *_content_problems(storage, manifest, by_pixel.values(), sizes, deep=deep),
        *_derived_problems(storage, manifest, deep=deep),
        *_hats_problems(storage, manifest),
        *(str(stray) for stray in strays if stray.is_visible),
    ]
    return CheckReport(
        str(storage),
        snapshot.number,
        deep,
        len(manifest.parts),
        manifest.n_out,
        manifest.n_bytes,
        tuple(problems),
        tuple(str(stray) for stray in strays if not stray.is_visible),
        manifest.quarantined,
        storage.can_list,
    )


def _sizes(storage: Storage, manifest: Manifest) -> dict[str, int]:
    """Bytes of what lies among the parts, by key."""
    if storage.can_list:
        products = manifest.identity.products
        return {key: n for product in products for key, n in storage.list(product).items()}
    return storage.sizes(part.key for part in manifest.parts)


def _identity_problems(storage: Storage, manifest: Manifest) -> Iterator[str]:
    for name, (listed, there) in manifest.identity.differences(read_identity(storage)).items():
        yield f"run.json says {name} is {there}, the manifest says {listed}"


def _pixel_problems(
    by_pixel: Mapping[Pixel, list[Part]], products: tuple[str, ...]
) -> Iterator[str]:
    for pixel, parts in by_pixel.items():
        there = tuple(sorted(product_of(part.key) for part in parts))
        if there != tuple(sorted(products)) or len({part.n_rows for part in parts}) > 1:
            yield (
                f"{pixel} has the parts {[(part.key, part.n_rows) for part in parts]}, expected one"
                " a product"
            )
    ordered = sorted(by_pixel, key=lambda pixel: pixel.index_range)
    for left, right in pairwise(ordered):
        if left.index_range[1] > right.index_range[0]:
            yield f"{left} and {right} overlap"


def _listing_problems(parts: Iterable[Part], sizes: Mapping[str, int]) -> Iterator[str]:
    for part in parts:
        if part.key not in sizes:
            yield f"{part.key} is missing"
        elif sizes[part.key] != part.n_bytes:
            yield f"{part.key} has {sizes[part.key]} bytes, the manifest says {part.n_bytes}"


def _content_problems(
    storage: Storage,
    manifest: Manifest,
    pixels: Iterable[Iterable[Part]],
    sizes: Mapping[str, int],
    *,
    deep: bool,
) -> Iterator[str]:
    """What is wrong inside the parts that have their size, pixel by pixel."""
    whole = [[part for part in parts if sizes.get(part.key) == part.n_bytes] for parts in pixels]
    look = _deep_problems if deep else _shallow_problems
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1) if deep else 16) as threads:
        for found in threads.map(lambda parts: list(look(storage, manifest, parts)), whole):
            yield from found


def _shallow_problems(storage: Storage, manifest: Manifest, parts: list[Part]) -> Iterator[str]:
    for part in parts:
        try:
            with storage.open(part.key) as data, pq.ParquetFile(data) as file:
                yield from _footer_problems(manifest, part, file)
        except (pa.ArrowException, OSError) as error:
            yield f"{part.key} cannot be read: {first_line(error)}"


def _deep_problems(storage: Storage, manifest: Manifest, parts: list[Part]) -> Iterator[str]:
    identities: dict[str, pa.Table] = {}
    for part in parts:
        data = storage.read(part.key)
        if (found := hashlib.sha256(data).hexdigest()) != part.sha256:
            yield f"{part.key} has the sha256 {found}, the manifest says {part.sha256}"
        try:
            with pq.ParquetFile(pa.BufferReader(data)) as file:
                yield from _footer_problems(manifest, part, file)
                rows = file.read(columns=list(IDENTITY_COLUMNS))
        except (pa.ArrowException, OSError) as error:
            yield f"{part.key} cannot be read: {first_line(error)}"
            continue
        yield from _row_problems(part, rows)
        identities[part.key] = rows
    first, *others = identities or [""]
    for other in others:
        for name in IDENTITY_COLUMNS:
            if not identities[first][name].equals(identities[other][name]):
                yield f"{first} and {other} differ in {name}: their rows are not the same sources"


def _footer_problems(manifest: Manifest, part: Part, file: pq.ParquetFile) -> Iterator[str]:
    identity = manifest.identity
    if file.metadata.num_rows != part.n_rows:
        yield f"{part.key} has {file.metadata.num_rows} rows, the manifest says {part.n_rows}"
    is_ours = identity.schema_version == SCHEMA_VERSION  # others' columns are not known here
    expected = product_schema(product_of(part.key), identity.layout)
    if is_ours and not file.schema_arrow.equals(expected):
        yield (
            f"{part.key} has another schema than {product_of(part.key)} of version"
            f" {identity.schema_version}"
        )
    if CONTENT_KEY not in (file.metadata.metadata or {}):
        yield f"{part.key} has no VOParquet metadata: its units are lost"


def _row_problems(part: Part, rows: pa.Table) -> Iterator[str]:
    index = rows["_healpix_29"].to_numpy()
    start, stop = part.pixel.index_range
    if outside := int(np.count_nonzero((index < start) | (index >= stop))):
        yield f"{part.key} has {outside} rows outside {part.pixel}"
    if np.any(np.diff(index) < 0):
        yield f"{part.key} is not sorted by _healpix_29"
    if repeated := rows.num_rows - len(np.unique(rows["source_id"].to_numpy())):
        yield f"{part.key} holds {repeated} sources twice"


def _derived_problems(storage: Storage, manifest: Manifest, *, deep: bool) -> Iterator[str]:
    """What is wrong with the files of the tables that are made of the latents."""
    tables = all_tables(storage, manifest.digest)
    sizes = derived_sizes(storage, tables)
    for name, file in ((name, file) for name, table in tables.items() for file in table.files):
        again = "labels apply --publish" if name == LABELS else "catalog complete"
        remedy = f"delete it and run 'xpscale {again}'"
        n_bytes = sizes.get(file.key)
        if n_bytes is None:
            yield f"{file.key} is missing: run 'xpscale {again}'"
        elif n_bytes != file.n_bytes:
            yield f"{file.key} has {n_bytes} bytes, its record says {file.n_bytes}: {remedy}"
        elif deep and hashlib.sha256(storage.read(file.key)).hexdigest() != file.sha256:
            yield f"{file.key} has another sha256 than its record: {remedy}"


def _hats_problems(storage: Storage, manifest: Manifest) -> Iterator[str]:
    if not storage.can_list:
        if not storage.exists(COLLECTION) or manifest.digest.encode() not in storage.read(
            COLLECTION
        ):
            yield f"{COLLECTION} is missing, or of another version"
        return
    from xpscale.catalog.hats import hats_differences, hats_problems

    labels = {LABELS} & set(all_tables(storage, manifest.digest))
    extensions = (*manifest.identity.products[1:], *labels)
    for difference in hats_differences(storage, manifest):
        yield f"{difference}: 'xpscale catalog complete' repairs it, if it is deleted first"
    for problem in hats_problems(storage, extensions):
        yield f"HATS: {problem}"
