"""Object keys of a derived catalogue, as pure functions: the only place that spells them.

::

    CATALOG/
        README.md, index.html, skymap.png      what it is, for people and for dataset hubs
        collection.properties      HATS collection: the last object that a commit shows to hats
        latents/                   the main catalogue
            hats.properties ...
            per_partition_statistics.parquet   least and largest value of each column
            dataset/Norder=5/Dir=0/Npix=123.parquet
        spectra/                   its extension, with the same objects
        spectra.properties         how the extension joins
        labels/, labels.properties another one, if somebody has published labels of the latents
        latents_10arcs/            margin: by partition, the rows of others within 10 arcsec of it
            dataset/Norder=5/Dir=0/Npix=123.parquet
        latents_source_id/         index: which partition holds an identifier
            dataset/index/part.0.parquet       source_id (sorted), Norder, Npix
        _xpscale/
            run.json               what this catalogue is made of; claimed before the first part
            model/                 the model that made it
            ledger/Norder=5/Npix=123.json      one report a finished task
            failed/Norder=5/Npix=123.json      the last failure of a task that has not finished
            manifests/<sha256>.json            every part with rows, bytes, sha256
            hats/<sha256>.json         sha256 of the HATS files that a commit was about to write
            tables/latents_source_id/<sha256>.json     the index of the version whose manifest has
                                       this name: its files with bytes, sha256, first and last
                                       identifier; there once all files are
            tables/latents_10arcs/<sha256>.json        the same of the margin ...
            tables/latents_statistics/<sha256>.json    ... of the statistics
            tables/labels/<sha256>.json                ... and of the labels
            snapshots/000001.json              published versions; the highest number is current
"""

from __future__ import annotations

import re

from xpscale.sky import Pixel

__all__ = [
    "COLLECTION",
    "DERIVED",
    "HATS",
    "INDEX",
    "LABELS",
    "LEDGER",
    "MANIFESTS",
    "MARGIN",
    "MODEL",
    "PAGE",
    "PICTURE",
    "PRODUCTS",
    "README",
    "RUN",
    "SNAPSHOTS",
    "STATISTICS",
    "STATISTICS_FILE",
    "TABLES",
    "hats_key",
    "index_part_key",
    "kind_of",
    "manifest_key",
    "part_key",
    "pixel_of",
    "product_of",
    "snapshot_key",
    "table_key",
]

PRODUCTS = ("latents", "spectra")
"""The main catalogue, then its extension, which a run of latents alone does not have."""

STATISTICS = "latents_statistics"
MARGIN = "latents_10arcs"
INDEX = "latents_source_id"
DERIVED = (STATISTICS, MARGIN, INDEX)
"""Tables made of a version's latents; the last two are called as hats-import calls such."""

LABELS = "labels"
"""An extension that is made of a version's latents, and of labels that were fitted to them."""

STATISTICS_FILE = "latents/per_partition_statistics.parquet"
README, PAGE, PICTURE = "README.md", "index.html", "skymap.png"

COLLECTION = "collection.properties"
PRIVATE = "_xpscale"
RUN = f"{PRIVATE}/run.json"
MODEL = f"{PRIVATE}/model"
LEDGER = PRIVATE
MANIFESTS = f"{PRIVATE}/manifests"
SNAPSHOTS = f"{PRIVATE}/snapshots"
HATS = f"{PRIVATE}/hats"
TABLES = f"{PRIVATE}/tables"

_DIGEST = "[0-9a-f]{64}"
_LEAF, _TASK = r"Norder=\d+/Dir=\d+/Npix=\d+\.parquet", r"Norder=\d+/Npix=\d+\.json"
_KINDS = {
    "part": rf"(?:{'|'.join(PRODUCTS)})/dataset/{_LEAF}",
    "derived": (
        rf"(?:{MARGIN}|{LABELS})/dataset/{_LEAF}|{INDEX}/dataset/index/part\.\d+\.parquet"
        rf"|{STATISTICS_FILE}"
    ),
    "record": rf"{TABLES}/(?:{'|'.join((*DERIVED, LABELS))})/{_DIGEST}\.json",
    "metadata": (
        rf"(?:{'|'.join((*PRODUCTS, MARGIN, INDEX, LABELS))})/"
        r"(?:dataset/(?:_metadata|_common_metadata)|(?:hats\.)?properties|partition_info\.csv"
        r"|skymap(?:\.\d)?\.fits|moc\.fits|data_thumbnail\.parquet)"
        rf"|(?:collection|{'|'.join((*PRODUCTS, LABELS))})\.properties|{README}|{PAGE}|{PICTURE}"
    ),
    "announcement": rf"{HATS}/{_DIGEST}\.json",
    "manifest": rf"{MANIFESTS}/{_DIGEST}\.json",
    "report": rf"{PRIVATE}/ledger/{_TASK}",
    "failure": rf"{PRIVATE}/failed/{_TASK}",
    "other": (
        rf"{RUN}|{SNAPSHOTS}/\d{{6,}}\.json|{MODEL}/(?:(?:model|decoder)\.safetensors|card\.json)"
    ),
}
_OURS = re.compile("|".join(f"(?P<{kind}>{keys})" for kind, keys in _KINDS.items()))

DIRECTORY_SIZE = 10_000  # HATS groups pixels in folders of ten thousand


def part_key(product: str, pixel: Pixel) -> str:
    """``latents/dataset/Norder=5/Dir=10000/Npix=12345.parquet``.

    Parameters
    ----------
    product
        ``"latents"`` or ``"spectra"``.
    pixel
        The pixel of the part's rows.
    """
    directory = pixel.number // DIRECTORY_SIZE * DIRECTORY_SIZE
    return f"{product}/dataset/Norder={pixel.order}/Dir={directory}/Npix={pixel.number}.parquet"


def pixel_of(key: str) -> Pixel:
    """The pixel in the key of a part, or of a file of the margin."""
    order, _, number = key.removesuffix(".parquet").rsplit("/", 3)[1:]
    return Pixel(int(order.removeprefix("Norder=")), int(number.removeprefix("Npix=")))


def index_part_key(number: int) -> str:
    """``latents_source_id/dataset/index/part.7.parquet``."""
    return f"{INDEX}/dataset/index/part.{number}.parquet"


def table_key(table: str, digest: str) -> str:
    """``_xpscale/tables/latents_source_id/<sha256>.json``.

    Parameters
    ----------
    table
        One of `DERIVED`, or `LABELS`.
    digest
        Of the version's manifest.
    """
    return f"{TABLES}/{table}/{digest}.json"


def product_of(key: str) -> str:
    """The product a part's key belongs to."""
    return key.split("/", 1)[0]


def manifest_key(digest: str) -> str:
    """``_xpscale/manifests/<sha256>.json``."""
    return f"{MANIFESTS}/{digest}.json"


def hats_key(digest: str) -> str:
    """``_xpscale/hats/<sha256>.json``."""
    return f"{HATS}/{digest}.json"


def snapshot_key(number: int) -> str:
    """``_xpscale/snapshots/000012.json``."""
    return f"{SNAPSHOTS}/{number:06d}.json"


def kind_of(key: str) -> str:
    """What an object of ours with this key is, or what a killed process left of one: a key of
    ``_KINDS``; empty if it is not ours: such are never removed from a catalogue.
    """
    found = _OURS.fullmatch(re.sub(r"#\d+$", "", key))
    return found.lastgroup or "" if found else ""
