"""What an inference run will do: tasks, rows, bytes, memory, time; said before anything is
started.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from xpscale.catalog.manifest import RunIdentity
from xpscale.catalog.sink import ROW_GROUP_SIZE
from xpscale.errors import InvalidInputError, PlanError
from xpscale.forecast.prices import Cost, Prices
from xpscale.forecast.throughput import Cluster, Forecast, Load, forecast
from xpscale.formatting import format_bytes, format_duration
from xpscale.schema import (
    FULL_PRECISION,
    OUTPUTS,
    SCHEMA_VERSION,
    checked_outputs,
    checked_precision,
)
from xpscale.storage import Storage
from xpscale.store.layout import ARRAYS
from xpscale.types import Partition, SpectraReader

if TYPE_CHECKING:
    from xpscale.inference.probe import Calibration
    from xpscale.model.checkpoint import TrainedModel

__all__ = ["InferencePlan", "InferenceTask", "available_memory", "plan_inference"]

WORKER_BASE_BYTES = (
    750_000_000  # a process with torch, numba, pyarrow and astropy loaded, before the first task
)
TASKS_AT_ONCE = 2  # in a worker: one is computed while another is read or written
# of C float32 a row of a block: coefficients, errors, reconstruction, scatter, the row group and
# its pages
BUFFERS = 7
BYTES_OF_SCALARS = 800  # the other columns of a row of a block
PART_COPIES = 2  # of a partition's compressed bytes: they grow until all blocks are in them
LATENTS_BYTES = 66  # a row of the product, compressed
SPECTRA_BYTES_PER_COEFFICIENT = 7.1
STORE_BYTES_PER_COEFFICIENT = 3.9
SOURCES_PER_SECOND = {
    "latents": 450_000,
    "spectra": 100_000,
}  # a CPU worker with one thread; measured, 2 cores
START_UP_S = 5.0  # imports and the model, in every worker process
N_SCALAR_ARRAYS = sum(not array.is_vector for array in ARRAYS)
GETS_PUBLISH = 4  # requests of publishing, a part
PUBLISH_S, PUBLISH_PART_S = (
    4.0,
    0.02,
)  # HATS metadata: imports, and each part's footer and positions


@dataclass(frozen=True, slots=True)
class InferenceTask:
    """One partition to encode."""

    partition: Partition

    @property
    def key(self) -> str:
        """``Norder=5/Npix=1234``."""
        return self.partition.pixel.key


@dataclass(frozen=True)
class InferencePlan:
    """A run, described.  Holds what workers need to begin, and nothing they would have to be sent
    twice.

    Parameters
    ----------
    reader
        The spectra.
    model
        The model.
    catalog
        Where the derived catalogue will be.
    identity
        What determines its content.
    tasks
        One a partition, sorted by position.
    """

    reader: SpectraReader
    model: TrainedModel
    catalog: Storage
    identity: RunIdentity
    tasks: tuple[InferenceTask, ...]

    @property
    def n_rows(self) -> int:
        """Sources to encode."""
        return sum(task.partition.n_rows for task in self.tasks)

    @property
    def needs_errors(self) -> bool:
        """Whether coefficient errors are read: by the fit of a reconstruction, or by the encoder if
        it takes them.
        """
        return len(self.identity.outputs) > 1 or self.model.network.needs_errors

    @property
    def bytes_in(self) -> int:
        """Bytes to read, about."""
        n_arrays = 2 if self.needs_errors else 1
        per_row = self.identity.n_coefficients * STORE_BYTES_PER_COEFFICIENT * n_arrays + 32
        return int(self.n_rows * per_row)

    @property
    def bytes_out(self) -> int:
        """Bytes to write, about."""
        per_row = LATENTS_BYTES
        n_arrays = len(self.identity.outputs) - 1
        per_row += int(n_arrays * self.identity.n_coefficients * SPECTRA_BYTES_PER_COEFFICIENT / 2)
        return self.n_rows * per_row

    @property
    def projected_memory(self) -> int:
        """Bytes of memory that no worker process will exceed: its base, and the buffers and parts
        of the tasks in it.
        """
        largest = max((task.partition.n_rows for task in self.tasks), default=0)
        in_memory = min(largest, ROW_GROUP_SIZE) if self.reader.reads_in_blocks else largest
        per_row = BUFFERS * 4 * self.identity.n_coefficients + BYTES_OF_SCALARS
        parts = largest * self.bytes_out // max(self.n_rows, 1)
        return WORKER_BASE_BYTES + TASKS_AT_ONCE * (in_memory * per_row + PART_COPIES * parts)

    @property
    def n_requests(self) -> dict[str, int]:
        """Requests that read (``get``) and that write or list (``put``), about: of each task, and
        of publishing.

        A task looks into the ledger and reads metadata and values of each small array, and of each
        array of vectors its metadata, size, index, and then block by block
        (`xpscale.store.shards`).
        """
        n_products, n_tasks, n_vectors = (
            len(self.identity.products),
            len(self.tasks),
            2 if self.needs_errors else 1,
        )
        n_blocks = sum(-(-task.partition.n_rows // ROW_GROUP_SIZE) for task in self.tasks)
        gets = (
            n_tasks * (1 + 2 * N_SCALAR_ARRAYS + 3 * n_vectors + GETS_PUBLISH * n_products)
            + n_blocks * n_vectors
        )
        return {"get": gets, "put": n_tasks * (n_products + 1)}

    def forecast(self, n_workers: int, probed: Calibration | None = None) -> Forecast:
        """Wall time on some workers: as a probe measured them, or on CPU workers as they were
        measured elsewhere.
        """
        largest = max((task.partition.n_rows for task in self.tasks), default=0)
        rows = max(self.n_rows, 1)
        load = Load(
            self.n_rows, len(self.tasks), largest, self.bytes_in / rows, self.bytes_out / rows
        )
        rate = (
            probed.worker_sources_per_s
            if probed
            else SOURCES_PER_SECOND[self.identity.products[-1]]
        )
        cluster = Cluster(
            rate,
            workers_per_node=max(n_workers, 1),
            start_up_s=probed.start_up_s if probed else START_UP_S,
            publish_s=PUBLISH_S + PUBLISH_PART_S * len(self.tasks) * len(self.identity.products),
        )
        return forecast(load, cluster)

    def cost(self, prices: Prices, n_workers: int, probed: Calibration | None = None) -> Cost:
        """What the run costs on some workers."""
        requests = self.n_requests
        return Cost.of(
            prices,
            worker_s=max(n_workers, 1) * self.forecast(n_workers, probed).seconds,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            n_put=requests["put"],
            n_get=requests["get"],
        )

    def check_memory(self, n_workers: int, memory: int) -> None:
        """Refuse a run whose workers on this machine would not fit into its memory.

        Raises
        ------
        PlanError
            With both numbers.
        """
        needed = n_workers * self.projected_memory
        if needed > memory:
            raise PlanError(
                f"{n_workers} workers need up to {format_bytes(needed)} of memory, and {format_bytes(memory)} are"
                " available",
                "Use fewer workers, or ingest with a smaller --max-rows",
            )

    def to_dict(
        self, n_workers: int = 1, probed: Calibration | None = None, prices: Prices | None = None
    ) -> dict[str, Any]:
        """The plan's numbers, for programs; with what a probe measured and what it costs, if these
        are given.
        """
        orders = [task.partition.pixel.order for task in self.tasks]
        projected = self.forecast(n_workers, probed)
        return {
            "catalog": self.catalog.url,
            "n_tasks": len(self.tasks),
            "n_rows": self.n_rows,
            "orders": {str(order): orders.count(order) for order in sorted(set(orders))},
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "projected_memory_per_worker": self.projected_memory,
            "n_workers": n_workers,
            "projected_s": round(projected.seconds, 1),
            "forecast": asdict(projected),
            "model_id": self.identity.model_id,
            "input_digest": self.identity.input_digest,
            "outputs": list(self.identity.outputs),
            **({"probe": probed.to_dict()} if probed else {}),
            **({"cost": self.cost(prices, n_workers, probed).to_dict()} if prices else {}),
        }

    def describe(
        self, n_workers: int = 1, probed: Calibration | None = None, prices: Prices | None = None
    ) -> str:
        """The plan in a few lines for a person."""
        numbers, projected = self.to_dict(n_workers), self.forecast(n_workers, probed)
        orders = ", ".join(f"{n} of order {order}" for order, n in numbers["orders"].items())
        lines = [
            f"{self.n_rows:,} sources in {len(self.tasks):,} tasks ({orders})",
            f"  model {self.identity.model_id[:12]}, outputs {', '.join(self.identity.outputs)}",
            (
                f"  reads about {format_bytes(self.bytes_in)}, writes about {format_bytes(self.bytes_out)} to"
                f" {self.catalog.url}"
            ),
            (
                f"  at most {format_bytes(self.projected_memory)} of memory a worker, about"
                f" {format_duration(projected.seconds)} on {n_workers}"
                f" {'' if probed else 'CPU '}worker{'s' * (n_workers != 1)}: start-up"
                f" {format_duration(projected.start_up_s)}, work {format_duration(projected.work_s)}, publishing"
                f" {format_duration(projected.publish_s)}"
            ),
        ]
        if probed:
            lines.append(f"  probe: {probed}")
        if prices:
            lines.append(f"  costs about {self.cost(prices, n_workers, probed)}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.describe()


def plan_inference(
    reader: SpectraReader,
    model: TrainedModel,
    catalog: str | Storage,
    *,
    outputs: Sequence[str] = OUTPUTS,
    precision: str = FULL_PRECISION,
) -> InferencePlan:
    """Plan a run over every partition of a store.  Touches nothing.

    Parameters
    ----------
    reader
        From `xpscale.open_store`.
    model
        From `xpscale.load_model`.
    catalog
        Where the derived catalogue will be: a folder or ``s3://``.
    outputs
        ``latents``, and ``reconstruction`` or ``scatter`` or both where they are wanted.  Latents
        alone need no decoder and no coefficient errors, and have no ``nll`` and ``reduced_chi2``.
    precision
        Of reconstruction and scatter: ``"float32"``, or the largest rounding error as a fraction of
        the total error, such as ``"0.01"``.

    Raises
    ------
    InvalidInputError
        The model does not fit the store, has no scaling, or an output is not known.
    """
    if model.n_coefficients != reader.n_coefficients:
        raise InvalidInputError(
            f"the model takes {model.n_coefficients} coefficients, the store has"
            f" {reader.n_coefficients}",
            "Use a model trained on spectra of this width",
        )
    if not model.scaling.is_known:
        raise InvalidInputError(
            f"model {model.model_id[:12]} has no scaling, so it cannot be applied to spectra",
            "Import it with --scaling FILE.npz or --scaling-from STORE",
        )
    identity = RunIdentity(
        input_digest=reader.digest,
        model_id=model.model_id,
        n_latents=model.n_latents,
        **model.bands.to_dict(),
        release=reader.release.name,
        n_tasks=len(reader.partitions),
        outputs=checked_outputs(outputs),
        schema_version=SCHEMA_VERSION,
        software=f"xpscale {version('xpscale')}",
        precision=checked_precision(precision),
    )
    storage = catalog if isinstance(catalog, Storage) else Storage(catalog)
    tasks = tuple(InferenceTask(partition) for partition in reader.partitions)
    return InferencePlan(reader, model, storage, identity, tasks)


def available_memory() -> int:
    """Bytes of memory this machine (or the control group we are in) can still give."""
    import psutil

    return int(psutil.virtual_memory().available)
