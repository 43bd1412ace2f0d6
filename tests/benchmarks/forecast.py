"""Time, bytes and money of DR3 and DR4 on a workstation, on GPU nodes and on a CPU partition: the
table of ``deploy/README.md``.

Computed by `xpscale.forecast` from the rates below, each with the place where its measurement
stands.  Money is that of `pipelines/settings/prices.toml` and of the prices of a node below; it is
for ingest and inference together.  The download of the archive is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xpscale.forecast.inference import InferenceProjection
from xpscale.forecast.ingest import NODE_BYTES_PER_SECOND, project_ingest
from xpscale.forecast.prices import HOUR_S, Prices, load_prices
from xpscale.forecast.throughput import Cluster, Forecast, Load, forecast
from xpscale.formatting import format_bytes, format_duration
from xpscale.inference.task import TASKS_PER_WORKER
from xpscale.store.partitions import DEFAULT_MAX_ROWS, adaptive_partitions
from xpscale.testing.sky_density import source_counts

PRICES = Path(__file__).parents[2] / "pipelines" / "settings" / "prices.toml"

N_SOURCES = {"DR3": 219_197_643, "DR4": 2_000_000_000}
"""Of DR4 as issue 17 assumes it: ten times as many; the release is in December 2026."""

ROWS_OF_FILE = 65_000

PRODUCTS = {"latents": ("latents",), "all": ("latents", "spectra")}

COMPLETE_S = 3.2e-6
"""Of a core a source, for statistics and index, on a busy machine: design/023."""

GPU_4 = {"latents": 4.67e6 / 4, "all": 0.60e6 / 4}
GPU_16 = {"latents": 8.15e6 / 16, "all": 1.21e6 / 16}
"""Sources/s of each of 4 or 16 workers of one H200, paper's network: design/006."""

CPU = {"latents": 778_402 / 2, "all": 175_403 / 2}
"""Of each of two workers of two cores, paper's network: docs/benchmarks."""

DEFAULT_S = 4.6e-6
"""What the default model takes more of a core a source, 7.0 us for 2.4 us: design/011."""


@dataclass(frozen=True)
class Place:
    """Where everything runs.

    Parameters
    ----------
    name
        In the table.
    rates
        Sources/s of a worker while its node is busy, by outputs.
    n_nodes, workers_per_node
        How many; a worker has a core.
    node_hour
        Price of a node.
    node_bytes_per_s, shared_bytes_per_s
        Read and written by a node, and by all from one storage; assumed.
    start_up_s
        Imports and CUDA contexts; assumed.
    """

    name: str
    rates: dict[str, float]
    n_nodes: int
    workers_per_node: int
    node_hour: float
    node_bytes_per_s: tuple[float, float] = (2e9, 1.5e9)
    shared_bytes_per_s: tuple[float, float] = (40e9, 20e9)
    start_up_s: float = 20.0

    @property
    def n_workers(self) -> int:
        """Of all nodes."""
        return self.n_nodes * self.workers_per_node

    def cluster(self, outputs: str, publish_s: float) -> Cluster:
        """In the words of the formula."""
        return Cluster(
            self.rates[outputs],
            self.n_nodes,
            self.workers_per_node,
            *self.node_bytes_per_s,
            *self.shared_bytes_per_s,
            self.start_up_s,
            publish_s,
        )


def slower(rates: dict[str, float]) -> dict[str, float]:
    """The rates with the default model."""
    return {outputs: 1 / (1 / rate + DEFAULT_S) for outputs, rate in rates.items()}


NVME = (6e9, 4e9)
PLACES = (
    Place("workstation: 1 GPU, 4 workers, NVMe", GPU_4, 1, 4, 0.15, NVME, NVME),
    *(Place(f"{n} GPU node{'s' * (n > 1)} of 16 cores", GPU_16, n, 16, 4.0) for n in (1, 8, 64)),
    Place("SLURM: 8 nodes of 64 cores", CPU, 8, 64, 3.2),
    Place("the same, default model", slower(CPU), 8, 64, 3.2),
)
"""Prices of a node in USD an hour: electricity of 0.5 kW; a cloud's H200 of 2025; 0.05 a core."""


def counts(n_sources: int) -> np.ndarray:
    """Sources per pixel of order 8 on a sky with disc, bulge and clusters."""
    coarse = source_counts(n_sources, 1)
    fine = np.repeat(coarse // 4, 4)
    fine[::4] += coarse % 4
    return fine


def projection(n_rows: tuple[int, ...], outputs: str) -> InferenceProjection:
    """Bytes and requests of a run."""
    n_vectors = 2 * (outputs == "all")
    return InferenceProjection(
        n_rows,
        110,
        PRODUCTS[outputs],
        n_vectors,
        needs_errors=n_vectors > 0,
        reads_in_blocks=True,
        tasks_per_worker=TASKS_PER_WORKER,
        multiplications=0,  # the rates of the places contain them
    )


def infer_forecast(place: Place, run: InferenceProjection, outputs: str) -> Forecast:
    """Of the run with its publication; statistics, margin and index are part of publishing: they
    read the latents once more.
    """
    n, latents = run.n_rows, projection(run.partition_rows, "latents").bytes_out
    load = Load(n, run.n_tasks, run.largest, run.bytes_in / n, run.bytes_out / n)
    read_s = latents / min(place.n_nodes * place.node_bytes_per_s[0], place.shared_bytes_per_s[0])
    complete_s = max(COMPLETE_S * n / place.n_workers, read_s)
    return forecast(load, place.cluster(outputs, run.forecast(1).publish_s + complete_s))


def money(place: Place, run: InferenceProjection, seconds: float, prices: Prices) -> float:
    """Of ingest and run: nodes and requests."""
    requests = run.cost(replace(prices, worker_hour=0.0), 1).requests
    return place.node_hour * place.n_nodes * seconds / HOUR_S + requests


def main() -> None:
    """Print the table."""
    prices = load_prices(PRICES)
    print(
        "| release | place | outputs | ingest | inference | of it publishing | read | written"
        f" | {prices.currency} | bound by |\n|---|---|---|---:|---:|---:|---:|---:|---:|---|"
    )
    for release, n_sources in N_SOURCES.items():
        sky = counts(n_sources)
        partitions = adaptive_partitions(sky, DEFAULT_MAX_ROWS)
        files = np.full(n_sources // ROWS_OF_FILE, ROWS_OF_FILE)
        ingest = project_ingest(files, sky, DEFAULT_MAX_ROWS)
        for place in PLACES:
            moved = ingest.bytes_read + 2 * ingest.bytes_staged + ingest.bytes_written
            ingest_s = max(
                ingest.core_s / place.n_workers, moved / (place.n_nodes * NODE_BYTES_PER_SECOND)
            )
            for outputs in PRODUCTS:
                run = projection(tuple(p.n_rows for p in partitions), outputs)
                found = infer_forecast(place, run, outputs)
                cost = money(place, run, ingest_s + found.seconds, prices)
                print(
                    f"| {release} | {place.name} | {outputs} | {format_duration(ingest_s)}"
                    f" | {format_duration(found.seconds)} | {format_duration(found.publish_s)}"
                    f" | {format_bytes(run.bytes_in)} | {format_bytes(run.bytes_out)}"
                    f" | {cost:,.0f} | {found.bound_by} |"
                )


if __name__ == "__main__":
    main()
