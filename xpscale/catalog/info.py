"""What a catalogue holds, from its manifest and the record of its labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from xpscale.catalog.derived_tables import read_table
from xpscale.catalog.layout import LABELS
from xpscale.catalog.manifest import Quarantined
from xpscale.catalog.snapshots import current, read_manifest
from xpscale.storage import Storage

__all__ = ["CatalogInfo", "catalog_info"]


@dataclass(frozen=True, slots=True)
class CatalogInfo:
    """The current version in numbers: rows, parts by HEALPix order, bytes by product, area in
    square degrees.
    """

    catalog: str
    snapshot: int
    created: str
    message: str
    model_id: str
    input_digest: str
    software: str
    release: str
    n_bp: int
    n_rp: int
    n_latents: int
    n_coefficients: int
    n_rows: int
    n_in: int
    n_rejected: Mapping[str, int]
    quarantined: tuple[Quarantined, ...]
    n_partitions: int
    partitions_by_order: Mapping[int, int]
    n_bytes: Mapping[str, int]
    area_sq_deg: float

    def to_json(self) -> str:
        """The same as JSON."""
        return json.dumps(asdict(self), indent=1)


def catalog_info(storage: Storage) -> CatalogInfo:
    """The current version of a catalogue in numbers; no part is read."""
    snapshot = current(storage)
    manifest = read_manifest(storage, snapshot)
    labels = read_table(storage, LABELS, manifest.digest)
    identity = manifest.identity
    pixels = [part.pixel for part in manifest.of(identity.products[0])]
    return CatalogInfo(
        catalog=str(storage),
        snapshot=snapshot.number,
        created=snapshot.created,
        message=snapshot.message,
        model_id=identity.model_id,
        input_digest=identity.input_digest,
        software=identity.software,
        release=identity.release,
        n_bp=identity.n_bp,
        n_rp=identity.n_rp,
        n_latents=identity.n_latents,
        n_coefficients=identity.n_coefficients,
        n_rows=manifest.n_out,
        n_in=manifest.n_in,
        n_rejected=manifest.n_rejected,
        quarantined=manifest.quarantined,
        n_partitions=len(pixels),
        partitions_by_order=dict(sorted(Counter(pixel.order for pixel in pixels).items())),
        n_bytes={
            product: sum(part.n_bytes for part in manifest.of(product))
            for product in identity.products
        }
        | ({LABELS: labels.n_bytes} if labels else {}),
        area_sq_deg=round(sum(pixel.area_sq_deg for pixel in pixels), 3),
    )
