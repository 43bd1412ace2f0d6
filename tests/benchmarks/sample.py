"""Samples of all of DR3, in one pass: time, and the memory of the process that merges what two
workers count.

The rows are stand-ins: as many as DR3 has spectra, in DR3's partitions, each with a position and an
identifier of its own, the spectra those of a synthetic universe over and over; nothing is read from
a disk.  The pass, its cells, keys and merges are those of ``xpscale sample``.  *Bound* is what
``design/009-samples.md`` allows; *peak* is the resident set beyond that before the pass.  Counts
are compared with the rows that were made, and each rule's weights with what they stand for.

``$XPSCALE_BENCH_SOURCES`` (219,197,643) says of how many sources.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.inference_scale import POSITION_ORDER, moved, positions
from tests.benchmarks.scale import N_SOURCES, dr3_partitions
from xpscale.bands import Bands
from xpscale.formatting import format_bytes
from xpscale.release import DR3, Release
from xpscale.runtime.attempt import peak_memory
from xpscale.runtime.executors.dask import DaskExecutor, local_cluster
from xpscale.sampling.cells import Cells, ColourMagnitudeCells, SkyCells
from xpscale.sampling.draw import draw_from_sketch
from xpscale.sampling.hashing import uniform_hash
from xpscale.sampling.held_out import HeldOutSplit
from xpscale.sampling.rules import RULES
from xpscale.sampling.sketch import KEPT
from xpscale.sampling.sketch_pass import OVERSAMPLING, sketch_store
from xpscale.spectra import SpectraBatch, SpectraReader
from xpscale.store.partitions import DEFAULT_MAX_ROWS
from xpscale.testing.starlight import BANDS
from xpscale.testing.universe import Universe
from xpscale.types import Partition

N_ROWS = int(os.environ.get("XPSCALE_BENCH_SOURCES", N_SOURCES))
DRAWS: tuple[tuple[Cells, int], ...] = (
    (ColourMagnitudeCells(), 500_000),
    (SkyCells(), 500_000),
    (ColourMagnitudeCells(), 5_000_000),
)
SPLIT = HeldOutSplit(0.1)


@dataclass(frozen=True)
class Tiles(SpectraReader):
    """Partitions of DR3 whose rows are made when they are asked for."""

    partitions: tuple[Partition, ...]
    bands: Bands = BANDS
    release: Release = DR3
    digest: str = "tiles of a universe"

    def read(self, partition: Partition, *, errors: bool = True) -> SpectraBatch:
        """The rows of a partition."""
        return moved(_spectra().take(slice(0, partition.n_rows)), partition.pixel)


@lru_cache(maxsize=1)
def _spectra() -> SpectraBatch:
    """Spectra of all the sky, in random order."""
    batch = next(Universe(DEFAULT_MAX_ROWS, seed=1).batches(DEFAULT_MAX_ROWS))
    return batch.take(np.random.default_rng(0).permutation(len(batch)))


def main() -> None:
    """Print the tables."""
    for cells, n in DRAWS:
        with ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn")
        ) as process:  # its peak is its own
            print(process.submit(_passed, cells, n).result(), flush=True)


def _passed(cells: Cells, n: int) -> str:
    """What a pass took, and the draws by every rule."""
    reader = Tiles(_partitions())
    n_rows = sum(partition.n_rows for partition in reader.partitions)
    with local_cluster(2) as client:
        before, clock = peak_memory(), time.perf_counter()
        sketch = sketch_store(reader, cells, SPLIT, n, 0, executor=DaskExecutor(client))
        seconds, peak = time.perf_counter() - clock, peak_memory() - before
    counts = _counts_on_the_sky(reader)
    assert sketch.n_available == counts.sum()
    assert isinstance(cells, ColourMagnitudeCells) or np.array_equal(sketch.counts, counts)
    bound = 16 * cells.n_cells + 4 * KEPT.itemsize * int((OVERSAMPLING + 1) * n + cells.n_cells)
    lines = [
        f"{n:,} of {n_rows:,} by {cells.by}: {seconds:.0f} s, {n_rows / seconds / 1e6:.2f} million"
        f" a second; {len(sketch.kept):,} kept, peak {format_bytes(peak)},"
        f" bound {format_bytes(bound)}"
    ]
    for rule in RULES:
        clock = time.perf_counter()
        options = {"min_quantile": 0.3} if rule == "cut" else {}
        sample = draw_from_sketch(sketch, reader, n, rule, 0, SPLIT, cells, **options)
        drawn_from = sketch.counts[sketch.counts >= max(sample.plan.min_count, 1)].sum()
        lines.append(
            f"    {rule:10} {len(sample):,} in {time.perf_counter() - clock:.1f} s; their weights"
            f" add up to {sample.weight.sum() / drawn_from:.4f} of what they stand for,"
            f" {sample.plan.n_limited:,} cells limited"
        )
    return "\n".join(lines)


def _partitions() -> tuple[Partition, ...]:
    """DR3's, or as many of them, from all over the sky, as hold `N_ROWS`."""
    partitions = dr3_partitions()
    share = N_ROWS / N_SOURCES
    return tuple(p for i, p in enumerate(partitions) if int((i + 1) * share) > int(i * share))


def _counts_on_the_sky(reader: Tiles) -> NDArray[np.int64]:
    """Rows in every cell of `SkyCells` outside the held-out pixels, by integer arithmetic alone."""
    shift = 2 * (POSITION_ORDER - SkyCells().order)
    counts = np.zeros(SkyCells().n_cells, np.int64)
    for partition in reader.partitions:
        counts += np.bincount(
            positions(partition.pixel, partition.n_rows) >> shift, minlength=len(counts)
        )
    pixels = np.arange(len(counts)) >> 2 * (SkyCells().order - SPLIT.order)
    return np.where(uniform_hash(pixels, SPLIT.seed) < SPLIT.fraction, 0, counts)


if __name__ == "__main__":
    main()
