"""Millions of sources through two Dask workers, latents only: their rate, and their memory, flat
and below what the plan said.

The store's partitions are full (262,144 rows) and hold the same spectra at other positions under
other identifiers.  Workers run all partitions once to warm up, then ``$XPSCALE_BENCH_ROUNDS`` (3)
times.  ``$XPSCALE_BENCH_MILLIONS`` (1,10) says how many sources; ten million take 9 GB of disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

import xpscale as xps
from tests.benchmarks.inference import LATENTS, infer, random_model, timed
from xpscale.inference.run import RunReport
from xpscale.inference.task import TASKS_PER_WORKER
from xpscale.release import DR3
from xpscale.runtime.executors.dask import DaskExecutor, local_cluster
from xpscale.sky import MAX_ORDER, SOURCE_ID_SHIFT, Pixel
from xpscale.spectra import SpectraBatch
from xpscale.storage import Storage
from xpscale.store.partitions import DEFAULT_MAX_ROWS
from xpscale.store.reader import SpectraStore
from xpscale.store.writer import seal_store, write_partition
from xpscale.testing.sky_density import pixel_centers_deg
from xpscale.testing.universe import Universe
from xpscale.types import Part

MILLIONS = os.environ.get("XPSCALE_BENCH_MILLIONS", "1,10")
ORDER = 2  # 192 partitions
POSITION_ORDER = 20


def main() -> None:
    """Print the table."""
    print(
        f"{'sources':>12} {'sources/s':>10} {'least':>10} {'most':>10} {'peak of a worker MB':>20}"
        f" {'projected MB':>13}"
    )
    for millions in map(float, MILLIONS.split(",")):
        with tempfile.TemporaryDirectory(prefix="xpscale-bench-") as folder:
            store = tiled_store(
                Storage(f"{folder}/store"), round(millions * 1e6 / DEFAULT_MAX_ROWS)
            )
            rates, report = _measure(store, Path(folder))
        memory = (
            f"{report.peak_memory / 1e6:20,.0f} {report.plan.projection.worker_memory / 1e6:13,.0f}"
        )
        print(
            f"{store.n_rows:12,} {median(rates):10,.0f} {min(rates):10,.0f} {max(rates):10,.0f}"
            f" {memory}",
            flush=True,
        )


def _measure(store: SpectraStore, folder: Path) -> tuple[list[float], RunReport]:
    """Sources a second of every round, and what the last one reported."""
    model = random_model(store, store.partitions[:1])
    reports = []
    with local_cluster(2, TASKS_PER_WORKER) as client:

        def run(out: Path) -> None:
            reports.append(infer(store, model, out, DaskExecutor(client), LATENTS))

        run(folder / "warm-up")
        shutil.rmtree(folder / "warm-up")
        seconds = timed({"xpscale": run}, folder)["xpscale"]
    return [store.n_rows / wall for wall, _ in seconds], reports[-1]


def tiled_store(storage: Storage, n_partitions: int) -> SpectraStore:
    """A store of full partitions with the same spectra."""
    batch = next(Universe(DEFAULT_MAX_ROWS, seed=1).batches(DEFAULT_MAX_ROWS))

    def write(number: int) -> list[Part]:
        pixel = Pixel(ORDER, number)
        return list(write_partition(storage, pixel, moved(batch, pixel), DR3))

    with ThreadPoolExecutor() as threads:
        parts = [
            part for written in threads.map(write, range(max(n_partitions, 1))) for part in written
        ]
    origin = {"origin": "tiles of a universe"}
    seal_store(storage, parts, {}, origin, bands=batch.bands, release=DR3)
    return xps.open_store(storage)


def moved(batch: SpectraBatch, pixel: Pixel) -> SpectraBatch:
    """The same spectra with positions in a pixel."""
    index = positions(pixel, len(batch))
    ra, dec = pixel_centers_deg(index, POSITION_ORDER)
    source_id = (index >> 2 * (POSITION_ORDER - MAX_ORDER) << SOURCE_ID_SHIFT) + np.arange(
        len(batch)
    )
    return replace(batch, source_id=source_id, ra=ra, dec=dec)


def positions(pixel: Pixel, n: int) -> NDArray[np.int64]:
    """Pixels of `POSITION_ORDER` inside a larger one, ascending, with shape (n,)."""
    return np.sort(np.random.default_rng(pixel.number).integers(*pixel.range_at(POSITION_ORDER), n))


if __name__ == "__main__":
    main()
