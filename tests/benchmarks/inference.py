"""Inference end to end against a bare copy of the same bytes, and against what people do today; one
command, minutes.

``copy`` reads and decodes the same store and writes the same parts, encoded by the same writer,
with no model between; it is overlapped as xpscale is: the same number of tasks at once.  Networks
have random weights and the paper's shape; ``default network`` and ``wide network``
have those of the presets.  ``emulated device``: everything xpscale does, but the network is a sleep
of n / 20 million seconds.  ``matrix products alone``: everything xpscale does, but in the network
nothing is done between its products; no quicker GELU can pass that on a CPU.  ``reference script``
does what the released code does: whole arrays, the unfolded network with gradients on, ``.npy``
out.  Rounds are interleaved; medians, each a ratio to the copy of its own round.  CPU time is of
all processes and does not see what else the machine does.

``XPSCALE_BENCH_SOURCES`` (1,048,576) and ``XPSCALE_BENCH_ROUNDS`` (3) say how long it takes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import torch

import xpscale as xps
from xpscale.catalog.sink import BLOCK_ROWS, ParquetSink
from xpscale.inference import task as task_module
from xpscale.inference.encoder import CPU_MICRO_BATCH, ScatterVAEEncoder
from xpscale.inference.task import TASKS_PER_WORKER
from xpscale.model.architectures import build
from xpscale.model.card import ModelCard
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.density import TrainingDensity
from xpscale.model.distributions import LatentPosterior, Reconstruction
from xpscale.model.folding import fold
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import NetworkModule
from xpscale.runtime.executors.dask import local_cluster
from xpscale.runtime.executors.threads import ThreadsExecutor
from xpscale.schema import OUTPUTS
from xpscale.store.partitions import DEFAULT_MAX_ROWS
from xpscale.store.reader import SpectraStore
from xpscale.testing.universe import Universe
from xpscale.training.settings import TrainingSettings
from xpscale.types import Executor, TaskReport, TaskStatus

N_SOURCES = int(os.environ.get("XPSCALE_BENCH_SOURCES", 1_048_576))
ROUNDS = int(os.environ.get("XPSCALE_BENCH_ROUNDS", 3))
DEVICE_RATE = 20_000_000  # sources a second of an emulated device
DEVICE_BATCH = 8_192
REFERENCE_ROWS = 262_144
LATENTS = ("latents",)


def main() -> None:
    """Print the tables."""
    folder = Path(tempfile.mkdtemp(prefix="xpscale-bench-"))
    try:
        store, model = prepare(folder)
        _print_forward(model)
        for outputs in (OUTPUTS, LATENTS):
            _print(outputs, _measure(folder, store, model, outputs))
    finally:
        shutil.rmtree(folder)


def prepare(folder: Path) -> tuple[SpectraStore, TrainedModel]:
    """A store of a synthetic universe and a network of the paper's shape, with random weights,
    scaled on it.
    """
    universe = Universe(N_SOURCES, seed=1)
    pieces = ((f"piece-{i}", batch) for i, batch in enumerate(universe.batches()))
    attributes = {"origin": "universe"}
    store = xps.build_store(
        pieces, str(folder / "store"), attributes=attributes, max_rows=DEFAULT_MAX_ROWS
    )
    return store, random_model(store, store.partitions)


def random_model(
    store: SpectraStore, partitions: Sequence[xps.types.Partition], preset: str = "laroche2024"
) -> TrainedModel:
    """A network of a preset's shape with random weights, scaled on some partitions."""
    torch.manual_seed(0)
    network = build(TrainingSettings.choose(preset=preset).architecture(store.bands))
    scaling = Scaling.fit(store.read(partition) for partition in partitions)
    some = (scaling.standardize(store.read(partition))[0] for partition in partitions[:4])
    return TrainedModel.create(
        network, scaling, TrainingDensity.fit(some, store.bands), ModelCard(network.architecture)
    )


