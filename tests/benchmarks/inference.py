"""Inference end to end against a bare copy of the same bytes, and against what people do today.

``copy`` reads and decodes the same store and writes the same parts (encoded by the same writer), with no model between: the
floor of the container formats.  ``reference script`` does what the released code does: whole arrays, the unfolded network with
gradients on, ``.npy`` out.  Every variant reads 262,144 sources in four partitions and writes latents and spectra to the
same disk; medians of the runs, each as a ratio to the copy of its own round.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

import xpscale as xps
from xpscale.catalog.sink import ParquetSink
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.model.checkpoint import ModelCard, TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import Architecture, ScatterVAE
from xpscale.runtime.executors.dask import local_cluster
from xpscale.schema import OUTPUTS
from xpscale.storage import Storage
from xpscale.store.reader import SpectraStore
from xpscale.testing.universe import Universe

N_SOURCES = 262_144
ROUNDS = 3


def main() -> None:
    """Print the table."""
    folder = Path(tempfile.mkdtemp(prefix="xpscale-bench-"))
    try:
        store, model = _prepare(folder)
        tables = _tables(store, model)
        seconds: dict[str, list[float]] = {}
        with local_cluster(2) as client:
            executor = xps.DaskExecutor(client)
            variants = {
                "copy: read, decode, write": lambda out: _copy(store, model, tables, out),
                "xpscale, one process": lambda out: _infer(store, model, out, xps.SerialExecutor()),
                "xpscale, 2 Dask workers": lambda out: _infer(store, model, out, executor),
                "xpscale, latents only": lambda out: _infer(store, model, out, xps.SerialExecutor(), ("latents",)),
                "reference script": lambda out: _reference(store, model, out),
            }
            variants["xpscale, 2 Dask workers"](folder / "warm-up")  # imports and model loads in the workers
            for i in range(ROUNDS):
                for name, variant in variants.items():
                    clock = time.perf_counter()
                    variant(folder / f"{i}-{name.replace(' ', '-')}")
                    seconds.setdefault(name, []).append(time.perf_counter() - clock)
        _print(seconds)
    finally:
        shutil.rmtree(folder)


def _prepare(folder: Path) -> tuple[SpectraStore, TrainedModel]:
    universe = Universe(N_SOURCES, seed=1)
    pieces = ((f"piece-{i}", batch) for i, batch in enumerate(universe.batches()))
    store = xps.build_store(
        pieces, str(folder / "store"), n_bp=55, attributes={"origin": "universe"}, max_rows=N_SOURCES // 3
    )
    torch.manual_seed(0)
    network = ScatterVAE(Architecture())
    scaling = Scaling.fit(store.read(partition) for partition in store.partitions)
    model = TrainedModel.create(network, scaling, TrainingDensity.unknown(110), ModelCard(network.architecture))
    return store, model


def _tables(store: SpectraStore, model: TrainedModel) -> list[pa.Table]:
    encoder = ScatterVAEEncoder(model, OUTPUTS, "cpu")
    return [encoder(store.read(partition)) for partition in store.partitions]


def _copy(store: SpectraStore, model: TrainedModel, tables: list[pa.Table], out: Path) -> None:
    sink = ParquetSink(Storage(str(out)), model.n_latents, model.n_coefficients)
    for partition, table in zip(store.partitions, tables, strict=True):
        store.read(partition)
        sink.put(partition.pixel, table)


def _infer(
    store: SpectraStore,
    model: TrainedModel,
    out: Path,
    executor: object,
    outputs: tuple[str, ...] = OUTPUTS,
) -> None:
    plan = xps.plan_inference(store, model, str(out), outputs=outputs)
    report = xps.run(plan, executor=executor, device="cpu")  # type: ignore[arg-type]
    assert report.is_complete, report.failed


def _reference(store: SpectraStore, model: TrainedModel, out: Path) -> None:
    """The released script's way, on all rows at once."""
    out.mkdir()
    torch.set_num_threads(2)
    batches = [store.read(partition) for partition in store.partitions]
    x = np.concatenate([model.scaling.standardize(batch)[0] for batch in batches])
    flux = np.concatenate([batch.phot_g_mean_flux for batch in batches])[:, None]
    network = model.network.requires_grad_(True)
    posterior = network.encode(torch.from_numpy(x))
    decoded = network.decode(posterior.sample(torch.Generator().manual_seed(0)))
    network.requires_grad_(False)
    mean = (decoded.mean.detach().numpy() * model.scaling.std + model.scaling.mean) * flux
    scatter = decoded.scatter.detach().numpy() * model.scaling.std * flux
    for name, values in (("latents", posterior.mean.detach().numpy()), ("mean", mean), ("scatter", scatter)):
        np.save(out / f"{name}.npy", values.astype(np.float32))


def _print(seconds: dict[str, list[float]]) -> None:
    copy = np.array(next(iter(seconds.values())))
    print(f"inference, {N_SOURCES:,} sources, medians of {ROUNDS} rounds")
    print(f"{'':28} {'sources/s':>10} {'rate / copy':>12}")
    for name, values in seconds.items():
        print(f"{name:28} {N_SOURCES / np.median(values):10,.0f} {np.median(copy / np.array(values)):12.2f}")


if __name__ == "__main__":
    main()
