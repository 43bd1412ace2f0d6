"""One GPU: the forward against what its memory and its arithmetic allow, copies beside it, and
whole runs.

All through the product's own classes: `OnDevice` is the forward, a `Lane` the overlap,
`ScatterVAEEncoder` the whole, and `xpscale.run` on Dask workers that share the GPU the run.
*Floors*: the bytes that a fused network would have to read and write in the device's memory at the
bandwidth that a copy reaches there, and its multiplications and additions at the rate of a large
float32 matrix product (no TF32).  Without a GPU it says so and does nothing.

A run has a million sources for each worker, in ``$TMPDIR``; a worker for each CPU core is the most.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

import xpscale as xps
from tests.benchmarks.inference import LATENTS, infer, random_model
from tests.benchmarks.inference_scale import tiled_store
from xpscale.inference.device import Lane
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.inference.task import TASKS_PER_WORKER
from xpscale.model.checkpoint import TrainedModel
from xpscale.runtime.executors.dask import DaskExecutor, local_cluster
from xpscale.runtime.split_text import describe_split
from xpscale.schema import OUTPUTS
from xpscale.storage import Storage
from xpscale.store.reader import SpectraStore
from xpscale.types import Stopwatch

PARTITIONS_PER_WORKER = 4
MICRO_BATCHES = (4_096, 8_192, 16_384, 32_768, 65_536)
ROUNDS = 10
N_ROWS = 2**20  # that each measurement of a lane sends
FLOAT32 = 4  # bytes
LARGE = 8_192  # side of a matrix


def main() -> None:
    """Print the tables."""
    if not torch.cuda.is_available():
        print("skipped: no GPU")
        return
    n_cpus = os.cpu_count() or 1
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {n_cpus} CPU cores", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="xpscale-bench-") as folder:
        store = tiled_store(Storage(f"{folder}/store"), 1)
        model = random_model(store, store.partitions)
        floors = _bandwidth(), _arithmetic()
        for outputs in (LATENTS, OUTPUTS):
            encoder = ScatterVAEEncoder(model, outputs, "cuda")
            _forward(encoder, *floors)
            _lane(encoder)
            _encoder(encoder, store)
    print("\nwhole runs, workers started and warm")
    print("| outputs | workers | device | million sources/s | peak memory of a worker | its time |")
    print("|---|---|---|---|---|---|")
    for n_workers in sorted({1, max(n_cpus // 4, 1), n_cpus}):
        with tempfile.TemporaryDirectory(prefix="xpscale-bench-") as folder:
            _runs(Path(folder), model, n_workers)


def _bandwidth() -> float:
    """Bytes a second of a copy in device memory, read and written."""
    some = torch.empty(2**28, device="cuda")
    other = torch.empty_like(some)
    bandwidth = 2 * some.numel() * FLOAT32 / _median_s(lambda: other.copy_(some))
    print(f"a copy in device memory {bandwidth / 1e9:,.0f} GB/s")
    return bandwidth


def _arithmetic() -> float:
    """Float32 operations a second of a large matrix product."""
    torch.set_float32_matmul_precision("highest")
    a, b = torch.randn(2, LARGE, LARGE, device="cuda")
    rate = 2 * LARGE**3 / _median_s(lambda: torch.mm(a, b))
    print(f"a large matrix product in float32 {rate / 1e12:,.1f} TFLOP/s")
    return rate


def _forward(encoder: ScatterVAEEncoder, bandwidth: float, arithmetic: float) -> None:
    """The forward on rows that are on the device already: as it is, as one CUDA graph, and
    compiled.
    """
    print(f"\n{', '.join(encoder.outputs)}: forward of rows on the device, million sources/s")
    on_device, folded = encoder.lanes.on_device, encoder.lanes.on_device.network
    parts = [folded.encoder, *((folded.mean, folded.scatter) if on_device.decodes else ())]  # type: ignore[attr-defined]
    n_flops = sum(
        2 * values.numel() for part in parts for values in part.parameters() if values.ndim == 2
    )
    compiled = torch.compile(on_device.results)  # it cannot take inference mode
    print(
        "| micro-batch | as it is | CUDA graph | torch.compile | floor by memory | by arithmetic |"
    )
    print("|---|---|---|---|---|---|")
    for n in MICRO_BATCHES:
        x = torch.randn(n, encoder.model.n_coefficients, device="cuda")
        n_values = sum(values.numel() for values in on_device(x, None).values()) + x.numel()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            on_device(x, None)
        ways = (
            partial(on_device, x, None),
            graph.replay,
            torch.no_grad()(partial(compiled, x, None)),
        )
        rates = [
            *(n / _median_s(way, 20) for way in ways),
            n / n_values / FLOAT32 * bandwidth,
            arithmetic / n_flops,
        ]
        print(f"| {n:,} | " + " | ".join(f"{rate / 1e6:,.0f}" for rate in rates) + " |", flush=True)


def _lane(encoder: ScatterVAEEncoder) -> None:
    """Host to device, forward, device to host, by one thread: with micro-batches on their way, and
    one after the other.
    """
    print(f"\n{', '.join(encoder.outputs)}: to the device, forward and back, million sources/s")
    print("| micro-batch | overlapped | one after the other |")
    print("|---|---|---|")
    for n in MICRO_BATCHES:
        lane = Lane(encoder.lanes.on_device)
        x = np.random.default_rng(0).standard_normal((n, encoder.model.n_coefficients), np.float32)
        rates = [N_ROWS / _median_s(partial(_send, lane, x, depth)) for depth in (lane.depth, 0)]
        print(f"| {n:,} | {rates[0] / 1e6:.1f} | {rates[1] / 1e6:.1f} |", flush=True)


def _send(lane: Lane, x: np.ndarray, depth: int) -> None:
    on_the_way = deque()
    for _ in range(N_ROWS // len(x)):
        on_the_way.append(lane.submit(x, None))
        if len(on_the_way) > depth:
            on_the_way.popleft().result()
    for flight in on_the_way:
        flight.result()


def _encoder(encoder: ScatterVAEEncoder, store: SpectraStore) -> None:
    """Columns of the catalogue from rows in memory, one thread of the host: its seconds by step."""
    print(f"\n{', '.join(encoder.outputs)}: rows in memory to columns of the catalogue, one thread")
    print("| micro-batch | million sources/s | of the thread's time |")
    print("|---|---|---|")
    batch, ours = store.read(store.partitions[0]), encoder.micro_batch
    for encoder.micro_batch in MICRO_BATCHES:
        encoder(batch)
        watch, clock = Stopwatch(), time.perf_counter()
        encoder(batch, watch)
        seconds = time.perf_counter() - clock
        split = ", ".join(
            f"{name.removesuffix('_s')} {share / seconds:.0%}"
            for name, share in watch.seconds.items()
        )
        print(
            f"| {encoder.micro_batch:,} | {len(batch) / seconds / 1e6:.2f} | {split} |", flush=True
        )
    encoder.micro_batch = ours


def _runs(folder: Path, model: TrainedModel, n_workers: int) -> None:
    """Whole runs, from the store to parts of the catalogue, by workers that share the GPU; and
    without it.
    """
    store = tiled_store(Storage(f"{folder}/store"), n_workers * PARTITIONS_PER_WORKER)
    with local_cluster(n_workers, TASKS_PER_WORKER) as client:
        executor = DaskExecutor(client)
        for device in ("cuda", "cpu"):
            _run(folder, store, model, executor, LATENTS, device)  # imports and contexts
            for outputs in (LATENTS, OUTPUTS):
                report, seconds = _run(folder, store, model, executor, outputs, device)
                cells = (
                    ", ".join(outputs),
                    n_workers,
                    device,
                    f"{store.n_rows / seconds / 1e6:.2f}",
                )
                memory, spent = (
                    f"{report.peak_memory / 1e9:.2f} GB",
                    describe_split(report.record.split),
                )
                print("| " + " | ".join(map(str, (*cells, memory, spent))) + " |", flush=True)


def _run(
    folder: Path,
    store: SpectraStore,
    model: TrainedModel,
    executor: DaskExecutor,
    outputs: tuple[str, ...],
    device: str,
) -> tuple[xps.inference.run.RunReport, float]:
    clock = time.perf_counter()
    report = infer(store, model, folder / "out", executor, outputs, device)
    seconds = time.perf_counter() - clock
    shutil.rmtree(folder / "out")
    return report, seconds


def _median_s(work: Callable[[], object], n_calls: int = 1) -> float:
    """Median wall seconds of one of ``n_calls`` calls in a row, after one round that does not
    count.
    """
    seconds = []
    for _ in range(ROUNDS + 1):
        torch.cuda.synchronize()
        clock = time.perf_counter()
        for _ in range(n_calls):
            work()
        torch.cuda.synchronize()
        seconds.append((time.perf_counter() - clock) / n_calls)
    return float(np.median(seconds[1:]))


if __name__ == "__main__":
    main()
