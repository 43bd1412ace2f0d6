"""Other engines with the same work: Parquet or HATS in, the catalogue's columns out, each used as
its manual says.

All call xpscale's own encoder (folded network, compiled kernels, micro-batches of 4,096, one torch
thread), kept in the process; they differ in how rows are read, distributed and written. In the
variants "as its users have it" LSDB and Ray Data run the network as trained and write with their
own options. The engines read what `write_rows` wrote, and write the columns of both products into
one table, in the encodings of `xpscale.catalog.encoding` where their writers accept them (Daft's
accepts a codec only). The allocator is as each engine leaves it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.bands import Bands
from xpscale.catalog.encoding import write_options
from xpscale.catalog.sink import BLOCK_ROWS
from xpscale.inference.encoder import ScatterVAEEncoder, _arrow
from xpscale.model.checkpoint import load_model
from xpscale.schema import OUTPUTS
from xpscale.spectra import SpectraBatch

if TYPE_CHECKING:
    from distributed import Client

    from xpscale.store.reader import SpectraStore

N_WORKERS = 2
BATCH_SIZE = BLOCK_ROWS // 4  # of engines that cut batches: each worker has several of them
SCALARS = ("source_id", "ra", "dec", "phot_g_mean_flux")
ARRAYS = ("coefficients", "coefficient_errors")
COLUMNS = (*SCALARS, *ARRAYS)
LISTS = (*ARRAYS, "reconstruction", "scatter")

Variants = dict[str, Callable[[Path], None]]
"""What to run, by its name in the table; each writes into a new folder."""


@dataclass(frozen=True)
class Work:
    """The input of every engine: Parquet files, a model, columns to write, a scratch folder."""

    files: list[Path]
    model: str
    schema: pa.Schema
    scratch: Path

    @property
    def options(self) -> dict[str, Any]:
        """Options for writers that pass them to pyarrow."""
        return _options(self.schema)


def write_rows(store: SpectraStore, folder: Path) -> list[Path]:
    """Write the rows of a store as Parquet, one file for each partition."""
    folder.mkdir()
    files = [folder / f"{number:04}.parquet" for number in range(len(store.partitions))]
    for file, partition in zip(files, store.partitions, strict=True):
        batch = store.read(partition)
        _write(pa.table({name: _arrow(getattr(batch, name)) for name in COLUMNS}), file)
    return files


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=BLOCK_ROWS, **_options(table.schema))


def _options(schema: pa.Schema) -> dict[str, Any]:
    """Our encodings, for rows in any order."""
    options = write_options(schema)
    del options["sorting_columns"]
    return options


@lru_cache(maxsize=2)
def _encoder(model: str, is_folded: bool) -> ScatterVAEEncoder:
    trained = load_model(model)
    encoder = ScatterVAEEncoder(trained, OUTPUTS, "cpu")
    if not is_folded:
        object.__setattr__(encoder.lanes.on_device, "network", trained.network.eval())
    return encoder


def encode(table: pa.Table, model: str, is_folded: bool = True) -> pa.Table:
    """Encode an Arrow table."""
    columns = {name: table[name].to_numpy() for name in SCALARS}
    for name in ARRAYS:
        column = table[name].combine_chunks()
        columns[name] = column.flatten().to_numpy().reshape(len(column), -1)
    return _encoder(model, is_folded)(SpectraBatch(**columns, bands=Bands(55, 55)))


def encode_frame(
    frame: pd.DataFrame, model: str, index: str | None = None, is_folded: bool = True
) -> pd.DataFrame:
    """Encode a pandas frame of Arrow columns, and set one of the new columns as index."""
    return _frame(
        encode(pa.Table.from_pandas(frame, preserve_index=False), model, is_folded), index
    )


def _frame(table: pa.Table, index: str | None = None) -> pd.DataFrame:
    """A table as a frame; its lists may hold nulls, because LSDB expects this type of a result."""
    lists = {
        field.name: pa.list_(pa.float32(), field.type.list_size)
        for field in table.schema
        if field.name in LISTS
    }
    fields = [field.with_type(lists.get(field.name, field.type)) for field in table.schema]
    frame = table.cast(pa.schema(fields)).to_pandas(types_mapper=pd.ArrowDtype)
    return frame.set_index(index) if index else frame


def convert_file(source: Path, target: Path, model: str) -> None:
    """Encode one Parquet file into another."""
    _write(encode(pq.read_table(source), model), target / source.name)


def map_files(work: Work, client: Client, out: Path) -> None:
    """``client.map`` over the files."""
    out.mkdir()
    client.gather(client.map(convert_file, work.files, target=out, model=work.model, pure=False))


@lru_cache(maxsize=1)
def _plain_cluster(stack: ExitStack) -> Client:
    """Dask with its defaults, two workers of one thread."""
    from distributed import Client, LocalCluster

    settings = {
        "threads_per_worker": 1,
        "memory_limit": 0,
        "dashboard_address": ":0",
        "silence_logs": logging.CRITICAL,
    }
    cluster = LocalCluster(N_WORKERS, **settings)
    return stack.enter_context(Client(stack.enter_context(cluster), set_as_default=False))


def dask(work: Work, stack: ExitStack) -> Variants:
    """``client.map``, delayed and dataframe."""
    import dask
    import dask.dataframe as dd

    client = _plain_cluster(stack)

    def delayed(out: Path) -> None:
        out.mkdir()
        tasks = [
            dask.delayed(convert_file, pure=False)(file, out, work.model) for file in work.files
        ]
        client.gather(client.compute(tasks))

    def frame(out: Path) -> None:
        rows = dd.read_parquet([str(file) for file in work.files], dtype_backend="pyarrow")
        done = rows.map_partitions(encode_frame, work.model, meta=_frame(work.schema.empty_table()))
        files = done.to_parquet(
            str(out), schema=work.schema, write_index=False, compute=False, **work.options
        )
        client.compute(files).result()

    mapped = {"Dask client.map": lambda out: map_files(work, client, out)}
    return mapped | {"Dask delayed": delayed, "Dask dataframe": frame}


def lsdb(work: Work, stack: ExitStack) -> Variants:
    """``map_partitions`` and ``write_catalog``, with zstd at level 1 and at its default of 15."""
    import lsdb

    client, index = _plain_cluster(stack), "_healpix_29"
    saved = {"progress_bar": False, "as_collection": False, "create_thumbnail": False}
    rows = _frame(pa.concat_tables(pq.read_table(file) for file in work.files))
    catalog = lsdb.from_dataframe(
        rows, ra_column="ra", dec_column="dec", partition_rows=BLOCK_ROWS, margin_threshold=None
    )
    codec = {"compression": "zstd", "compression_level": 1}
    catalog.write_catalog(
        work.scratch / "hats", catalog_name="rows", write_table_kwargs=codec, **saved
    )

    def run(out: Path, is_ours: bool) -> None:
        with client.as_current():
            rows = lsdb.open_catalog(work.scratch / "hats")
            meta = _frame(work.schema.empty_table(), index)
            done = rows.map_partitions(encode_frame, work.model, index, is_ours, meta=meta)
            options = {"write_table_kwargs": work.options} if is_ours else {}
            done.write_catalog(out, catalog_name="latents", **options, **saved)

    return {
        "LSDB": lambda out: run(out, True),
        "LSDB, as its users have it": lambda out: run(out, False),
    }


def daft(work: Work, _: ExitStack) -> Variants:
    """A batch function over ``read_parquet``, in this process."""
    import daft

    kinds = {field.name: daft.DataType.from_arrow_type(field.type) for field in work.schema}

    @daft.func.batch(return_dtype=daft.DataType.struct(kinds), unnest=True, batch_size=BATCH_SIZE)
    def encoded(*columns: daft.Series) -> daft.Series:
        rows = pa.table(
            {name: column.to_arrow() for name, column in zip(COLUMNS, columns, strict=True)}
        )
        return daft.Series.from_arrow(encode(rows, work.model).to_struct_array())

    def run(out: Path) -> None:
        rows = daft.read_parquet([str(file) for file in work.files])
        rows.select(encoded(*(daft.col(name) for name in COLUMNS))).write_parquet(
            str(out), compression="zstd"
        )

    return {"Daft": run}


def ray(work: Work, stack: ExitStack) -> Variants:
    """``map_batches`` with tasks; actors would hold the two CPUs that reading and writing need.

    Ray's default reader puts all of these files into one task, which leaves a CPU idle, so the
    older reader is used.
    """
    import ray

    ray.init(
        num_cpus=N_WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    stack.callback(ray.shutdown)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.use_datasource_v2 = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)

    def run(out: Path, is_ours: bool) -> None:
        rows = ray.data.read_parquet([str(file) for file in work.files])
        done = rows.map_batches(
            encode, fn_args=[work.model, is_ours], batch_format="pyarrow", batch_size=BATCH_SIZE
        )
        done.write_parquet(str(out), **(work.options if is_ours else {}))

    return {
        "Ray Data": lambda out: run(out, True),
        "Ray Data, as its users have it": lambda out: run(out, False),
    }
