"""The steps of the benchmark ``billion``, each in a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.scale import Memory, schedule_s
from xpscale.bands import Bands
from xpscale.formatting import format_bytes
from xpscale.release import release_of
from xpscale.runtime.attempt import peak_memory
from xpscale.runtime.events import RunEnded
from xpscale.sky import MAX_ORDER, SOURCE_ID_SHIFT
from xpscale.spectra import SpectraBatch
from xpscale.storage import Storage
from xpscale.store.partitions import COUNT_ORDER, adaptive_partitions
from xpscale.testing.sky_density import pixel_centers_deg, source_counts
from xpscale.types import Part, Partition, TaskReport, TaskStatus

N_SOURCES = 2_000_000_000
MAX_ROWS = 600_000
N_STORE_PARTITIONS = 10_000
ROWS_OF_FILE = 65_000
N_WORKERS = int(os.environ.get("XPSCALE_BENCH_WORKERS", "64"))
SOURCES_PER_S = 100_000.0 * 64 / N_WORKERS
"""Of a worker: tasks end as often as on 64 CPU workers."""

REAL_ROWS = 40
BANDS, RELEASE = Bands(55, 55), "Gaia DR3"


@dataclass(frozen=True)
class Step:
    """One row of the table: what to do in a place for a share of the sources."""

    title: str
    bound: str
    run: Callable[[Path, float], str]


class Clock:
    """Wall and CPU time of a block, without what comes before and after."""

    wall_s = cpu_s = 0.0

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        Clock.wall_s += time.perf_counter() - wall
        Clock.cpu_s += time.process_time() - cpu


clock = Clock()


def counts(share: float) -> np.ndarray:
    """Sources per pixel of `COUNT_ORDER`."""
    coarse = source_counts(int(N_SOURCES * share), 1)
    fine = np.repeat(coarse // 4, 4)
    fine[::4] += coarse % 4
    return fine


def partitions(share: float) -> tuple[Partition, ...]:
    """The partitions of the sources."""
    return adaptive_partitions(counts(share), MAX_ROWS)


def spectra_in(index: np.ndarray, first: int = 0) -> SpectraBatch:
    """Made-up spectra of sources at some ``_healpix_29``, sorted."""
    rng, n = np.random.default_rng(len(index)), len(index)
    ra, dec = pixel_centers_deg(index, 29)
    source_id = (index >> 34 << SOURCE_ID_SHIFT) + first + np.arange(n)
    x = rng.normal(100, 10, (n, BANDS.n_coefficients)).astype(np.float32)
    return SpectraBatch(source_id, ra, dec, np.full(n, 1e4), x, np.abs(x) / 10 + 1, BANDS, {})


def ingest_tasks(place: Path, share: float) -> str:
    """Which rows of which file go into which partition."""
    from xpscale.ingest.partition import partition_tasks
    from xpscale.ingest.staged import StagedFile
    from xpscale.store.repeated import Identifiers

    found, none = counts(share), np.empty(0, np.int64)
    edges = np.cumsum(found) // ROWS_OF_FILE
    shift = SOURCE_ID_SHIFT + 2 * (MAX_ORDER - COUNT_ORDER)
    files = []
    for number in range(int(edges[-1]) + 1):
        pixels = np.arange(*np.searchsorted(edges, [number, number + 1]))
        pixels = pixels[found[pixels] > 0]
        if len(pixels):
            ends = int(pixels[0]) << shift, (int(pixels[-1]) + 1 << shift) - 1
            ids = Identifiers(*ends, none, none)
            files.append(StagedFile(f"{number:06d}", BANDS, pixels, found[pixels], ids))
    with clock():
        tasks = partition_tasks(Storage(str(place)), files, MAX_ROWS, False)
    assert sum(task.n_rows for task in tasks) == found.sum()
    n_runs = sum(len(task.runs) for task in tasks)
    return f"{len(files):,} files, {len(tasks):,} partitions, {n_runs:,} range reads"


def build(place: Path, share: float) -> str:
    """Make a store of many small partitions."""
    from xpscale.ingest.build import build_store

    n = int(N_STORE_PARTITIONS * share) * 20
    index = np.sort(np.random.default_rng(0).integers(0, 12 * 4**29, n))
    pieces = [
        (f"{i:03d}", spectra_in(rows, i * 10**6))
        for i, rows in enumerate(np.array_split(index, 20))
    ]
    shutil.rmtree(place / "built", ignore_errors=True)
    with clock():
        store = build_store(
            pieces,
            str(place / "built"),
            attributes={"release": RELEASE, "origin": "made up"},
            max_rows=23,
        )
    n_partitions = len(store.partitions)
    shutil.rmtree(place / "built")
    return f"{n_partitions:,} partitions, {Clock.cpu_s / n_partitions * 1e3:.1f} ms of CPU each"


def store(place: Path, share: float) -> str:
    """Seal a store whose objects stand nowhere, and put a model beside it."""
    from xpscale.store.layout import ARRAYS
    from xpscale.store.writer import seal_store

    parts = [
        Part(each.pixel, f"{each.key}/{name}", each.n_rows, 10**7, "0" * 64)
        for each in partitions(share)
        for name in ("zarr.json", *(f"{a.name}/{o}" for a in ARRAYS for o in ("zarr.json", "c/0")))
    ]
    report: dict[str, Any] = {"n_read": int(N_SOURCES * share), "n_rejected": {}, "n_movers": 0}
    with clock():
        attributes = {"origin": "made up", "pixel_positions": False, "companions": []}
        seal_store(
            Storage(str(place / "store")),
            parts,
            report,
            attributes,
            bands=BANDS,
            release=release_of(RELEASE, BANDS),
        )
    model().save(Storage(str(place / "model")))
    n_bytes = Storage(str(place / "store")).size("_xpscale/partitions.json") or 0
    return f"{len(parts):,} objects in a list of {format_bytes(n_bytes)}"


def model() -> Any:
    """A model with random weights."""
    import torch

    from xpscale.model.card import Architecture, ModelCard
    from xpscale.model.checkpoint import TrainedModel
    from xpscale.model.density import TrainingDensity
    from xpscale.model.scaling import Scaling
    from xpscale.model.scatter_vae import ScatterVAE

    torch.manual_seed(0)
    batch = spectra_in(np.arange(400) * 10**14)
    scaling = Scaling.fit([batch])
    density = TrainingDensity.fit([scaling.standardize(batch)[0]], scaling.bands)
    network = ScatterVAE(Architecture(BANDS)).eval()
    return TrainedModel.create(network, scaling, density, ModelCard(network.architecture))


def plan_of(place: Path) -> Any:
    """The plan of the run."""
    import xpscale as xps

    spectra = xps.open_spectra(str(place / "store"))
    return xps.plan_inference(spectra, xps.load_model(str(place / "model")), str(place / "catalog"))


def plan(place: Path, share: float) -> str:
    """What `xpscale plan` does."""
    with clock():
        planned = plan_of(place)
        text = planned.describe(N_WORKERS)
    return text.splitlines()[0]


@dataclass(frozen=True)
class StandIn:
    """Sleeps instead of encoding, and reports parts that do not exist."""

    products: tuple[str, ...]

    def __call__(self, task: Any) -> TaskReport:
        from xpscale.catalog.layout import part_key

        n_rows, pixel = task.partition.n_rows, task.partition.pixel
        seconds = n_rows / SOURCES_PER_S
        time.sleep(seconds)
        parts = tuple(
            Part(pixel, part_key(product, pixel), n_rows, 10**8, "0" * 64, 10**6, 10**5)
            for product in self.products
        )
        return TaskReport(
            task.key,
            TaskStatus.WRITTEN,
            parts,
            n_rows,
            n_rows,
            forward_s=seconds,
            details={"bytes_in": 10**8},
        )


def run(place: Path, share: float) -> str:
    """Run sleeping tasks on many workers, as `xpscale infer --scheduler` does."""
    from tests.support.dask_cluster import dask_processes
    from xpscale.runtime.executors.dask import DaskExecutor, connect
    from xpscale.runtime.history import History
    from xpscale.runtime.ledger import Ledger
    from xpscale.runtime.progress import TerminalProgress
    from xpscale.runtime.run import run_stage

    planned, storage = plan_of(place), Storage(str(place / "run"))
    storage.remove()
    function = StandIn(planned.identity.products)
    with (
        dask_processes(N_WORKERS, place, is_warm=True) as cluster,
        connect(cluster.address) as client,
    ):
        executor, memory = DaskExecutor(client), Memory(cluster, len(planned.tasks))
        small = [replace(t, partition=replace(t.partition, n_rows=0)) for t in planned.tasks]
        list(executor.run(function, small[: 8 * N_WORKERS]))  # imports, in every worker
        with clock():
            reports = run_stage(
                "stand-in",
                function,
                planned.tasks,
                executor,
                Ledger(storage),
                callbacks=[History(storage), TerminalProgress(io.StringIO()), memory],
                rows=lambda task: task.partition.n_rows,
            )
    assert all(report.status.is_done for report in reports.values())
    seconds = sorted((t.partition.n_rows / SOURCES_PER_S for t in planned.tasks), reverse=True)
    least_s = schedule_s(seconds, N_WORKERS)
    seen = "; ".join(
        f"after {n:,} tasks: "
        + ", ".join(f"{who} {format_bytes(rss)}" for who, rss in each.items())
        for n, each in memory.seen.items()
    )
    return (
        f"{len(reports):,} tasks, exact schedule {least_s:.1f} s, overhead"
        f" {Clock.wall_s / least_s - 1:.2%}; {seen}"
    )


def parts(place: Path, share: float) -> str:
    """Write small parts and the reports of their tasks (not measured elsewhere)."""
    from xpscale.catalog.identity import claim
    from xpscale.catalog.layout import LEDGER, MODEL
    from xpscale.runtime.ledger import Ledger

    planned = plan_of(place)
    storage = planned.catalog
    claim(storage, planned.identity)
    planned.model.save(storage / MODEL)
    ledger = Ledger(storage / LEDGER)
    done = ledger.finished_tasks()
    with clock():
        for task in planned.tasks:
            if task.key not in done:
                ledger.record(stand_in_report(planned, task))
    return f"{len(planned.tasks):,} tasks, {REAL_ROWS} rows in each part"


def stand_in_report(planned: Any, task: Any) -> TaskReport:
    """Write a task's parts with few rows; the report states as many as the partition has."""
    import pyarrow as pa

    from xpscale.catalog import encoding
    from xpscale.catalog.cell_counts import CELL_ORDER
    from xpscale.catalog.sink import ParquetSink

    pixel, n_rows = task.partition.pixel, task.partition.n_rows
    rng = np.random.default_rng([pixel.order, pixel.number])
    index = np.sort(rng.integers(*pixel.index_range, REAL_ROWS))
    spectra = spectra_in(index)
    first, last = pixel.range_at(CELL_ORDER) if pixel.order < CELL_ORDER else (0, 1)
    stated = np.stack(
        [
            np.diff(np.arange(first, last), prepend=0),
            rng.multinomial(n_rows, np.full(last - first, 1 / (last - first))),
        ]
    )
    encoding.CellCounts.to_bytes = lambda self: stated.astype("<i8").tobytes()  # type: ignore[method-assign]
    layout = planned.identity.layout
    given = {
        "_healpix_29": index,
        "source_id": spectra.source_id,
        "ra": spectra.ra,
        "dec": spectra.dec,
    }
    given["source_id"][0] = (given["source_id"][0] + (1 << 59)) % (1 << 62)  # a mover
    arrays = {}
    for product in layout.products:
        for column in layout.columns(product):
            arrays.setdefault(column.name, _values(column.type, given.get(column.name), rng))
    written = ParquetSink(planned.catalog, layout).put(pixel, pa.table(arrays))
    written = tuple(replace(part, n_rows=n_rows) for part in written)
    return TaskReport(
        task.key, TaskStatus.WRITTEN, written, n_rows, n_rows, details={"bytes_in": 10**8}
    )


