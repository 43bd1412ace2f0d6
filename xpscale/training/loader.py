"""The training rows of a store, standardized: in memory, or streamed if they are too many.

Two passes over the store, each holding a partition (or some blocks) and the result: one counts
the rows and fits the scaling on the training rows, the other takes the held-out rows and the
density, and fills memory if all rows fit there.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xpscale.errors import InvalidInputError
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling, normalized
from xpscale.row_rules import judge
from xpscale.sampling.hashing import uniform_hash
from xpscale.training.batches import Order, Rows, TrainingRows, standardized
from xpscale.training.stream import StreamedRows, design_effect, read_ahead

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.sampling.sample import Sample
    from xpscale.spectra import SpectraBatch, SpectraReader
    from xpscale.training.settings import TrainingSettings

__all__ = ["Rows", "TrainingData", "is_streamed", "load_training_data"]

POOR_SHUFFLE = 2.0
"""Mean design effect of a stream above which it is remarked on."""

log = logging.getLogger("xpscale")


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """What a network is trained on and judged by.

    Parameters
    ----------
    training, held_out
        Rows to train on, and rows in held-out pixels, never trained on nor used for the scaling.
    scaling, density
        Fitted on the training rows.
    n_rejected
        Rows of the store left out, by reason.
    shuffle
        How rows that are streamed are shuffled, and how well; empty for a perfect shuffle in
        memory.
    """

    training: TrainingRows
    held_out: Rows
    scaling: Scaling
    density: TrainingDensity
    n_rejected: dict[str, int]
    shuffle: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parted:
    """A batch's training rows and held-out rows, and how many were rejected for what."""

    training: SpectraBatch
    held_out: SpectraBatch
    n_rejected: dict[str, int]


def is_streamed(
    reader: SpectraReader, settings: TrainingSettings, sample: Sample | None = None
) -> bool:
    """Whether there may be more training rows than memory may hold, so that they are streamed every
    epoch.

    Parameters
    ----------
    reader, sample
        The spectra, and which of them to train on; all if ``None``.
    settings
        Their ``max_rows`` is the limit.
    """
    n_rows = (
        len(sample)
        if sample is not None
        else sum(partition.n_rows for partition in reader.partitions)
    )
    return n_rows > settings.max_rows


def load_training_data(
    reader: SpectraReader, settings: TrainingSettings, sample: Sample | None = None
) -> TrainingData:
    """All training and held-out rows of a store, or the training rows of a sample of it.

    Parameters
    ----------
    reader
        The spectra.
    settings
        Which part of the sky is held out, and how many rows may be in memory.
    sample
        Which objects to train on; all if ``None``.

    Raises
    ------
    InvalidInputError
        If the sample is of another store or split, or there are too few training rows.
    """
    if sample is not None:
        sample.require_store(reader)
        if sample.plan.split != settings.split:
            raise InvalidInputError(
                f"the sample leaves out another part of the sky ({sample.plan.split}) than the"
                f" settings ({settings.split})",
                "Set held_out_fraction and split_seed as the sample has them, or draw it again",
            )
    load = _streamed if is_streamed(reader, settings, sample) else _in_memory
    return load(reader, settings, sample)


def _in_memory(
    reader: SpectraReader, settings: TrainingSettings, sample: Sample | None
) -> TrainingData:
    def parted() -> Iterator[Parted]:
        for partition in reader.partitions:
            batch = reader.read(partition)
            yield _part(
                batch, settings, True if sample is None else sample.select(partition.key, batch)
            )

    count = _Count()
    scaling = Scaling.fit(part.training for part in count.watch(parted()))
    _require_enough(count.n_training, settings)
    n, n_coefficients = count.n_training, len(scaling.mean)
    rows = Rows(
        torch.empty(n, n_coefficients), torch.empty(n, n_coefficients), np.empty(n, np.int64)
    )
    held_out = _HeldOut(scaling, settings, count.n_held_out)
    start = 0
    for part in parted():
        here = slice(start, start + len(part.training))
        rows.x[here], rows.x_err[here] = standardized(part.training, scaling)
        rows.source_id[here] = part.training.source_id
        start = here.stop
        held_out.add(part.held_out)
    density = TrainingDensity.fit([rows.x.numpy()], scaling.bands)
    return TrainingData(rows, held_out.rows(), scaling, density, dict(count.n_rejected))


