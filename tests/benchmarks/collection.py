"""Time and size of a commit, and of what completes the collection, by number of partitions.

Sources are spread evenly over the sky; the parts are written through the sink, which is not
counted.  ``$XPSCALE_BENCH_ORDER`` (4): 12 * 4**k partitions.  ``$XPSCALE_BENCH_ROWS`` (500): rows
of each.  Or with a catalogue's address: a copy of that is completed."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xpscale.catalog.commit import build_manifest, commit
from xpscale.catalog.layout import kind_of
from xpscale.catalog.snapshots import current, read_manifest
from xpscale.formatting import format_bytes
from xpscale.inference.complete import complete
from xpscale.runtime.attempt import peak_memory
from xpscale.runtime.events import RunEnded
from xpscale.sky import Pixel
from xpscale.storage import Storage

sys.path.append(str(Path(__file__).parents[1] / "catalog"))
from placed_catalog import latents_at, put_parts

ORDER = int(os.environ.get("XPSCALE_BENCH_ORDER", "4"))
ROWS = int(os.environ.get("XPSCALE_BENCH_ROWS", "500"))


@dataclass
class Times:
    """Seconds of each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, event: Any) -> None:
        if isinstance(event, RunEnded):
            self.seconds[event.stage] = event.wall_s


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    clock = time.perf_counter()
    function()
    return time.perf_counter() - clock


def random_sky(storage: Storage) -> Any:
    """The manifest of a catalogue that is to be committed."""
    rng, n_pixels = np.random.default_rng(0), 12 * 4**ORDER
    n_rows = ROWS * n_pixels
    ra, dec = rng.uniform(0, 360, n_rows), np.degrees(np.arcsin(rng.uniform(-1, 1, n_rows)))
    table = latents_at(ra, dec, np.arange(n_rows))
    index = table["_healpix_29"].to_numpy()
    place = table.column_names.index("source_id")
    table = table.set_column(place, "source_id", [(index >> 34 << 35) + np.arange(n_rows)])
    pixels = tuple(Pixel(ORDER, number) for number in range(n_pixels))
    return build_manifest(storage, put_parts(storage, table, pixels))


def main() -> None:
    """Print a row of the table in the design note."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage(f"{folder}/catalog")
        if len(sys.argv) > 1 and Path(sys.argv[-1]).is_dir():
            shutil.copytree(sys.argv[-1], storage.url)
            manifest = read_manifest(storage, current(storage))
            committed = float("nan")
        else:
            manifest = random_sky(storage)
            committed = timed(lambda: commit(storage, manifest))
        times = Times()
        completed = timed(lambda: complete(storage, callbacks=[times]))
        sizes: dict[str, int] = {}
        for key, n_bytes in storage.list().items():
            name = key.split("/")[0] if kind_of(key) == "derived" else kind_of(key)
            sizes[name] = sizes.get(name, 0) + n_bytes
        print(f"{len(manifest.of('latents')):,} partitions, {manifest.n_out:,} sources")
        print(f"commit {committed:.1f} s, complete {completed:.1f} s: {times.seconds}")
        print({name: format_bytes(n_bytes) for name, n_bytes in sizes.items()})
        print(f"peak memory {format_bytes(peak_memory())}")


if __name__ == "__main__":
    main()
