"""The forecast of a probe against the run: ``xpscale plan --probe``, then ``xpscale infer``, of
five million sources.

Both are the commands themselves, one after the other, so that other work on the machine disturbs
both alike.  The wall time of ``infer`` is of the whole command: interpreter, workers, tasks,
publishing.

``$XPSCALE_BENCH_SOURCES`` (5,000,000; about 4.5 GB of store and 4.3 GB of catalogue),
``$XPSCALE_BENCH_OUTPUTS``, ``$XPSCALE_BENCH_ROUNDS``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import xpscale as xps
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import ScatterVAE
from xpscale.store.partitions import DEFAULT_MAX_ROWS
from xpscale.testing.universe import Universe

N_SOURCES = int(os.environ.get("XPSCALE_BENCH_SOURCES", 5_000_000))
OUTPUTS = os.environ.get("XPSCALE_BENCH_OUTPUTS", "latents,reconstruction,scatter")
ROUNDS = int(os.environ.get("XPSCALE_BENCH_ROUNDS", 3))


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="xpscale-bench-") as folder:
        store, model, catalog = (str(Path(folder) / name) for name in ("store", "model", "catalog"))
        prepare(store, model, N_SOURCES)
        arguments = [store, model, catalog, "--outputs", OUTPUTS, "--workers", "2"]
        print(f"{N_SOURCES:,} sources, {OUTPUTS}, 2 workers; load is of the minute before\n")
        print(
            f"{'load':>5} {'probed sources/s':>17} {'forecast s':>11} {'run s':>7}"
            f" {'forecast / run':>15} {'load':>5}"
        )
        for _ in range(ROUNDS):
            before = os.getloadavg()[0]
            planned = json.loads(_command("plan", *arguments, "--probe", "--json"))
            clock = time.perf_counter()
            _command("infer", *arguments)
            run_s = time.perf_counter() - clock
            rate = planned["probe"]["worker_sources_per_s"] * planned["probe"]["n_workers"]
            forecast_s = planned["projected_s"]
            share = forecast_s / run_s
            print(
                f"{before:5.1f} {rate:17,.0f} {forecast_s:11.1f} {run_s:7.1f} {share:15.2f}"
                f" {os.getloadavg()[0]:5.1f}"
            )
            shutil.rmtree(catalog)


def prepare(store: str, model: str, n_sources: int, max_rows: int = DEFAULT_MAX_ROWS) -> None:
    """Make a store of a universe and an untrained model scaled on it."""
    pieces = (
        (f"piece-{i}", batch) for i, batch in enumerate(Universe(n_sources, seed=1).batches())
    )
    built = xps.build_store(pieces, store, attributes={"origin": "universe"}, max_rows=max_rows)
    torch.manual_seed(0)
    network = ScatterVAE(Architecture(built.bands))
    scaling = Scaling.fit([built.read(built.partitions[0])])
    unknown = TrainingDensity.unknown(built.bands)
    TrainedModel.create(network, scaling, unknown, ModelCard(network.architecture)).save(model)


def _command(*arguments: str) -> str:
    code = "from xpscale.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"xpscale {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
