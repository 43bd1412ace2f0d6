"""How densely the objects of a store lie, on a grid of the two leading coefficients.

Two passes over the store, each holding one partition: one for the scaling, one for the counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling, trainable_rows

if TYPE_CHECKING:
    from xpscale.training.split import HeldOutSplit
    from xpscale.types import SpectraBatch, SpectraReader

__all__ = ["object_density"]


def object_density(reader: SpectraReader, split: HeldOutSplit) -> tuple[Scaling, TrainingDensity]:
    """Scaling and density of all objects that may be trained on: usable, and not held out."""

    def batches() -> Iterator[SpectraBatch]:
        for partition in reader.partitions:
            batch = reader.read(partition)
            yield batch.take(trainable_rows(batch) & ~split.held_out(batch))

    scaling = Scaling.fit(batches())
    standardized = (scaling.standardize(batch)[0] for batch in batches())
    return scaling, TrainingDensity.fit(standardized, reader.n_coefficients)