def _values(kind: Any, given: np.ndarray | None, rng: np.random.Generator) -> Any:
    import pyarrow as pa

    if given is not None:
        return pa.array(given).cast(kind, safe=False)
    if pa.types.is_fixed_size_list(kind):
        values = pa.array(rng.lognormal(size=REAL_ROWS * kind.list_size).astype(np.float32))
        return pa.FixedSizeListArray.from_arrays(values, type=kind)
    return pa.array(rng.normal(100, 10, REAL_ROWS)).cast(kind, safe=False)


def publish(place: Path, share: float) -> str:
    """Read the ledger, make the manifest, commit."""
    from xpscale.catalog.commit import build_manifest, commit
    from xpscale.catalog.layout import LEDGER
    from xpscale.runtime.ledger import Ledger

    storage = Storage(str(place / "catalog"))
    with clock():
        reports = Ledger(storage / LEDGER).finished()
        ledger_s = time.perf_counter()
        manifest = build_manifest(storage, reports.values())
        commit(storage, manifest)
        commit_s = time.perf_counter() - ledger_s
    n_bytes = sum(storage.list("_xpscale/manifests").values())
    return (
        f"{len(manifest.parts):,} parts, {manifest.n_out:,} rows, manifest"
        f" {format_bytes(n_bytes)}; {commit_s:.1f} s after the ledger is read"
    )


