"""What HATS readers need in addition to the parts: a HATS 1.0 collection that lsdb opens.

::

    CATALOG/
        latents/   hats.properties, properties, partition_info.csv, skymap.fits,
                   dataset/_metadata, dataset/_common_metadata
        spectra/   the same
        spectra.properties         how the extension joins
        collection.properties      last: from here on HATS readers see the version

Everything is made from the manifest, never from what lies in the folders; built in a temporary
folder, because hats writes in place; then sent object by object, so it can be written again at any
time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
from hats.catalog.partition_info import PartitionInfo
from hats.io import paths
from hats.io.file_io.file_io import write_parquet_metadata
from hats.io.skymap import write_skymap
from hats.io.validation import is_valid_catalog, is_valid_collection
from hats.pixel_math.healpix_pixel import HealpixPixel

from xpscale.catalog.hats_properties import (
    MANIFEST_FIELD,
    SKYMAP_ORDER,
    collection_properties,
    extension_properties,
    table_properties,
)
from xpscale.catalog.layout import COLLECTION, HATS, hats_key
from xpscale.catalog.votable import stored_schema
from xpscale.errors import NotFoundError, PermanentError
from xpscale.formatting import first_line
from xpscale.sky import INDEX_ORDER
from xpscale.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from xpscale.catalog.manifest import Manifest, Snapshot
    from xpscale.types import Part

__all__ = ["hats_manifest", "hats_problems", "write_hats"]

THREADS = 16

FILES_FIELD = "xpscale_files_sha256"

FILES = (
    "dataset/_common_metadata",
    "dataset/_metadata",
    "hats.properties",
    "partition_info.csv",
    "properties",
    "skymap.fits",
)
"""The files of each product that are not its parts."""


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
    """
    name, products = storage.name, manifest.identity.products
    with tempfile.TemporaryDirectory(prefix="xpscale-") as folder:
        root = Path(folder)
        histogram = _histogram(storage, manifest)
        for product in products:
            _write_product(root, storage, manifest, snapshot, product, histogram)
        for product in products[1:]:
            extension_properties(name, product, manifest.identity).to_properties_file(root)
        digest = {FILES_FIELD: _files_digest(Storage(folder), products)}
        collection_properties(name, manifest, snapshot, digest).to_properties_file(root)
        _send(root, storage, products)


def hats_manifest(storage: Storage, products: tuple[str, ...]) -> str | None:
    """Digest of the manifest that the HATS metadata describe.

    ``None`` if they are not written wholly, or are a mixture of what two commits wrote at once:
    ``collection.properties``, which each writes last, has the digest of all other files.

    Parameters
    ----------
    storage
        The catalogue.
    products
        Its products.
    """
    try:
        text = storage.read(COLLECTION).decode()
        fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        is_whole = fields.get(FILES_FIELD) == _files_digest(storage, products)
    except NotFoundError:
        return None
    return fields.get(MANIFEST_FIELD) if is_whole else None


def _files_digest(storage: Storage, products: tuple[str, ...]) -> str:
    """sha256 over the sha256 of every HATS file but the collection's."""
    keys = [f"{product}/{name}" for product in products for name in FILES]
    keys += [f"{product}.properties" for product in products[1:]]
    return hashlib.sha256(
        b"".join(hashlib.sha256(storage.read(key)).digest() for key in keys)
    ).hexdigest()


def hats_problems(storage: Storage, products: tuple[str, ...]) -> tuple[str, ...]:
    """What hats' own strict validation finds; empty if the collection is valid.

    Parameters
    ----------
    storage
        The catalogue.
    products
        Its products.
    """
    storage.upath.fs.invalidate_cache()  # s3fs remembers listings of before the commit
    with _warnings_of_root_logger() as said:
        try:
            valid = is_valid_collection(storage.upath, strict=True)
            for product in products[1:]:
                valid &= is_valid_catalog((storage / product).upath, strict=True)
        except Exception as error:  # whatever the damage makes hats' libraries raise
            return (*said, f"{type(error).__name__}: {first_line(error)}")
    return () if valid else tuple(said) or ("not a valid HATS collection",)


def _histogram(storage: Storage, manifest: Manifest) -> NDArray[np.int64]:
    """Sources per cell of SKYMAP_ORDER, with shape (12 * 4**8,), counted from the parts' spatial
    index.
    """
    shift = 2 * (INDEX_ORDER - SKYMAP_ORDER)

    def count(part: Part) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        with _open(storage, part.key) as file:
            index = file.read(columns=["_healpix_29"])["_healpix_29"].to_numpy()
        return np.unique(index >> shift, return_counts=True)

    histogram = np.zeros(12 * 4**SKYMAP_ORDER, np.int64)
    with ThreadPoolExecutor(THREADS) as threads:
        for cells, counts in threads.map(count, manifest.of(manifest.identity.products[0])):
            histogram[cells] += counts
    return histogram


def _write_product(
    root: Path,
    storage: Storage,
    manifest: Manifest,
    snapshot: Snapshot,
    product: str,
    histogram: NDArray[np.int64],
) -> None:
    folder, parts = root / product, manifest.of(product)
    (folder / "dataset").mkdir(parents=True)
    with ThreadPoolExecutor(THREADS) as threads:
        footers = list(threads.map(lambda part: _footer(storage, part), parts))
    schema = stored_schema(storage, manifest, product)
    pixels = [HealpixPixel(part.pixel.order, part.pixel.number) for part in parts]
    write_parquet_metadata(
        schema, paths.get_parquet_metadata_pointer(folder), metadata_collector=footers
    )
    write_parquet_metadata(schema, paths.get_common_metadata_pointer(folder))
    PartitionInfo(pixels).write_to_file(catalog_path=folder)
    write_skymap(histogram, folder)
    table_properties(storage.name, product, manifest, snapshot).to_properties_file(folder)


@contextmanager
def _open(storage: Storage, key: str) -> Iterator[pq.ParquetFile]:
    with storage.open(key) as data, pq.ParquetFile(data) as file:
        yield file


def _footer(storage: Storage, part: Part) -> pq.FileMetaData:
    with _open(storage, part.key) as file:
        metadata = file.metadata
    if metadata.num_rows != part.n_rows:
        raise PermanentError(
            f"{storage}/{part.key} has {metadata.num_rows} rows, its manifest says {part.n_rows}",
            "Run 'xpscale catalog check' to see what else changed",
        )
    metadata.set_file_path(part.key.split("/dataset/")[1])
    return metadata


def _send(root: Path, storage: Storage, products: tuple[str, ...]) -> None:
    """Send the files, each whole, over none but those that a commit announced; what readers look at
    first goes last.
    """
    by_product = [(root / product).rglob("*") for product in products]
    tables = [path for paths in by_product for path in paths if path.is_file()]
    tables.sort(key=lambda path: (path.suffix == ".properties", path))
    last = [root / f"{name}.properties" for name in (*products[1:], Path(COLLECTION).stem)]
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in (*tables, *last)}
    sums = {key: hashlib.sha256(data).hexdigest() for key, data in files.items()}
    announced = json.dumps(sums, indent=1).encode()
    key = hats_key(hashlib.sha256(announced).hexdigest())
    if not storage.create(key, announced):
        raise PermanentError(f"{storage}/{key} is not what its name says", "Delete it")

    def is_ours(there: bytes) -> bool:
        digest = hashlib.sha256(there).hexdigest().encode()
        return any(digest in storage.read(record) for record in storage.list(HATS))

    for key, data in files.items():
        storage.replace(key, data, is_ours)


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