def _measure(
    folder: Path, store: SpectraStore, model: TrainedModel, outputs: tuple[str, ...]
) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of every variant and round."""
    tables = {
        partition.key: _table(store, model, partition, outputs) for partition in store.partitions
    }
    default, wide = (random_model(store, store.partitions, name) for name in ("default", "wide"))
    threads = ThreadsExecutor(TASKS_PER_WORKER)
    with local_cluster(2, TASKS_PER_WORKER) as client:
        executor = xps.DaskExecutor(client)
        variants: dict[str, Callable[[Path], object]] = {
            "copy, overlapped": lambda out: _copy(store, model, outputs, tables, out),
            "xpscale, emulated device": lambda out: _with(
                _Sleeping, store, model, out, threads, outputs
            ),
            "xpscale, matrix products alone": lambda out: _with(
                _Products, store, model, out, threads, outputs
            ),
            "xpscale, default network": lambda out: infer(store, default, out, executor, outputs),
            "xpscale, wide network": lambda out: infer(store, wide, out, executor, outputs),
            "xpscale, one process": lambda out: infer(store, model, out, threads, outputs),
            "xpscale, 2 Dask workers": lambda out: infer(store, model, out, executor, outputs),
        }
        if outputs == OUTPUTS:
            variants["reference script"] = lambda out: _reference(store, model, out)
        infer(
            store, model, folder / "warm-up", executor, outputs
        )  # imports and model loads in the workers
        shutil.rmtree(folder / "warm-up")
        return timed(variants, folder)


def timed(
    variants: dict[str, Callable[[Path], object]], folder: Path
) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of each variant, `ROUNDS` times in turn, each into a place of its own
    that is then removed.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, variant in variants.items():
            out = folder / "out"
            clock, cpu = time.perf_counter(), _cpu_s()
            variant(out)
            seconds[name].append((time.perf_counter() - clock, _cpu_s() - cpu))
            shutil.rmtree(out, ignore_errors=True)
    return seconds


def infer(
    store: SpectraStore,
    model: TrainedModel,
    out: Path,
    executor: Executor,
    outputs: tuple[str, ...] = OUTPUTS,
    device: str = "cpu",
) -> xps.inference.run.RunReport:
    """A whole run of xpscale."""
    plan = xps.plan_inference(store, model, str(out), outputs=outputs)
    report = xps.run_inference(plan, executor=executor, device=device)
    assert report.is_complete, report.failed
    return report


def _cpu_s() -> float:
    """CPU seconds of this process and its children so far."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _table(
    store: SpectraStore,
    model: TrainedModel,
    partition: xps.types.Partition,
    outputs: tuple[str, ...],
) -> pa.Table:
    return ScatterVAEEncoder(model, outputs, "cpu")(store.read(partition))


@dataclass(frozen=True)
class _Copy:
    """The function of a task without the model: its rows are read, and rows of the same number and
    kind written.
    """

    store: SpectraStore
    sink: ParquetSink
    tables: dict[str, pa.Table]
    errors: bool

    def __call__(self, task: xps.inference.task.InferenceTask) -> TaskReport:
        parts, start, table = (
            self.sink.open(task.partition.pixel),
            0,
            self.tables[task.partition.key],
        )
        for batch in self.store.read_in_blocks(task.partition, BLOCK_ROWS, errors=self.errors):
            parts.append(table.slice(start, len(batch)))
            start += len(batch)
        return TaskReport(task.key, TaskStatus.WRITTEN, parts.finish())


def _copy(
    store: SpectraStore,
    model: TrainedModel,
    outputs: tuple[str, ...],
    tables: dict[str, pa.Table],
    out: Path,
) -> None:
    plan = xps.plan_inference(store, model, str(out), outputs=outputs)
    copy = _Copy(store, ParquetSink(plan.catalog, plan.identity.layout), tables, len(outputs) > 1)
    list(ThreadsExecutor(TASKS_PER_WORKER).run(copy, plan.tasks))


class _Sleeping(NetworkModule):
    """A network that takes the time of a fast device and answers with the same numbers for every
    row.
    """

    micro_batch = DEVICE_BATCH

    def __init__(self, network: NetworkModule) -> None:
        super().__init__(network.architecture)
        self.posterior = network.encode(
            torch.randn(DEVICE_BATCH, network.architecture.n_coefficients)
        )
        self.decoded = network.decode(self.posterior.mean)

    def encode(self, x: torch.Tensor, x_err: torch.Tensor | None = None) -> LatentPosterior:
        time.sleep(len(x) / DEVICE_RATE)
        return LatentPosterior(self.posterior.mean[: len(x)], self.posterior.log_var[: len(x)])

    def decode(self, z: torch.Tensor) -> Reconstruction:
        return Reconstruction(self.decoded.mean[: len(z)], self.decoded.scatter[: len(z)])


class _Products(NetworkModule):
    """The matrix products of a folded network, of the same sizes in the same order, and nothing
    between them.
    """

    micro_batch = CPU_MICRO_BATCH

    def __init__(self, network: NetworkModule) -> None:
        super().__init__(network.architecture)
        self.encoder, self.mean, self.scatter = (
            [layer.weight for layer in stack if isinstance(layer, torch.nn.Linear)]
            for stack in (network.encoder, network.mean, network.scatter)
        )

    def encode(self, x: torch.Tensor, x_err: torch.Tensor | None = None) -> LatentPosterior:
        mean, log_var = _product(self.encoder, x.T).chunk(2)
        return LatentPosterior(mean.T, log_var.T)

    def decode(self, z: torch.Tensor) -> Reconstruction:
        return Reconstruction(
            *(_product(inner, z.T).T @ last.T for *inner, last in (self.mean, self.scatter))
        )


