"""The spectra a model may be trained on, and those it is judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpscale.model.scaling import trainable_rows
from xpscale.types import SpectraBatch

if TYPE_CHECKING:
    from xpscale.sampling.split import HeldOutSplit
    from xpscale.types import SpectraReader

__all__ = ["split_spectra"]


def split_spectra(reader: SpectraReader, split: HeldOutSplit) -> tuple[SpectraBatch, SpectraBatch]:
    """Usable spectra of a store outside the held-out pixels, and inside; all in memory."""
    training, held_out = [], []
    for partition in reader.partitions:
        batch = reader.read(partition)
        usable, out = trainable_rows(batch), split.held_out(batch)
        training.append(batch.take(usable & ~out))
        held_out.append(batch.take(usable & out))
    return SpectraBatch.concatenate(training), SpectraBatch.concatenate(held_out)
