"""xpscale against the engines that people would take: the same rows, the same network, the same outputs, two workers.

Every other engine reads the rows as Parquet (fixed-size lists, zstd 1), LSDB as HATS, and writes latents, reconstruction and
scatter as Parquet (zstd), with the folded network in micro-batches of 2,048, one torch thread, loaded once a process.  They
do less than xpscale: no errors are read, no likelihood, flags or positions computed, no byte stream split, no record of what
was done.  The allocator is as each engine leaves it.  Engines start outside of the timed part, and have a run to warm up.
Rounds are interleaved; the ratio is the median over rounds of xpscale's rate over theirs.

An engine that is not installed is skipped: ``pip install xpscale[bench,lsdb]``.
``XPSCALE_BENCH_SOURCES`` and ``XPSCALE_BENCH_ROUNDS`` as in `tests.benchmarks.inference`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import xpscale as xps
from tests.benchmarks.inference import N_SOURCES, ROUNDS, _reference, infer, prepare, timed
from xpscale.catalog.sink import ROW_GROUP_SIZE
from xpscale.inference.encoder import CPU_MICRO_BATCH
from xpscale.inference.plan import TASKS_AT_ONCE
from xpscale.model.checkpoint import TrainedModel, load_model
from xpscale.model.folding import fold
from xpscale.runtime.executors.dask import local_cluster
from xpscale.store.reader import SpectraStore
from xpscale.types import SpectraBatch

N_WORKERS = 2
KEPT = ("source_id", "ra", "dec")
N_COEFFICIENTS = 110
RESULTS = {"latents": 12, "reconstruction": N_COEFFICIENTS, "scatter": N_COEFFICIENTS}
Variants = dict[str, Callable[[Path], None]]


def main() -> None:
    """Print the table."""
    folder = Path(tempfile.mkdtemp(prefix="xpscale-bench-"))
    try:
        store, model = prepare(folder)
        model.save(str(folder / "model"))
        write_rows(store, folder / "rows")
        with ExitStack() as stack:
            client = stack.enter_context(local_cluster(N_WORKERS, TASKS_AT_ONCE))
            executor = xps.DaskExecutor(client)
            variants: Variants = {"xpscale": lambda out: infer(store, model, out, executor)}
            for needs, engine in ENGINES.items():
                if importlib.util.find_spec(needs):
                    variants |= engine(folder, stack)
                else:
                    print(f"skipped: {needs} is not installed")
            variants["reference script"] = lambda out: _reference(store, model, out)
            for variant in list(variants.values())[:-1]:
                variant(folder / "warm-up")
                shutil.rmtree(folder / "warm-up")
            seconds = timed(variants, folder)
        _print(seconds)
    finally:
        shutil.rmtree(folder)


def write_rows(store: SpectraStore, folder: Path) -> None:
    """The rows of a store as Parquet, a file a partition."""
    folder.mkdir()
    for number, partition in enumerate(store.partitions):
        batch = store.read(partition)
        columns = {name: pa.array(getattr(batch, name)) for name in (*KEPT, "phot_g_mean_flux")}
        table = pa.table({**columns, "coefficients": _lists(batch.coefficients)})
        options = {"compression": "zstd", "compression_level": 1, "row_group_size": ROW_GROUP_SIZE}
        pq.write_table(table, folder / f"{number:04}.parquet", **options)


def _lists(values: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


@lru_cache(maxsize=1)
def _loaded(model: str) -> tuple[TrainedModel, torch.nn.Module]:
    trained = load_model(model)
    return trained, fold(trained.network)


def encode(flux: np.ndarray, coefficients: np.ndarray, model: str) -> dict[str, np.ndarray]:
    """Latents, reconstruction and scatter of rows; what every engine but xpscale calls."""
    torch.set_num_threads(1)
    trained, network = _loaded(model)
    scaling, nothing = trained.scaling, np.zeros(len(flux))
    x, _ = scaling.standardize(SpectraBatch(nothing.astype(np.int64), nothing, nothing, flux, coefficients, None))
    results: dict[str, list[np.ndarray]] = {name: [] for name in RESULTS}
    with torch.inference_mode():
        for some in torch.from_numpy(x).split(CPU_MICRO_BATCH):
            posterior = network.encode(some)
            decoded = network.decode(posterior.mean)
            results["latents"].append(torch.cat([posterior.mean, posterior.log_var], 1).numpy())
            results["reconstruction"].append(decoded.mean.numpy())
            results["scatter"].append(decoded.scatter.numpy())
    values = {name: np.concatenate(found) for name, found in results.items()}
    per_flux = flux[:, None].astype(np.float32)
    std, mean = scaling.std.astype(np.float32), scaling.mean.astype(np.float32)
    values["reconstruction"] = (values["reconstruction"] * std + mean) * per_flux
    values["scatter"] = values["scatter"] * std * per_flux
    return values


def encode_table(table: pa.Table, model: str) -> pa.Table:
    """The same from Arrow to Arrow."""
    flux = table["phot_g_mean_flux"].to_numpy()
    column = table["coefficients"].combine_chunks()
    values = encode(flux, column.flatten().to_numpy().reshape(len(flux), N_COEFFICIENTS), model)
    return pa.table({**{name: table[name] for name in KEPT}, **{name: _lists(v) for name, v in values.items()}})


def encode_frame(frame: object, model: str) -> object:
    """The same from a pandas frame of Arrow columns to another, its index kept."""
    import pandas as pd

    encoded = encode_table(pa.Table.from_pandas(frame, preserve_index=False), model)
    return encoded.to_pandas(types_mapper=pd.ArrowDtype).set_index(frame.index)


def convert_file(source: str, target: Path, model: str) -> int:
    """Encode one Parquet file into another."""
    table = encode_table(pq.read_table(source), model)
    pq.write_table(table, target / Path(source).name, compression="zstd", compression_level=1)
    return len(table)


def _files(folder: Path) -> list[str]:
    return sorted(map(str, (folder / "rows").iterdir()))


def _dask(folder: Path, stack: ExitStack) -> Variants:
    import dask
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    cluster = stack.enter_context(LocalCluster(n_workers=N_WORKERS, threads_per_worker=1, dashboard_address=":0"))
    client = stack.enter_context(Client(cluster, set_as_default=False))
    model = str(folder / "model")

    def mapped(out: Path) -> None:
        out.mkdir()
        client.gather(client.map(convert_file, _files(folder), target=out, model=model, pure=False))

    def delayed(out: Path) -> None:
        out.mkdir()
        tasks = [dask.delayed(convert_file, pure=False)(file, out, model) for file in _files(folder)]
        client.gather(client.compute(tasks))

    def frame(out: Path) -> None:
        rows = dd.read_parquet(_files(folder), dtype_backend="pyarrow")
        meta = encode_frame(rows._meta, model)
        schema = {name: pa.list_(pa.float32(), width) for name, width in RESULTS.items()}
        done = rows.map_partitions(encode_frame, model, meta=meta)
        write = done.to_parquet(str(out), schema=schema, write_index=False, compute=False, compression="zstd")
        client.compute(write).result()

    return {"Dask client.map": mapped, "Dask delayed": delayed, "Dask dataframe": frame}


def _lsdb(folder: Path, stack: ExitStack) -> Variants:
    import lsdb
    import pandas as pd
    from distributed import Client, LocalCluster

    cluster = stack.enter_context(LocalCluster(n_workers=N_WORKERS, threads_per_worker=1, dashboard_address=":0"))
    client = stack.enter_context(Client(cluster, set_as_default=False))
    rows = pq.read_table(folder / "rows").to_pandas(types_mapper=pd.ArrowDtype)
    options = {"progress_bar": False, "as_collection": False, "create_thumbnail": False}
    zstd = {"compression": "zstd", "compression_level": 1}
    source = lsdb.from_dataframe(
        rows, ra_column="ra", dec_column="dec", partition_rows=ROW_GROUP_SIZE, margin_threshold=None
    )
    source.write_catalog(folder / "hats", catalog_name="rows", write_table_kwargs=zstd, **options)

    def run(out: Path) -> None:
        with client.as_current():
            catalog = lsdb.open_catalog(folder / "hats")
            meta = encode_frame(catalog._ddf._meta, str(folder / "model"))
            done = catalog.map_partitions(encode_frame, str(folder / "model"), meta=meta)
            done.write_catalog(out, catalog_name="latents", write_table_kwargs=zstd, **options)

    return {"LSDB": run}


def _daft(folder: Path, _: ExitStack) -> Variants:
    import daft

    kinds = {name: daft.DataType.fixed_size_list(daft.DataType.float32(), width) for name, width in RESULTS.items()}

    @daft.func.batch(return_dtype=daft.DataType.struct(kinds), batch_size=ROW_GROUP_SIZE // 4)
    def encoded(flux, coefficients):
        column = coefficients.to_arrow().flatten().to_numpy()
        values = encode(flux.to_arrow().to_numpy(), column.reshape(len(flux), N_COEFFICIENTS), str(folder / "model"))
        lists = [_lists(value) for value in values.values()]
        return daft.Series.from_arrow(pa.StructArray.from_arrays(lists, list(values)))

    def run(out: Path) -> None:
        rows = daft.read_parquet(_files(folder)).with_column(
            "all", encoded(daft.col("phot_g_mean_flux"), daft.col("coefficients"))
        )
        columns = [daft.col("all")[name].alias(name) for name in RESULTS]
        rows.select(*KEPT, *columns).write_parquet(str(out), compression="zstd")

    return {"Daft": run}


def _ray(folder: Path, stack: ExitStack) -> Variants:
    import ray

    environment = {"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", str(Path.cwd()))}}
    ray.init(num_cpus=N_WORKERS, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    stack.callback(ray.shutdown)

    def run(out: Path) -> None:
        rows = ray.data.read_parquet(_files(folder))
        done = rows.map_batches(
            encode_table, fn_args=[str(folder / "model")], batch_format="pyarrow", batch_size=ROW_GROUP_SIZE // 4
        )
        done.write_parquet(str(out), compression="zstd")

    return {"Ray Data": run}


ENGINES = {"dask.dataframe": _dask, "lsdb": _lsdb, "daft": _daft, "ray": _ray}


def _print(seconds: dict[str, list[tuple[float, float]]]) -> None:
    wall = {name: np.array([pair[0] for pair in rounds]) for name, rounds in seconds.items()}
    print(f"\n{N_SOURCES:,} sources, latents + reconstruction + scatter, medians of {ROUNDS} rounds")
    print(f"{'':20} {'sources/s':>10} {'xpscale / it':>13}  in each round")
    for name, values in wall.items():
        ratios = values / wall["xpscale"]
        each = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name:20} {N_SOURCES / np.median(values):10,.0f} {np.median(ratios):13.2f}  {each}")


if __name__ == "__main__":
    main()
