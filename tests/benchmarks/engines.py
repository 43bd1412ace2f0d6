"""xpscale against the engines that people would take: the same rows, the same encoder, the same
columns, on two cores.

xpscale reads its store and writes its two products; what the others do is in
`tests.benchmarks._peers`.  The reference script is that of `tests.benchmarks.inference`: fewer
columns, ``.npy`` out.  Engines start outside of the timed part.  Each has a run to warm up, after
which its output must hold every source once, with the columns and latents that the encoder gives
for it.  Rounds are interleaved, medians; ratios are of a round.  CPU time is of all processes, idle
ones too.

What is not installed is skipped (``pip install 'xpscale[bench]'``).  What raises, or lacks rows, is
named and makes the exit code 1; the rest goes on.  ``XPSCALE_BENCH_SOURCES`` (1,048,576) and
``XPSCALE_BENCH_ROUNDS`` (2) say how long it takes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import xpscale as xps
from tests.benchmarks import _peers
from tests.benchmarks.inference import N_SOURCES, _cpu_s, _reference, infer, prepare
from xpscale.inference.encoder import ScatterVAEEncoder
from xpscale.inference.task import TASKS_PER_WORKER
from xpscale.model.checkpoint import TrainedModel
from xpscale.runtime.executors.dask import local_cluster
from xpscale.runtime.executors.threads import ThreadsExecutor
from xpscale.schema import OUTPUTS
from xpscale.store.reader import SpectraStore

ROUNDS = int(os.environ.get("XPSCALE_BENCH_ROUNDS", 2))
OURS = ("xpscale, one process", "xpscale, 2 Dask workers")
PEERS = {"dask.dataframe": _peers.dask, "lsdb": _peers.lsdb, "daft": _peers.daft, "ray": _peers.ray}
TOLERANCE = 1e-3  # sums in float32, of rows cut into other micro-batches


def main() -> None:
    """Print the table."""
    folder = Path(tempfile.mkdtemp(prefix="xpscale-bench-"))
    failed: list[str] = []
    try:
        store, model = prepare(folder)
        model.save(str(folder / "model"))
        encoder = ScatterVAEEncoder(model, OUTPUTS, "cpu")
        expected = pa.concat_tables(
            encoder(store.read(partition)) for partition in store.partitions
        )
        files = _peers.write_rows(store, folder / "rows")
        work = _peers.Work(files, str(folder / "model"), expected.schema, folder)
        with ExitStack() as stack:
            variants = _variants(work, store, model, stack, failed)
            for name in list(variants):
                _attempt(name, variants, folder / "warm-up", failed, expected)
            seconds = _timed(variants, folder, failed)
        _print(seconds)
    finally:
        shutil.rmtree(folder)
    if failed:
        sys.exit("failed: " + ", ".join(failed))


def _variants(
    work: _peers.Work, store: SpectraStore, model: TrainedModel, stack: ExitStack, failed: list[str]
) -> _peers.Variants:
    """Whatever can be started here."""
    client = stack.enter_context(local_cluster(_peers.N_WORKERS, TASKS_PER_WORKER))
    threads, executor = ThreadsExecutor(TASKS_PER_WORKER), xps.DaskExecutor(client)
    variants: _peers.Variants = {
        OURS[0]: lambda out: infer(store, model, out, threads),
        OURS[1]: lambda out: infer(store, model, out, executor),
        "reference script": lambda out: _reference(store, model, out),
        "client.map, xpscale's workers": lambda out: _peers.map_files(work, client, out),
    }
    for module, start in PEERS.items():
        if importlib.util.find_spec(module) is None:
            print(f"{module:30} skipped: not installed")
            continue
        try:
            variants |= start(work, stack)
        except Exception as error:  # whatever an engine raises is its result
            _fail(module, error, failed)
    return variants


def _attempt(
    name: str,
    variants: _peers.Variants,
    out: Path,
    failed: list[str],
    expected: pa.Table | None = None,
) -> tuple[float, float] | None:
    """Wall and CPU seconds of a run, whose output is checked and removed; one that fails is not run
    again.
    """
    clock, cpu = time.perf_counter(), _cpu_s()
    try:
        variants[name](out)
        seconds = time.perf_counter() - clock, _cpu_s() - cpu
        if expected is not None:
            _check(out, expected)
    except Exception as error:  # whatever an engine raises is its result
        _fail(name, error, failed)
        del variants[name]
        return None
    finally:
        shutil.rmtree(out, ignore_errors=True)
    return seconds


def _fail(name: str, error: Exception, failed: list[str]) -> None:
    failed.append(name)
    print(f"{name:30} failed: {type(error).__name__}: {error}")


def _check(out: Path, expected: pa.Table) -> None:
    """Every source once, with the columns that are expected and the numbers in some of them."""
    if (
        out / "latents.npy"
    ).exists():  # the reference script's arrays, in the store's order, without identifiers
        np.testing.assert_allclose(
            np.load(out / "latents.npy")[:, 0], expected["latent_mean_0"], atol=TOLERANCE
        )
        return
    schemas = {
        path: pq.read_schema(path)
        for path in out.rglob("*.parquet")
        if path.name != "data_thumbnail.parquet"
    }
    if missing := set(expected.schema.names).difference(
        *(schema.names for schema in schemas.values())
    ):
        raise ValueError(f"the output lacks the columns {', '.join(sorted(missing))}")
    wanted = expected.sort_by("source_id")
    for column in ("latent_mean_0", "scatter"):
        paths = [path for path, schema in schemas.items() if column in schema.names]
        tables = [
            pq.read_table(path, columns=["source_id", column], partitioning=None) for path in paths
        ]
        found = pa.concat_tables(tables, promote_options="permissive").sort_by("source_id")
        if not np.array_equal(found["source_id"], wanted["source_id"]):
            raise ValueError(
                f"{len(found)} rows of {column}, not the {len(wanted)} sources once each"
            )
        values, right = (_first(table[column]) for table in (found, wanted))
        np.testing.assert_allclose(values, right, rtol=TOLERANCE, atol=TOLERANCE, err_msg=column)


def _first(column: pa.ChunkedArray) -> np.ndarray:
    """The values of a column, of lists the first of each."""
    values = column.combine_chunks()
    return (
        values.flatten().to_numpy().reshape(len(values), -1)[:, 0]
        if pa.types.is_nested(values.type)
        else values.to_numpy()
    )


def _timed(variants: _peers.Variants, folder: Path, failed: list[str]) -> dict[str, np.ndarray]:
    """Wall and CPU seconds of whatever runs to its end in every round, with shape (rounds, 2)."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name in list(variants):
            if taken := _attempt(name, variants, folder / "out", failed):
                seconds[name].append(taken)
    return {name: np.array(seconds[name]) for name in variants}


def _print(seconds: dict[str, np.ndarray]) -> None:
    print(
        f"\n{', '.join(OUTPUTS)}: {N_SOURCES:,} sources, medians of {ROUNDS} rounds (lowest to"
        " highest)"
    )
    ratios = [ours for ours in OURS if ours in seconds]
    print(
        f"{'':30} {'sources/s':>10} {'CPU us/source':>14}"
        + "".join(f"  {ours + ' / it':>29}" for ours in ratios)
    )
    for name, values in seconds.items():
        wall, cpu = np.median(values, axis=0)
        each = "".join(f"  {_spread(values[:, 0] / seconds[ours][:, 0]):>29}" for ours in ratios)
        print(f"{name:30} {N_SOURCES / wall:10,.0f} {cpu / N_SOURCES * 1e6:14.2f}{each}")


def _spread(ratios: np.ndarray) -> str:
    return f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"


if __name__ == "__main__":
    main()