def _streamed(
    reader: SpectraReader, settings: TrainingSettings, sample: Sample | None
) -> TrainingData:
    chosen = None if sample is None else np.sort(sample.source_id)
    part = partial(_part_block, settings=settings, chosen=chosen)
    blocks = reader.blocks()
    n_rows, sums = np.zeros(len(blocks), np.int64), np.zeros((len(blocks), reader.n_coefficients))

    def parted() -> Iterator[Parted]:
        for number, found in enumerate(
            read_ahead(lambda block: part(reader.read_block(block)), blocks)
        ):
            n_rows[number] = len(found.training)
            sums[number] = normalized(found.training).sum(0)
            yield found

    count = _Count()
    scaling = Scaling.fit(found.training for found in count.watch(parted()))
    _require_enough(count.n_training, settings)
    held_out = _HeldOut(scaling, settings, count.n_held_out)

    def training() -> Iterator[NDArray[np.float32]]:
        for found in parted():
            held_out.add(found.held_out)
            yield scaling.standardize(found.training)[0]

    density = TrainingDensity.fit(training(), scaling.bands)
    has_rows = np.flatnonzero(n_rows)
    rows = StreamedRows(
        reader,
        tuple(blocks[number] for number in has_rows),
        n_rows[has_rows],
        lambda batch: part(batch).training,
        scaling,
        settings.max_rows,
    )
    means = (sums[has_rows] / n_rows[has_rows, None] - scaling.mean) / scaling.std
    shuffle = _shuffle_quality(rows, means, settings)
    return TrainingData(rows, held_out.rows(), scaling, density, dict(count.n_rejected), shuffle)


def _shuffle_quality(
    rows: StreamedRows, means: NDArray[np.float64], settings: TrainingSettings
) -> dict[str, Any]:
    """How streamed rows are shuffled, and how well; ``means`` are those of the blocks."""
    n_windows = rows.n_windows(Order(settings.batch_size, settings.seed))
    effect = design_effect(means, rows.n_rows, n_windows, settings.batch_size, settings.seed)
    if effect.mean() > POOR_SHUFFLE:
        log.warning(
            "the rows are poorly shuffled: batch means vary %.1f times as much as in a perfect"
            " shuffle (variances); raise max_rows, or lower batch_size",
            effect.mean(),
        )
    return {
        "n_blocks": len(rows.blocks),
        "n_windows": n_windows,
        "design_effect_mean": round(float(effect.mean()), 3),
        "design_effect_max": round(float(effect.max()), 3),
    }


def _part_block(
    batch: SpectraBatch, settings: TrainingSettings, chosen: NDArray[np.int64] | None
) -> Parted:
    """The same as `_part`, with the sample as its sorted identifiers: blocks do not know their
    partition's rows.
    """
    if chosen is None:
        return _part(batch, settings, True)
    places = np.searchsorted(chosen, batch.source_id)
    return _part(batch, settings, chosen[np.minimum(places, len(chosen) - 1)] == batch.source_id)


def _part(
    batch: SpectraBatch, settings: TrainingSettings, chosen: NDArray[np.bool_] | bool
) -> Parted:
    usable, counts = judge(batch)
    chosen = np.broadcast_to(chosen, len(batch))[usable]
    batch = batch.take(usable)
    held_out = settings.split.held_out(batch)
    return Parted(batch.take(~held_out & chosen), batch.take(held_out), counts)


class _Count:
    """Counts rows as they go by."""

    def __init__(self) -> None:
        self.n_training = self.n_held_out = 0
        self.n_rejected: Counter[str] = Counter()

    def watch(self, parted: Iterable[Parted]) -> Iterator[Parted]:
        for part in parted:
            self.n_training += len(part.training)
            self.n_held_out += len(part.held_out)
            self.n_rejected.update(part.n_rejected)
            yield part


class _HeldOut:
    """Collects the held-out rows, thinned to about ``settings.max_held_out_rows``."""

    def __init__(self, scaling: Scaling, settings: TrainingSettings, n_rows: int) -> None:
        self.scaling, self.seed = scaling, settings.split_seed
        self.share = min(1.0, settings.max_held_out_rows / max(1, n_rows))
        empty = torch.empty(0, len(scaling.mean))
        self.parts = [Rows(empty, empty, np.empty(0, np.int64))]

    def add(self, batch: SpectraBatch) -> None:
        kept = batch.take(uniform_hash(batch.source_id, self.seed) < self.share)
        self.parts.append(Rows(*standardized(kept, self.scaling), kept.source_id))

    def rows(self) -> Rows:
        return Rows.concatenate(self.parts)


def _require_enough(n_training: int, settings: TrainingSettings) -> None:
    """Fewer rows than a batch make no training; a scaling of two rows is none."""
    if n_training < settings.batch_size:
        raise InvalidInputError(
            f"only {n_training:,} training rows, and batch_size is {settings.batch_size:,}",
            "Train on a larger store or sample, or set a smaller batch_size",
        )
