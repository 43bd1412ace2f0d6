"""The scaling law against runs on one and on two workers.

A probe gives the rate r of a worker while all are busy; the law of `xpscale.forecast.throughput`
makes of it the wall time of the tasks of a run on the same, by then warm workers (no start-up, no
publishing), which then is measured.

``$XPSCALE_BENCH_SOURCES`` (400,000), ``$XPSCALE_BENCH_ROUNDS``.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import xpscale as xps
from tests.benchmarks.probe import prepare
from xpscale.forecast.throughput import Cluster, Load, forecast
from xpscale.inference.task import TASKS_PER_WORKER
from xpscale.runtime.executors.dask import local_cluster

N_SOURCES = int(os.environ.get("XPSCALE_BENCH_SOURCES", 400_000))
ROUNDS = int(os.environ.get("XPSCALE_BENCH_ROUNDS", 2))


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="xpscale-bench-") as folder:
        place = Path(folder)
        prepare(str(place / "store"), str(place / "model"), N_SOURCES, max_rows=30_000)
        store, model = xps.open_store(str(place / "store")), xps.load_model(str(place / "model"))
        print(f"{N_SOURCES:,} sources, all outputs\n")
        print(
            f"{'workers':>7} {'r, sources/s':>13} {'law s':>7} {'run s':>7} {'law / run':>10}"
            f" {'load':>5}"
        )
        for i in range(2 * ROUNDS):
            n_workers = 1 + i % 2
            plan = xps.plan_inference(store, model, str(place / f"catalog-{i}"))
            with local_cluster(n_workers, TASKS_PER_WORKER) as client:
                executor = xps.DaskExecutor(client)
                found = plan.probe(executor, device="cpu", seconds=3)
                load = Load(
                    plan.n_rows,
                    len(plan.tasks),
                    plan.projection.largest,
                    found.bytes_in,
                    found.bytes_out,
                )
                law_s = forecast(
                    load, Cluster(found.worker_sources_per_s, workers_per_node=n_workers)
                ).seconds
                clock = time.perf_counter()
                assert xps.run_inference(plan, executor=executor, device="cpu").is_complete
                run_s = time.perf_counter() - clock
            rate = found.worker_sources_per_s
            print(
                f"{n_workers:7} {rate:13,.0f} {law_s:7.1f} {run_s:7.1f} {law_s / run_s:10.2f}"
                f" {os.getloadavg()[0]:5.1f}"
            )


if __name__ == "__main__":
    main()