def opened(place: Path, share: float) -> str:
    """Open the catalogue."""
    with clock():
        import xpscale as xps

        catalog = xps.open_catalog(str(place / "catalog"))
    return str(catalog)


def completed(place: Path, share: float) -> str:
    """Statistics, margin and index, in two processes."""
    from xpscale.inference.complete import complete
    from xpscale.runtime.executors.dask import DaskExecutor, local_cluster

    seconds: dict[str, float] = {}

    def listen(event: object) -> None:
        if isinstance(event, RunEnded):
            seconds[event.stage] = event.wall_s

    with local_cluster(2) as client, clock():
        done = complete(str(place / "catalog"), executor=DaskExecutor(client), callbacks=[listen])
    return ", ".join(f"{stage} {s:.0f} s" for stage, s in seconds.items()) + f"; {done}"


def resumed(place: Path, share: float) -> str:
    """`xpscale infer` again, after everything is there."""
    import xpscale as xps

    with clock():
        result = xps.infer(str(place / "store"), str(place / "model"), str(place / "catalog"))
    return str(result)


STEPS = {
    "ingest_tasks": Step("ingest: plan of the partitions", "seconds", ingest_tasks),
    "build": Step("ingest: a store of small partitions", "linear", build),
    "store": Step("seal the store of the run", "", store),
    "plan": Step("plan", "seconds", plan),
    "run": Step(f"run on {N_WORKERS} workers", "overhead < 1 %, memory flat", run),
    "parts": Step("(write stand-in parts)", "", parts),
    "publish": Step("publish", "< 60 s", publish),
    "opened": Step("open_catalog", "< 2 s, < 200 MB", opened),
    "completed": Step("statistics, margin, index", "linear", completed),
    "resumed": Step("resume of the finished run", "< 30 s", resumed),
}


if __name__ == "__main__":
    name, where, share = sys.argv[1:]
    said = STEPS[name].run(Path(where), float(share))
    found = {"wall_s": Clock.wall_s, "cpu_s": Clock.cpu_s, "peak_memory": peak_memory()}
    print(json.dumps({**found, "said": said.replace("\n", " ")}))
