"""One task: read a partition, encode it, put its parts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from xpscale.catalog.layout import MODEL
from xpscale.catalog.sink import ParquetSink
from xpscale.inference.plan import InferenceTask
from xpscale.storage import Storage
from xpscale.types import SpectraReader, TaskReport, TaskStatus

if TYPE_CHECKING:
    from xpscale.inference.encoder import ScatterVAEEncoder

__all__ = ["EncodePartition"]


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
    """

    reader: SpectraReader
    sink: ParquetSink
    model_id: str
    device: str = "auto"

    def __call__(self, task: InferenceTask) -> TaskReport:
        """Encode one partition."""
        from xpscale.model.scaling import rejected_rows

        encoder = _encoder(self.sink.catalog, self.model_id, self.sink.outputs, self.device, self.sink.precision)
        clock = time.perf_counter()
        batch = self.reader.read(task.partition, errors=encoder.has_fit or encoder.needs_errors)
        read_s = time.perf_counter() - clock
        masks = rejected_rows(batch)
        keep = ~np.any(list(masks.values()), axis=0)
        usable = batch if keep.all() else batch.take(keep)
        table = encoder(usable)
        clock = time.perf_counter()
        parts = self.sink.put(task.partition.pixel, table)
        return TaskReport(
            task.key,
            TaskStatus.WRITTEN if parts else TaskStatus.EMPTY,
            parts,
            n_in=len(batch),
            n_out=len(usable),
            n_rejected={reason: int(mask.sum()) for reason, mask in masks.items() if mask.any()},
            read_s=read_s,
            to_device_s=encoder.seconds["to_device_s"],
            forward_s=encoder.seconds["forward_s"],
            encode_s=encoder.seconds["encode_s"],
            write_s=time.perf_counter() - clock,
        )


@lru_cache(maxsize=2)
def _encoder(
    catalog: Storage, model_id: str, outputs: tuple[str, ...], device: str, precision: str
) -> ScatterVAEEncoder:
    """The model of a catalogue on a device, loaded once in a worker process."""
    from xpscale.inference.encoder import ScatterVAEEncoder
    from xpscale.model.checkpoint import load_model

    return ScatterVAEEncoder(load_model(catalog / MODEL), outputs, device, precision)
