"""A catalogue of latents of sources at given positions, in given partitions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from cdshealpix.nested import vertices
from random_catalog import identity

from xpscale.catalog.commit import build_manifest, commit
from xpscale.catalog.identity import claim
from xpscale.catalog.manifest import Manifest
from xpscale.catalog.sink import ParquetSink
from xpscale.sky import Pixel, healpix_29
from xpscale.storage import Storage
from xpscale.types import TaskReport, TaskStatus

PARTITIONS = (
    *(Pixel(1, number) for number in range(4)),  # of order 0, number 0: at the pole and at RA 0
    *(Pixel(0, number) for number in range(1, 12) if number not in (5, 6)),
    Pixel(2, 5 * 16 + 3),  # alone in a gap
)


def around(pixel: Pixel, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions within some 25 arcsec of the outline of a pixel, many of them at its corners."""
    lon, lat = vertices(np.array([pixel.number], np.uint64), pixel.order, step=64)
    chosen = np.concatenate([np.tile([0, 64, 128, 192], n // 8), rng.integers(0, 256, n // 2)])
    ra, dec = np.asarray(lon.deg)[0][chosen], np.asarray(lat.deg)[0][chosen]
    a, d = np.radians(ra), np.radians(dec)
    at = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], 1)
    at += rng.uniform(-25, 25, at.shape) / 206_265
    at /= np.linalg.norm(at, axis=1, keepdims=True)
    return np.degrees(np.arctan2(at[:, 1], at[:, 0])) % 360, np.degrees(np.arcsin(at[:, 2]))


def latents_at(ra: np.ndarray, dec: np.ndarray, source_id: np.ndarray) -> pa.Table:
    """All columns of latents for sources, sorted by position."""
    index = healpix_29(ra, dec)
    order = np.argsort(index, kind="stable")
    arrays: dict[str, object] = {
        "_healpix_29": index[order],
        "source_id": source_id[order],
        "ra": ra[order],
        "dec": dec[order],
    }
    columns = identity(outputs=("latents",)).layout.columns("latents")
    for number, column in enumerate(columns[4:]):
        values = (arrays["source_id"] % 1000) + number
        arrays[column.name] = pa.array(values).cast(column.type, safe=False)
    return pa.table(arrays)


def publish(
    storage: Storage, table: pa.Table, partitions: tuple[Pixel, ...] = PARTITIONS, **changed: object
) -> Manifest:
    """Publish the rows that lie in partitions."""
    manifest = build_manifest(storage, put_parts(storage, table, partitions, **changed))
    commit(storage, manifest)
    return manifest


def put_parts(
    storage: Storage, table: pa.Table, partitions: tuple[Pixel, ...], **changed: object
) -> list[TaskReport]:
    """Write the rows that lie in partitions, as the tasks of a run do."""
    changed = {"outputs": ("latents",), "n_tasks": len(partitions), **changed}
    who = identity(**changed)
    claim(storage, who)
    sink, index, reports = ParquetSink(storage, who.layout), table["_healpix_29"].to_numpy(), []
    for pixel in partitions:
        start, stop = np.searchsorted(index, pixel.index_range)
        rows = table.slice(start, stop - start)
        parts = sink.put(pixel, rows)
        status = TaskStatus.WRITTEN if parts else TaskStatus.EMPTY
        n_rows = rows.num_rows
        reports.append(TaskReport(pixel.key, status, parts, n_in=n_rows, n_out=n_rows))
    return reports
