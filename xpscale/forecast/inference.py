"""What an inference run costs before it is begun: bytes, requests, memory of a worker, wall time.

The constants were measured on two CPU cores; a probe (`xpscale.forecast.probe`) replaces those of
time by what the workers of the run do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpscale.catalog.sink import BLOCK_ROWS
from xpscale.forecast.prices import Cost
from xpscale.forecast.throughput import Cluster, Forecast, Load, forecast
from xpscale.store.layout import ARRAYS

if TYPE_CHECKING:
    from xpscale.forecast.prices import Prices
    from xpscale.forecast.probe import Calibration

__all__ = ["GETS_PUBLISH", "InferenceProjection"]

WORKER_BASE_BYTES = 850_000_000
"""A process with torch, numba, pyarrow and astropy loaded, before the first task."""

BUFFERS = 7
"""Arrays of C float32 a row of a block: coefficients, errors, reconstruction, scatter, the row
group and its pages.
"""

BYTES_OF_SCALARS = 800  # the other columns of a row of a block
PART_COPIES = 2  # of a partition's compressed bytes: they grow until all blocks are in them
LATENTS_BYTES = 112  # a row of the product with correlations and magnitudes, compressed
BYTES_PER_WRITTEN_COEFFICIENT = 3.55  # of reconstruction or scatter, compressed
BYTES_PER_STORED_COEFFICIENT = 3.9
BYTES_PER_STORED_ROW = 32  # of the scalar arrays

SECONDS_PER_SOURCE = {"latents": 1.8e-6, "spectra": 8.7e-6}
"""Of a CPU worker with one thread, without the network: reading, scaling, fit, flags, writing."""

SECONDS_PER_MULTIPLICATION = 2e-11
"""Of one thread: 100 GFLOP/s, between AVX2 (78) and AVX-512 (130)."""

START_UP_S = 5.0  # imports and the model, in every worker process
PUBLISH_S, PUBLISH_PART_S = 6.0, 0.002  # imports and maps; report and cell counts of each part

N_SCALAR_ARRAYS = sum(not array.is_vector for array in ARRAYS)
GETS_PUBLISH = 4  # requests of publishing, a part


@dataclass(frozen=True, slots=True)
class InferenceProjection:
    """The numbers of a run that has not been done.

    Parameters
    ----------
    partition_rows
        Sources of each partition; a partition is a task.
    n_coefficients
        C.
    products
        What is written: ``latents``, or ``latents`` and ``spectra``.
    n_spectra_outputs
        Vectors of C numbers that are written for every source: 0 to 2.
    needs_errors
        Whether coefficient errors are read.
    reads_in_blocks
        Whether a block of rows is read at a time, and not a whole partition.
    tasks_per_worker
        Tasks that a worker process has in memory at the same time.
    multiplications
        Of the network, for each source (`xpscale.model.cost`).
    """

    partition_rows: tuple[int, ...]
    n_coefficients: int
    products: tuple[str, ...]
    n_spectra_outputs: int
    needs_errors: bool
    reads_in_blocks: bool
    tasks_per_worker: int
    multiplications: int

    @property
    def n_tasks(self) -> int:
        """Partitions."""
        return len(self.partition_rows)

    @property
    def n_rows(self) -> int:
        """Sources."""
        return sum(self.partition_rows)

    @property
    def largest(self) -> int:
        """Sources of the largest partition."""
        return max(self.partition_rows, default=0)

    @property
    def n_vectors(self) -> int:
        """Vectors of C numbers that are read for every source."""
        return 2 if self.needs_errors else 1

    @property
    def bytes_in(self) -> int:
        """Bytes to read, about."""
        vectors = self.n_coefficients * BYTES_PER_STORED_COEFFICIENT * self.n_vectors
        return int(self.n_rows * (vectors + BYTES_PER_STORED_ROW))

    @property
    def bytes_out(self) -> int:
        """Bytes to write, about."""
        vectors = self.n_coefficients * BYTES_PER_WRITTEN_COEFFICIENT * self.n_spectra_outputs
        return self.n_rows * (LATENTS_BYTES + int(vectors))

    @property
    def worker_memory(self) -> int:
        """Bytes of memory that no worker process will exceed: its base, and the buffers and parts
        of the tasks in it.
        """
        in_memory = min(self.largest, BLOCK_ROWS) if self.reads_in_blocks else self.largest
        per_row = BUFFERS * 4 * self.n_coefficients + BYTES_OF_SCALARS
        parts = self.largest * self.bytes_out // max(self.n_rows, 1)
        task = in_memory * per_row + PART_COPIES * parts
        return WORKER_BASE_BYTES + self.tasks_per_worker * task

    @property
    def n_requests(self) -> dict[str, int]:
        """Requests that read (``get``) and that write or list (``put``), about: of each task, and
        of publishing.

        A task looks into the ledger and reads metadata and values of each small array, and of each
        array of vectors its metadata, size, index, and then block by block
        (`xpscale.store.shards`).
        """
        n_products = len(self.products)
        n_blocks = sum(-(-n_rows // BLOCK_ROWS) for n_rows in self.partition_rows)
        of_task = 1 + 2 * N_SCALAR_ARRAYS + 3 * self.n_vectors + GETS_PUBLISH * n_products
        gets = self.n_tasks * of_task + n_blocks * self.n_vectors
        return {"get": gets, "put": self.n_tasks * (n_products + 1)}

    @property
    def worker_sources_per_s(self) -> float:
        """Of a CPU worker with one thread, about."""
        network_s = self.multiplications * SECONDS_PER_MULTIPLICATION
        return 1 / (SECONDS_PER_SOURCE[self.products[-1]] + network_s)

    def forecast(self, n_workers: int, probed: Calibration | None = None) -> Forecast:
        """Wall time on some workers.

        Parameters
        ----------
        n_workers
            Worker processes.
        probed
            What a probe measured on them; CPU workers as they were measured elsewhere if not given.
        """
        rows = max(self.n_rows, 1)
        load = Load(
            self.n_rows, self.n_tasks, self.largest, self.bytes_in / rows, self.bytes_out / rows
        )
        cluster = Cluster(
            probed.worker_sources_per_s if probed else self.worker_sources_per_s,
            workers_per_node=max(n_workers, 1),
            start_up_s=probed.start_up_s if probed else START_UP_S,
            publish_s=PUBLISH_S + PUBLISH_PART_S * self.n_tasks * len(self.products),
        )
        return forecast(load, cluster)

    def cost(self, prices: Prices, n_workers: int, probed: Calibration | None = None) -> Cost:
        """What the run costs.

        Parameters
        ----------
        prices
            From `xpscale.forecast.prices.load_prices`.
        n_workers, probed
            As in `forecast`.
        """
        requests = self.n_requests
        return Cost.of(
            prices,
            worker_s=max(n_workers, 1) * self.forecast(n_workers, probed).seconds,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            n_put=requests["put"],
            n_get=requests["get"],
        )
