"""One GPU: the forward against the bandwidth of its memory, copies beside it, and where a whole batch's time goes.

All through the product's own classes: `OnDevice` is the forward, a `Lane` the overlap, `ScatterVAEEncoder` the whole.  *Floor*:
the bytes that a fused network would have to read and write in the device's memory, at the bandwidth that a copy reaches there.
Without a GPU it says so and does nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.inference import prepare
from xpscale.inference.device import Lane, OnDevice
from xpscale.inference.encoder import GPU_MICRO_BATCH, ScatterVAEEncoder
from xpscale.model.checkpoint import TrainedModel
from xpscale.schema import OUTPUTS
from xpscale.store.reader import SpectraStore
from xpscale.types import SpectraBatch, Stopwatch

ROUNDS = 10
N_BATCHES = 16
FLOAT32 = 4  # bytes


def main() -> None:
    """Print the tables."""
    if not torch.cuda.is_available():
        print("skipped: no GPU")
        return
    with tempfile.TemporaryDirectory(prefix="xpscale-bench-") as folder:
        store, model = prepare(Path(folder))
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
        for outputs in (("latents",), OUTPUTS):
            encoder = ScatterVAEEncoder(model, outputs, "cuda")
            print(f"{', '.join(outputs)}, micro-batches of {GPU_MICRO_BATCH:,}")
            _forward(encoder.lanes.on_device, model)
            _overlap(encoder.lanes.on_device, model)
            _whole(encoder, store)


def _forward(on_device: OnDevice, model: TrainedModel) -> None:
    """The forward on rows that are on the device already."""
    x = torch.randn(GPU_MICRO_BATCH, model.n_coefficients, device="cuda")
    n_values = sum(values.numel() for values in on_device(x, None).values()) + x.numel()
    seconds = _median_s(lambda: on_device(x, None)) / len(x)
    some = torch.empty(2**28, device="cuda")
    other = torch.empty_like(some)
    bandwidth = 2 * some.numel() * FLOAT32 / _median_s(lambda: other.copy_(some))
    floor = n_values * FLOAT32 / len(x) / bandwidth
    print(f"  forward {1 / seconds:14,.0f} sources/s; a copy in device memory {bandwidth / 1e9:,.0f} GB/s,")
    print(f"  floor   {1 / floor:14,.0f} sources/s ({floor / seconds:.1%} reached)")


def _overlap(on_device: OnDevice, model: TrainedModel) -> None:
    """A lane with several micro-batches on their way, and with one after the other."""
    lane = Lane(on_device)
    x = np.random.default_rng(0).standard_normal((GPU_MICRO_BATCH, model.n_coefficients), np.float32)
    alone = _median_s(lambda: _send(lane, x, depth=0))
    together = _median_s(lambda: _send(lane, x, depth=lane.depth))
    n_rows = N_BATCHES * len(x)
    print(f"  lane    {n_rows / together:14,.0f} sources/s overlapped, {n_rows / alone:,.0f} one after the other")


def _send(lane: Lane, x: np.ndarray, depth: int) -> None:
    on_the_way = deque()
    for _ in range(N_BATCHES):
        on_the_way.append(lane.submit(x, None))
        if len(on_the_way) > depth:
            on_the_way.popleft().result()
    for flight in on_the_way:
        flight.result()


def _whole(encoder: ScatterVAEEncoder, store: SpectraStore) -> None:
    """Columns of the catalogue from rows in memory: seconds of the host by step."""
    batch = SpectraBatch.concatenate([store.read(partition) for partition in store.partitions])
    encoder(batch)
    watch, clock = Stopwatch(), time.perf_counter()
    encoder(batch, watch)
    seconds = time.perf_counter() - clock
    split = ", ".join(f"{name.removesuffix('_s')} {share / seconds:.0%}" for name, share in watch.seconds.items())
    print(f"  encoder {len(batch) / seconds:14,.0f} sources/s, one thread of the host: {split}\n")


def _median_s(work: Callable[[], object]) -> float:
    """Median wall seconds, after one round that does not count."""
    seconds = []
    for _ in range(ROUNDS + 1):
        torch.cuda.synchronize()
        clock = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - clock)
    return float(np.median(seconds[1:]))


if __name__ == "__main__":
    main()
