"""Object keys of a derived catalogue, as pure functions: the only place that spells them.

::

    CATALOG/
        collection.properties      HATS collection: the last object that a commit shows to hats
        latents/                   the main catalogue
            hats.properties ...
            dataset/Norder=5/Dir=0/Npix=123.parquet
        spectra/                   its extension, with the same objects
        spectra.properties         how the extension joins
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
            tables/latents_10arcs/<sha256>.json        the same of the margin
            snapshots/000001.json              published versions; the highest number is current
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xpscale.sky import Pixel

__all__ = [
    "COLLECTION",
    "HATS",
    "INDEX",
    "LEDGER",
    "MANIFESTS",
    "MARGIN",
    "MODEL",
    "PRODUCTS",
    "RUN",
    "SNAPSHOTS",
    "hats_key",
    "index_part_key",
    "is_our_name",
    "manifest_key",
    "part_key",
    "product_of",
    "snapshot_key",
    "table_key",
]

PRODUCTS = ("latents", "spectra")
"""The main catalogue, then its extension, which a run of latents alone does not have."""

MARGIN = "latents_10arcs"
INDEX = "latents_source_id"
"""Tables made of a version's latents, called as hats-import calls such."""

COLLECTION = "collection.properties"
PRIVATE = "_xpscale"
RUN = f"{PRIVATE}/run.json"
MODEL = f"{PRIVATE}/model"
LEDGER = PRIVATE
MANIFESTS = f"{PRIVATE}/manifests"
SNAPSHOTS = f"{PRIVATE}/snapshots"
HATS = f"{PRIVATE}/hats"
TABLES = f"{PRIVATE}/tables"

_OURS = re.compile(
    rf"(?:{'|'.join((*PRODUCTS, MARGIN))})/(?:dataset/(?:Norder=\d+/Dir=\d+/Npix=\d+\.parquet"
    r"|_metadata|_common_metadata)|(?:hats\.)?properties|partition_info\.csv|skymap\.fits)"
    rf"|{INDEX}/dataset/index/part\.\d+\.parquet"
    rf"|(?:collection|{'|'.join(PRODUCTS)})\.properties"
    rf"|{PRIVATE}/(?:ledger|failed)/Norder=\d+/Npix=\d+\.json|{PRIVATE}/run\.json"
    rf"|(?:{MANIFESTS}|{HATS}|{TABLES}/(?:{MARGIN}|{INDEX}))/[0-9a-f]{{64}}\.json"
    rf"|{SNAPSHOTS}/\d{{6,}}\.json"
    rf"|{MODEL}/(?:(?:model|decoder)\.safetensors|card\.json)"
)

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


def index_part_key(number: int) -> str:
    """``latents_source_id/dataset/index/part.7.parquet``."""
    return f"{INDEX}/dataset/index/part.{number}.parquet"


def table_key(table: str, digest: str) -> str:
    """``_xpscale/tables/latents_source_id/<sha256>.json``.

    Parameters
    ----------
    table
        `MARGIN` or `INDEX`.
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


def is_our_name(key: str) -> bool:
    """Whether an object of ours has this key, or what a killed process left of one: no other is
    ever removed from a catalogue.
    """
    return _OURS.fullmatch(re.sub(r"#\d+$", "", key)) is not None
