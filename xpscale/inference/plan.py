"""What an inference run will do: tasks, rows, bytes, memory, time; said before anything is
started.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from xpscale.catalog.layout import MODEL
from xpscale.catalog.manifest import RunIdentity
from xpscale.catalog.sink import ParquetSink
from xpscale.errors import PlanError
from xpscale.forecast.inference import InferenceProjection
from xpscale.forecast.probe import PROBE_S, Calibration, probe
from xpscale.formatting import format_bytes, format_duration
from xpscale.inference.requirements import require_encodable
from xpscale.inference.task import TASKS_PER_WORKER, EncodePartition, InferenceTask
from xpscale.inference.worker_check import WorkerCheck
from xpscale.model.cost import multiplications
from xpscale.runtime.preflight import software_text
from xpscale.schema import (
    FULL_PRECISION,
    OUTPUTS,
    SCHEMA_VERSION,
    checked_outputs,
    checked_precision,
    spectra_outputs,
)
from xpscale.spectra import SpectraReader
from xpscale.storage import Storage

if TYPE_CHECKING:
    from xpscale.forecast.prices import Prices
    from xpscale.model.checkpoint import TrainedModel
    from xpscale.types import Executor

__all__ = ["InferencePlan", "plan_inference"]


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
        return self.projection.n_rows

    @cached_property
    def projection(self) -> InferenceProjection:
        """Bytes, requests, memory and time."""
        n_spectra_outputs = len(spectra_outputs(self.identity.outputs))
        cost = multiplications(self.model.network)
        return InferenceProjection(
            tuple(task.partition.n_rows for task in self.tasks),
            self.identity.n_coefficients,
            self.identity.products,
            n_spectra_outputs,
            needs_errors=n_spectra_outputs > 0 or self.model.network.needs_errors,
            reads_in_blocks=self.reader.reads_in_blocks,
            tasks_per_worker=TASKS_PER_WORKER,
            multiplications=cost.encode + (cost.decode if n_spectra_outputs else 0),
        )

    def prepare(self, place: Storage, device: str) -> EncodePartition:
        """Put the model where workers find it; what they do with each task.

        Parameters
        ----------
        place, device
            As of `function`.
        """
        self.model.save(place / MODEL)
        return self.function(place, device)

    def function(self, place: Storage, device: str) -> EncodePartition:
        """What workers do with each task, and what they must be able to do; nothing is written.

        Parameters
        ----------
        place
            Where model and parts go: the catalogue, or a probe's scratch place.
        device
            ``"auto"``, ``"cpu"`` or ``"cuda"``.
        """
        sink, memory = ParquetSink(place, self.identity.layout), self.projection.worker_memory
        check = WorkerCheck.of(self.reader, place, self.model, device, memory)
        return EncodePartition(
            self.reader, sink, self.identity.model_id, device, self.identity.truncated, check
        )

    def probe(
        self,
        executor: Executor,
        *,
        device: str = "auto",
        seconds: float = PROBE_S,
        since: float | None = None,
    ) -> Calibration:
        """Measure the rate of this plan's tasks on an executor; its catalogue is not touched.

        Parameters
        ----------
        executor
            Where the run will be.
        device
            Where to compute.
        seconds, since
            As in `xpscale.forecast.probe.probe`, which also says what is raised.
        """
        scratches = Storage(f"{self.catalog.url}.probe")
        prepare = partial(self.prepare, device=device)
        return probe(self.tasks, prepare, executor, scratches, seconds=seconds, since=since)

    def check_memory(self, n_workers: int, memory: int) -> None:
        """Refuse a run whose workers on this machine would not fit into its memory.

        Parameters
        ----------
        n_workers
            Worker processes.
        memory
            Bytes that the machine can give.

        Raises
        ------
        PlanError
            With both numbers.
        """
        needed = n_workers * self.projection.worker_memory
        if needed > memory:
            raise PlanError(
                f"{n_workers} workers need up to {format_bytes(needed)} of memory, and"
                f" {format_bytes(memory)} are available",
                "Use fewer workers, or ingest with a smaller --max-rows",
            )

    def to_dict(
        self, n_workers: int = 1, probed: Calibration | None = None, prices: Prices | None = None
    ) -> dict[str, Any]:
        """The plan's numbers, for programs.

        Parameters
        ----------
        n_workers
            Worker processes.
        probed
            What a probe measured.
        prices
            A price table: what the run costs is said as well.
        """
        projection, projected = self.projection, self.projection.forecast(n_workers, probed)
        return {
            "catalog": self.catalog.url,
            "n_tasks": len(self.tasks),
            "n_rows": self.n_rows,
            "orders": {str(order): n for order, n in self._orders()},
            "bytes_in": projection.bytes_in,
            "bytes_out": projection.bytes_out,
            "projected_memory_per_worker": projection.worker_memory,
            "n_workers": n_workers,
            "projected_s": round(projected.seconds, 1),
            "forecast": asdict(projected),
            "model_id": self.identity.model_id,
            "input_digest": self.identity.input_digest,
            "outputs": list(self.identity.outputs),
            **({"probe": probed.to_dict()} if probed else {}),
            **({"cost": projection.cost(prices, n_workers, probed).to_dict()} if prices else {}),
        }

    def describe(
        self, n_workers: int = 1, probed: Calibration | None = None, prices: Prices | None = None
    ) -> str:
        """The plan in a few lines for a person.

        Parameters
        ----------
        n_workers, probed, prices
            As in `to_dict`.
        """
        projection, projected = self.projection, self.projection.forecast(n_workers, probed)
        orders = ", ".join(f"{n} of order {order}" for order, n in self._orders())
        kind = "worker" if probed else "CPU worker"
        lines = [
            f"{self.n_rows:,} sources in {len(self.tasks):,} tasks ({orders})",
            f"  model {self.identity.model_id[:12]}, outputs {', '.join(self.identity.outputs)}",
            f"  reads about {format_bytes(projection.bytes_in)}, writes about"
            f" {format_bytes(projection.bytes_out)} to {self.catalog.url}",
            f"  at most {format_bytes(projection.worker_memory)} of memory a worker, about"
            f" {format_duration(projected.seconds)} on {n_workers} {kind}{'s' * (n_workers != 1)}:"
            f" start-up {format_duration(projected.start_up_s)},"
            f" work {format_duration(projected.work_s)},"
            f" publishing {format_duration(projected.publish_s)}",
        ]
        if probed:
            lines.append(f"  probe: {probed}")
        if prices:
            lines.append(f"  costs about {projection.cost(prices, n_workers, probed)}")
        return "\n".join(lines)

    def _orders(self) -> list[tuple[int, int]]:
        return sorted(Counter(task.partition.pixel.order for task in self.tasks).items())

    def __str__(self) -> str:
        return self.describe()


def plan_inference(
    reader: SpectraReader,
    model: TrainedModel,
    catalog: str | Storage,
    *,
    outputs: Sequence[str] = OUTPUTS,
    precision: str = FULL_PRECISION,
    truncate: bool = False,
) -> InferencePlan:
    """Plan a run over every partition of a store.  Touches nothing.

    Parameters
    ----------
    reader
        From `xpscale.open_spectra`.
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
    truncate
        Whether to leave out the orders beyond the archive's numbers of relevant bases, as missing
        elements (`xpscale.relevant_bases`).

    Raises
    ------
    InvalidInputError
        The model is of other bands than the spectra or has no scaling, an output is not known, or
        spectra or network do not allow to truncate.
    ConflictError
        The model says that it is of another release than the spectra.
    """
    require_encodable(reader, model, outputs, truncate=truncate)
    identity = RunIdentity(
        input_digest=reader.digest,
        model_id=model.model_id,
        n_latents=model.n_latents,
        n_bp=model.bands.n_bp,
        n_rp=model.bands.n_rp,
        release=reader.release.name,
        n_tasks=len(reader.partitions),
        outputs=checked_outputs(outputs),
        schema_version=SCHEMA_VERSION,
        software=software_text(),
        precision=checked_precision(precision),
        companions=reader.companions,
        pixel_positions=reader.pixel_positions,
        truncated=truncate,
    )
    storage = catalog if isinstance(catalog, Storage) else Storage(catalog)
    tasks = tuple(InferenceTask(partition) for partition in reader.partitions)
    return InferencePlan(reader, model, storage, identity, tasks)