def _product(weights: list[torch.Tensor], h: torch.Tensor) -> torch.Tensor:
    for weight in weights:
        h = torch.mm(weight, h)
    return h


def _with(
    network: type[_Sleeping | _Products],
    store: SpectraStore,
    model: TrainedModel,
    out: Path,
    executor: Executor,
    outputs: tuple[str, ...],
) -> None:
    """A run with another network in the place of the folded one."""
    encoder = ScatterVAEEncoder(model, outputs, "cpu")
    object.__setattr__(encoder.lanes.on_device, "network", network(encoder.lanes.on_device.network))
    encoder.micro_batch = network.micro_batch
    real, task_module._encoder = task_module._encoder, lambda *_: encoder
    try:
        infer(store, model, out, executor, outputs)
    finally:
        task_module._encoder = real


def _reference(store: SpectraStore, model: TrainedModel, out: Path) -> None:
    """The released script's way: whole arrays, what memory can hold, through the network as
    trained, gradients kept.
    """
    out.mkdir()
    torch.set_num_threads(2)
    batches = [store.read(partition) for partition in store.partitions]
    x = torch.from_numpy(np.concatenate([model.scaling.standardize(batch)[0] for batch in batches]))
    flux = np.concatenate([batch.phot_g_mean_flux for batch in batches])[:, None]
    network = model.network.requires_grad_(True)
    pieces = []
    for rows in x.split(REFERENCE_ROWS):
        posterior = network.encode(rows)
        decoded = network.decode(posterior.sample(torch.Generator().manual_seed(0)))
        pieces.append(
            [values.detach().numpy() for values in (posterior.mean, decoded.mean, decoded.scatter)]
        )
    network.requires_grad_(False)
    latents, mean, scatter = map(np.concatenate, zip(*pieces, strict=True))
    mean, scatter = (
        (mean * model.scaling.std + model.scaling.mean) * flux,
        scatter * model.scaling.std * flux,
    )
    for name, values in (("latents", latents), ("mean", mean), ("scatter", scatter)):
        np.save(out / f"{name}.npy", values.astype(np.float32))
    torch.set_num_threads(1)


def _print_forward(model: TrainedModel) -> None:
    """The forward alone, one thread: as trained with batches of 1,024 and sampling, and folded."""
    torch.set_num_threads(1)
    x, folded, network = torch.randn(65_536, 110), fold(model.network), model.network.eval()
    generator = torch.Generator().manual_seed(0)
    variants = {
        "as trained": lambda: (
            network.decode(network.encode(b).sample(generator)) for b in x.split(1_024)
        ),
        "folded": lambda: (folded.decode(folded.encode(b).mean) for b in x.split(CPU_MICRO_BATCH)),
        "folded, latents": lambda: (folded.encode(b) for b in x.split(CPU_MICRO_BATCH)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    with torch.inference_mode():
        for _ in range(2 * ROUNDS + 1):
            for name, variant in variants.items():
                clock = time.process_time()
                deque(
                    variant(), maxlen=0
                )  # results are not kept: pages for them would cost more than the network
                seconds[name].append(time.process_time() - clock)
    print(f"{'forward alone, 1 thread':28} {'CPU us/source':>14} {'/ as trained':>13}")
    reference = np.array(seconds["as trained"])
    for name, values in seconds.items():
        ratio = np.median(reference / np.array(values))
        print(f"{name:28} {np.median(values) / len(x) * 1e6:14.2f} {ratio:13.2f}")


def _print(outputs: tuple[str, ...], seconds: dict[str, list[tuple[float, float]]]) -> None:
    wall, cpu = (
        np.array([[pair[i] for pair in values] for values in seconds.values()]) for i in range(2)
    )
    print(f"\n{', '.join(outputs)}: {N_SOURCES:,} sources, medians of {ROUNDS} rounds")
    print(f"{'':32} {'sources/s':>10} {'rate / copy':>12} {'CPU us/source':>14} {'copy / CPU':>11}")
    for name, w, c in zip(seconds, wall, cpu, strict=True):
        print(
            f"{name:32} {N_SOURCES / np.median(w):10,.0f} {np.median(wall[0] / w):12.2f} "
            f"{np.median(c) / N_SOURCES * 1e6:14.2f} {np.median(cpu[0] / c):11.2f}"
        )


if __name__ == "__main__":
    main()
