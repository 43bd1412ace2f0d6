"""Write one partition of a spectra store, whole; seal the store when all are there.

A partition is built in memory as Zarr, hashed, and put object by object with a conditional PUT;
equal rows give equal bytes, so writing it again after a crash changes nothing.  The root group is
written last: until then a store cannot be opened, so that no part of it is taken for the whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.bands import Bands
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.release import Release
from xpscale.sky import Pixel, healpix_29
from xpscale.spectra import SpectraBatch
from xpscale.storage import Storage
from xpscale.store.layout import (
    ARRAYS,
    CHUNK_ROWS,
    COMPANION_ARRAYS,
    CORRELATION_CHUNK_ROWS,
    CORRELATIONS,
    FORMAT,
    FORMAT_VERSION,
    PARTITIONS,
    REPORT,
    ArraySpec,
)
from xpscale.types import Part

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

__all__ = [
    "create_own",
    "position_order",
    "seal_store",
    "sort_by_position",
    "table_digest",
    "write_partition",
]


def sort_by_position(batch: SpectraBatch) -> SpectraBatch:
    """The batch sorted by ``_healpix_29`` of its positions, then by ``source_id``."""
    return batch.take(position_order(batch.ra, batch.dec, batch.source_id))


def position_order(
    ra: NDArray[np.float64], dec: NDArray[np.float64], source_id: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Row numbers in the order of ``_healpix_29``, then ``source_id``, with shape (N,).

    Parameters
    ----------
    ra, dec
        Degrees, each with shape (N,).
    source_id
        Identifiers, with shape (N,).
    """
    return np.lexsort((source_id, healpix_29(ra, dec)))


def write_partition(
    store: Storage,
    pixel: Pixel,
    batch: SpectraBatch,
    position: str,
    correlations: Mapping[str, NDArray[np.float32]] | None = None,
) -> tuple[Part, ...]:
    """Write the rows of one pixel.

    Parameters
    ----------
    store
        The store's root.
    pixel
        The partition's pixel; every row must lie in it.
    batch
        Its rows with errors, sorted by `sort_by_position`.
    position
        What their positions are, from `Release.position_text`.
    correlations
        Arrays of `xpscale.store.layout.CORRELATIONS` for the same rows, by name, if they are kept.

    Returns
    -------
    tuple of Part
        Every object written, sorted by key.

    Raises
    ------
    InvalidInputError
        Rows are unsorted, lie outside the pixel, or have no errors.
    ConflictError
        Another partition is there.
    """
    index = healpix_29(batch.ra, batch.dec)
    low, high = pixel.index_range
    if len(index) == 0 or index[0] < low or index[-1] >= high or np.any(np.diff(index) < 0):
        raise InvalidInputError(f"the rows for {pixel} are empty, unsorted or reach outside it")
    parts = []
    for key, data in sorted(_zarr_objects(pixel, batch, position, correlations or {}).items()):
        create_own(store, key, data)
        parts.append(Part(pixel, key, len(batch), len(data), hashlib.sha256(data).hexdigest()))
    return tuple(parts)


def create_own(store: Storage, key: str, data: bytes | memoryview) -> None:
    """Write an object of a store; the same bytes again, after a crash, change nothing.

    Parameters
    ----------
    store
        The store's root.
    key, data
        The object, and what it shall hold.

    Raises
    ------
    ConflictError
        Something else is there.
    """
    if not store.create(key, data):
        raise ConflictError(
            f"{store.url}/{key} is there already with other content",
            "Write to a new store, or remove this one",
        )


