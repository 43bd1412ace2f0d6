"""A catalogue of a few pixels with random content, written through the real sink."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from cdshealpix.nested import healpix_to_lonlat

from xpscale.catalog.identity import claim
from xpscale.catalog.manifest import RunIdentity
from xpscale.catalog.sink import ParquetSink
from xpscale.release import DR3
from xpscale.schema import OUTPUTS, SCHEMA_VERSION, TableLayout
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.types import TaskReport, TaskStatus

L, C = 6, 110
LAYOUT = TableLayout(L, C, DR3)
PIXELS = (Pixel(2, 30), Pixel(3, 200), Pixel(3, 201), Pixel(5, 12287))
ROWS = 400


def identity(n_tasks: int = len(PIXELS), **changed: object) -> RunIdentity:
    fields: dict = {
        "input_digest": "in-1",
        "model_id": "model-1",
        "n_latents": L,
        "n_bp": 55,
        "n_rp": 55,
        "release": "Gaia DR3",
        "n_tasks": n_tasks,
        "outputs": OUTPUTS,
        "schema_version": SCHEMA_VERSION,
        "software": "xpscale 0.1.0",
    }
    return RunIdentity(**{**fields, **changed})


def random_table(pixel: Pixel, n: int = ROWS, seed: int = 0, n_coefficients: int = C) -> pa.Table:
    """All columns of both products for ``n`` sources inside a pixel, sorted by position."""
    rng = np.random.default_rng([seed, pixel.order, pixel.number])
    index = np.sort(rng.integers(*pixel.index_range, n))
    lon, lat = healpix_to_lonlat(index, 29)
    arrays: dict[str, object] = {
        "_healpix_29": index,
        "source_id": (index >> 34 << 35) + np.arange(n) + 10_000 * seed,
        "ra": np.asarray(lon.deg),
        "dec": np.asarray(lat.deg),
    }
    layout = TableLayout(L, n_coefficients, DR3)
    for column in [*layout.columns("latents"), *layout.columns("spectra")]:
        field = column.field
        if field.name in arrays:
            continue
        if pa.types.is_fixed_size_list(field.type):
            values = pa.array(rng.lognormal(size=n * n_coefficients).astype(np.float32))
            arrays[field.name] = pa.FixedSizeListArray.from_arrays(values, type=field.type)
        else:
            arrays[field.name] = pa.array(rng.normal(100, 10, n)).cast(field.type, safe=False)
    return pa.table(arrays)


def fill(storage: Storage, who: RunIdentity | None = None, seed: int = 0) -> list[TaskReport]:
    """Claim a place and write all pixels; the reports, of which one also rejected a source."""
    who = who or identity()
    claim(storage, who)
    sink = ParquetSink(storage, who.layout)
    return [
        TaskReport(
            pixel.key,
            TaskStatus.WRITTEN,
            sink.put(pixel, random_table(pixel, seed=seed)),
            n_in=ROWS + (number == 0),
            n_out=ROWS,
            n_rejected={"missing BP": 1} if number == 0 else {},
        )
        for number, pixel in enumerate(PIXELS)
    ]
