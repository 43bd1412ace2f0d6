"""One task: read a partition, encode it, put its parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from xpscale.catalog.sink import BLOCK_ROWS, ParquetSink
from xpscale.inference.worker_check import WorkerCheck, model_of
from xpscale.relevant_bases import relevant_part
from xpscale.row_rules import judge
from xpscale.spectra import SpectraBatch, SpectraReader
from xpscale.storage import Storage
from xpscale.store.writer import position_order
from xpscale.types import Partition, Stopwatch, TaskReport, TaskStatus

if TYPE_CHECKING:
    from xpscale.inference.encoder import ScatterVAEEncoder

__all__ = ["TASKS_PER_WORKER", "EncodePartition", "InferenceTask"]

TASKS_PER_WORKER = 2
"""Tasks of a worker process at the same time: one computes while the other reads or writes."""


@dataclass(frozen=True, slots=True)
class InferenceTask:
    """One partition to encode."""

    partition: Partition

    @property
    def key(self) -> str:
        """``Norder=5/Npix=1234``."""
        return self.partition.pixel.key


@dataclass(frozen=True)
class EncodePartition:
    """The function of a task: pure but for the parts it writes, and idempotent.

    Parameters
    ----------
    reader
        The spectra; opened once in each worker process.
    sink
        The catalogue's sink.
    model_id
        The model that lies in the catalogue.
    device
        Where to encode: ``"auto"``, ``"cpu"``, ``"cuda"``.
    truncate
        Whether to leave out orders beyond the archive's numbers of relevant bases.
    check
        What a process must be able to do first (`xpscale.runtime.preflight`); it does not travel
        with the tasks.
    """

    reader: SpectraReader
    sink: ParquetSink
    model_id: str
    device: str = "auto"
    truncate: bool = False
    check: WorkerCheck | None = field(default=None, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return EncodePartition, (
            self.reader,
            self.sink,
            self.model_id,
            self.device,
            self.truncate,
        )

    def __call__(self, task: InferenceTask) -> TaskReport:
        """Encode one partition: a block of rows is read, encoded and compressed before the next, so
        a few are in memory.
        """
        layout = self.sink.layout
        encoder = _encoder(
            self.sink.catalog, self.model_id, layout.outputs, self.device, layout.precision
        )
        watch, parts = Stopwatch(), self.sink.open(task.partition.pixel)
        n_out, n_rejected = 0, Counter[str]()
        for usable, rejected in self._usable(task.partition, encoder, watch):
            table = encoder(usable, watch)
            with watch("encode_s"):
                parts.append(table)
            n_out += len(usable)
            n_rejected.update(rejected)
        with watch("write_s"):
            written = parts.finish()
        return TaskReport(
            task.key,
            TaskStatus.WRITTEN if written else TaskStatus.EMPTY,
            written,
            n_in=n_out + n_rejected.total(),
            n_out=n_out,
            n_rejected=dict(n_rejected),
            details={"bytes_in": watch.n_bytes},
            software={"device": encoder.device_name},
            **watch.seconds,  # type: ignore[arg-type]
        )

    def _usable(
        self, partition: Partition, encoder: ScatterVAEEncoder, watch: Stopwatch
    ) -> Iterator[tuple[SpectraBatch, Mapping[str, int]]]:
        """The rows of a partition that no rule rejects, sorted by position, in blocks; and how many
        are rejected by reason.

        First the rules of a store, so that the same rows are used as after an ingest; then those of
        a network that cannot do without a part of a spectrum, and looks at no errors.
        """
        for stored, rejected in self._stored(partition, encoder, watch):
            rows = relevant_part(stored) if self.truncate else stored
            if encoder.needs_errors:
                yield rows, rejected
                continue
            with watch("decode_s"):
                keep, more = judge(replace(rows, coefficient_errors=None))
            yield (rows if keep.all() else rows.take(keep)), Counter(rejected) + Counter(more)

    def _stored(
        self, partition: Partition, encoder: ScatterVAEEncoder, watch: Stopwatch
    ) -> Iterator[tuple[SpectraBatch, Mapping[str, int]]]:
        """The rows that a store of the input has, or would have, in blocks."""
        if self.reader.is_checked:
            errors = encoder.has_fit or encoder.needs_errors
            for batch in self.reader.read_in_blocks(
                partition, BLOCK_ROWS, errors=errors, watch=watch
            ):
                yield batch, {}
            return
        with watch("read_s"):
            rows, known = self.reader.read_in_order(partition)
        watch.n_bytes += rows.n_bytes
        with watch("decode_s"):
            keep, rejected = judge(rows, known, whole=False)
            rows = rows.take(keep)
            rows = rows.take(position_order(rows.ra, rows.dec, rows.source_id))
        for start in range(0, max(len(rows), 1), BLOCK_ROWS):
            yield rows.take(slice(start, start + BLOCK_ROWS)), {} if start else rejected


_loading = Lock()


def _encoder(*key: Any) -> ScatterVAEEncoder:
    """The model of a catalogue on a device, loaded once in a worker process, whichever thread asks
    first.
    """
    with _loading:
        return _loaded(*key)


@lru_cache(maxsize=2)
def _loaded(
    catalog: Storage, model_id: str, outputs: tuple[str, ...], device: str, precision: str
) -> ScatterVAEEncoder:
    """The model of a catalogue on a device, loaded once in a worker process."""
    from xpscale.inference.encoder import ScatterVAEEncoder

    return ScatterVAEEncoder(model_of(catalog, model_id), outputs, device, precision)