def _zarr_objects(
    pixel: Pixel,
    batch: SpectraBatch,
    position: str,
    correlations: Mapping[str, NDArray[np.float32]],
) -> dict[str, bytes]:
    """Key and bytes of every Zarr object of a partition."""
    import zarr
    from zarr.storage import MemoryStore

    memory = MemoryStore()
    group = zarr.create_group(
        memory, path=pixel.key, attributes={"order": pixel.order, "pixel": pixel.number}
    )
    more = {**correlations, **batch.companions}
    extra = [spec for spec in (*CORRELATIONS, *COMPANION_ARRAYS.values()) if spec.name in more]
    for spec in (*ARRAYS, *extra):
        values = more.get(spec.name, getattr(batch, spec.name, None))
        if values is None:
            raise InvalidInputError(f"the rows for {pixel} have no {spec.name}")
        most = CORRELATION_CHUNK_ROWS if spec in CORRELATIONS else CHUNK_ROWS
        # a chunk is compressed with its padding: a partition of few rows would pay for thousands
        _add_array(group, spec, values, min(most, len(batch)), position)
    return {
        key: buffer.to_bytes()
        for key, buffer in memory._store_dict.items()
        if key.startswith(f"{pixel.key}/")
    }


def _add_array(
    group: zarr.Group, spec: ArraySpec, values: NDArray[Any], chunk_rows: int, position: str
) -> None:
    from zarr.codecs import BloscCodec, BloscShuffle

    # a shard is a whole number of chunks; rows beyond the array's end are never encoded
    shard_rows = -(-len(values) // chunk_rows) * chunk_rows
    array = group.create_array(
        spec.name,
        shape=values.shape,
        dtype=spec.dtype,
        chunks=(chunk_rows, *values.shape[1:]),
        shards=(shard_rows, *values.shape[1:]),
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle=BloscShuffle.shuffle),
        dimension_names=spec.dimensions,
        attributes={
            "units": spec.unit,
            "description": spec.description.format(position=position),
        },
    )
    array[...] = values


def seal_store(
    store: Storage,
    parts: Iterable[Part],
    report: Mapping[str, Any],
    attributes: Mapping[str, Any],
    *,
    bands: Bands,
    release: Release,
) -> None:
    """Finish a store: write its table of partitions, its report, and last the root group.

    Parameters
    ----------
    store
        The store's root.
    parts
        Every object of every partition.
    report
        Rows read, written and rejected; kept as ``_xpscale/report.json``.
    attributes
        Provenance added to the root group's attributes (origin, digests); JSON values.
    bands
        The numbers of BP and RP coefficients of a source.
    release
        The data release that the spectra are of.
    """
    table = _partition_table(parts)
    position = release.position_text(bool(attributes.get("pixel_positions")))
    create_own(store, PARTITIONS, (json.dumps(table, indent=0) + "\n").encode())
    create_own(store, REPORT, (json.dumps(report, indent=1, sort_keys=True) + "\n").encode())
    for order in sorted({row["order"] for row in table}):
        create_own(store, f"Norder={order}/zarr.json", _group_json({}))
    create_own(
        store,
        "zarr.json",
        _group_json(
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "n_rows": sum(row["n_rows"] for row in table),
                "n_partitions": len(table),
                "digest": table_digest(table),
                "coefficient_unit": "electron.s**-1",
                "position": f"{position}, degrees",
                "partitioning": "HEALPix NESTED, by position; rows sorted by the order-29 index",
                **attributes,
                "n_bp": bands.n_bp,
                "n_coefficients": bands.n_coefficients,
                "release": release.name,
                "credit": release.credit,
            }
        ),
    )


def _partition_table(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """The rows of ``_xpscale/partitions.json``: one a partition, with its objects."""
    rows: dict[Pixel, dict[str, Any]] = {}
    for part in sorted(parts, key=lambda part: part.key):
        row = rows.setdefault(
            part.pixel,
            {
                "order": part.pixel.order,
                "pixel": part.pixel.number,
                "n_rows": part.n_rows,
                "objects": {},
            },
        )
        row["objects"][part.key] = [part.n_bytes, part.sha256]
    return [rows[pixel] for pixel in sorted(rows, key=lambda pixel: pixel.index_range)]


def table_digest(table: list[dict[str, Any]]) -> str:
    """Content hash of a store: of its table of partitions, which holds the sha256 of every
    object.
    """
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _group_json(attributes: Mapping[str, Any]) -> bytes:
    return json.dumps(
        {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)},
        indent=1,
        sort_keys=True,
    ).encode()
