"""Training rows from a store into memory, standardized.

Two passes over the store, each holding one partition beside the result: one counts the rows and fits the scaling on the
training rows, the other fills arrays of exactly that size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xpscale.errors import InvalidInputError
from xpscale.model.density import TrainingDensity
from xpscale.model.scaling import Scaling, errors_usable, rejected_rows
from xpscale.training.split import uniform_hash

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.training.sample import Sample
    from xpscale.training.settings import TrainingSettings
    from xpscale.types import SpectraBatch, SpectraReader

__all__ = ["Rows", "TrainingData", "load_training_data"]

ERRORS_UNUSABLE = "errors_unusable"
"""Reason: a coefficient error is missing, not finite or not positive."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Standardized spectra in memory: x and its errors, float32 with shape (N, C), and source_id (N,)."""

    x: Tensor
    x_err: Tensor
    source_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.source_id)

    def to(self, device: torch.device) -> Rows:
        """The same rows on a device."""
        return Rows(self.x.to(device), self.x_err.to(device), self.source_id)


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
    """

    training: Rows
    held_out: Rows
    scaling: Scaling
    density: TrainingDensity
    n_rejected: dict[str, int]


def load_training_data(reader: SpectraReader, settings: TrainingSettings, sample: Sample | None = None) -> TrainingData:
    """All training and held-out rows of a store, or the training rows of a sample of it.

    Raises
    ------
    InvalidInputError
        If the sample is of another store or split, if there are fewer than two training rows, or more than
        ``settings.max_rows``.
    """
    if sample is not None:
        sample.require_store(reader)
        if sample.plan.split != settings.split:
            raise InvalidInputError(
                f"the sample leaves out another part of the sky ({sample.plan.split}) than the settings ({settings.split})",
                "Set held_out_fraction and split_seed as the sample has them, or draw it again",
            )
    n_rejected: Counter[str] = Counter()
    n_rows: Counter[str] = Counter()

    def training_batches() -> Iterator[SpectraBatch]:
        for training, held_out, rejected in _batches(reader, settings, sample):
            n_rejected.update(rejected)
            n_rows.update(training=len(training), held_out=len(held_out))
            yield training

    scaling = Scaling.fit(training_batches())
    if n_rows["training"] > settings.max_rows:
        raise InvalidInputError(
            f"{n_rows['training']:,} training rows, and max_rows is {settings.max_rows:,}",
            "Draw a sample (`xpscale sample`), or raise max_rows if the memory is there",
        )
    training, held_out = _fill(_batches(reader, settings, sample), n_rows, scaling, settings)
    density = TrainingDensity.fit([training.x.numpy()], reader.n_coefficients)
    return TrainingData(training, held_out, scaling, density, dict(n_rejected))


def _batches(
    reader: SpectraReader, settings: TrainingSettings, sample: Sample | None
) -> Iterator[tuple[SpectraBatch, SpectraBatch, dict[str, int]]]:
    """Training rows, held-out rows, and how many were rejected for what, of every partition."""
    for partition in reader.partitions:
        batch = reader.read(partition)
        rejected = rejected_rows(batch)
        usable = ~np.logical_or.reduce(list(rejected.values()))
        rejected[ERRORS_UNUSABLE] = usable & ~errors_usable(batch)
        usable &= ~rejected[ERRORS_UNUSABLE]
        held_out = settings.split.held_out(batch)
        chosen = True if sample is None else sample.select(partition.key, batch)
        counts = {reason: int(rows.sum()) for reason, rows in rejected.items()}
        yield batch.take(usable & ~held_out & chosen), batch.take(usable & held_out), counts


def _fill(
    batches: Iterator[tuple[SpectraBatch, SpectraBatch, dict[str, int]]],
    n_rows: Counter[str],
    scaling: Scaling,
    settings: TrainingSettings,
) -> tuple[Rows, Rows]:
    n, n_coefficients = n_rows["training"], len(scaling.mean)
    x, x_err = torch.empty(n, n_coefficients), torch.empty(n, n_coefficients)
    source_id = np.empty(n, np.int64)
    held_out = [_standardized_empty(n_coefficients)]
    share = min(1.0, settings.max_held_out_rows / max(1, n_rows["held_out"]))
    start = 0
    for training, others, _ in batches:
        rows = slice(start, start + len(training))
        x[rows], x_err[rows] = _standardized(training, scaling)
        source_id[rows] = training.source_id
        start += len(training)
        kept = others.take(uniform_hash(others.source_id, settings.split_seed) < share)
        held_out.append(Rows(*_standardized(kept, scaling), kept.source_id))
    return Rows(x, x_err, source_id), Rows(
        torch.cat([rows.x for rows in held_out]),
        torch.cat([rows.x_err for rows in held_out]),
        np.concatenate([rows.source_id for rows in held_out]),
    )


def _standardized(batch: SpectraBatch, scaling: Scaling) -> tuple[Tensor, Tensor]:
    x, x_err = scaling.standardize(batch)
    if x_err is None:
        raise InvalidInputError("the store gave no coefficient errors", "Training needs them")
    return torch.from_numpy(x), torch.from_numpy(x_err)


def _standardized_empty(n_coefficients: int) -> Rows:
    return Rows(torch.empty(0, n_coefficients), torch.empty(0, n_coefficients), np.empty(0, np.int64))
