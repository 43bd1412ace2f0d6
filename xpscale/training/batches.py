"""Training rows in batches, in an order that is a function of seed and epoch alone.

A run that stops in the middle of an epoch goes on from the batch it had reached: nothing about the
order is stored but the number of that batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.model.scaling import Scaling
    from xpscale.spectra import SpectraBatch

__all__ = [
    "Batch",
    "Order",
    "Rows",
    "TrainingRows",
    "permutation",
    "share",
    "some_rows",
    "standardized",
]


@dataclass(frozen=True, slots=True)
class Order:
    """Which row comes when, and to which process.

    Parameters
    ----------
    batch_size
        Rows of a batch, over all processes; batches are of nearly equal size, so that none is
        dropped and none is tiny.
    seed
        Of the order.
    rank, n_processes
        Which of the processes that train together this is; each gets its share of every batch.
    """

    batch_size: int
    seed: int
    rank: int = 0
    n_processes: int = 1

    def n_batches(self, n_rows: int) -> int:
        """Batches of an epoch of ``n_rows``."""
        return max(1, round(n_rows / self.batch_size))


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Standardized spectra in memory: x and its errors, float32 with shape (N, C), and source_id
    (N,).
    """

    x: Tensor
    x_err: Tensor
    source_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.source_id)

    def to(self, device: torch.device) -> Rows:
        """The same rows on a device."""
        return Rows(
            self.x.to(device, non_blocking=True),
            self.x_err.to(device, non_blocking=True),
            self.source_id,
        )

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Some rows, by number."""
        return self._take(rows, torch.from_numpy(rows).to(self.x.device))

    def _take(self, rows: NDArray[np.int64], there: Tensor) -> Rows:
        """The same; the numbers are on the device already."""
        return Rows(
            self.x.index_select(0, there), self.x_err.index_select(0, there), self.source_id[rows]
        )

    @staticmethod
    def concatenate(parts: list[Rows]) -> Rows:
        """The rows of several, in their order."""
        if len(parts) == 1:
            return parts[0]
        return Rows(
            torch.cat([part.x for part in parts]),
            torch.cat([part.x_err for part in parts]),
            np.concatenate([part.source_id for part in parts]),
        )

    def batches(self, order: Order, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch: a perfect shuffle of all rows.

        Parameters
        ----------
        order
            Which row comes when.
        epoch
            Counted from 0.
        first
            Number of the batch to begin with.
        """
        n_batches = order.n_batches(len(self))
        shuffled = permutation(len(self), order.seed, epoch)
        there = torch.from_numpy(shuffled).to(self.x.device)
        for number in range(first, n_batches):
            start, stop = share(len(self), number, n_batches)
            local = share(stop - start, order.rank, order.n_processes)
            rows = slice(start + local[0], start + local[1])
            yield Batch(number, self._take(shuffled[rows], there[rows]), stop - start, local)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One batch.

    Parameters
    ----------
    number
        Counted from 0 in its epoch.
    rows
        This process's rows of it.
    n_rows
        Rows of it over all processes.
    local_rows
        First and one past the last of this process's rows among these.
    """

    number: int
    rows: Rows
    n_rows: int
    local_rows: tuple[int, int]


class TrainingRows(Protocol):
    """Rows to train on, in memory (`Rows`) or streamed from where they are stored."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> Self:
        """The same rows, whose batches will be on a device."""
        ...

    def batches(self, order: Order, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch.

        Parameters
        ----------
        order
            Which row comes when.
        epoch
            Counted from 0.
        first
            Number of the batch to begin with.
        """
        ...


def some_rows(rows: TrainingRows, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """X and its errors of about so many training rows drawn at random, or of all.

    Parameters
    ----------
    rows
        Training rows.
    n
        How many.
    seed
        Of the order in which they come.
    """
    first = next(iter(rows.batches(Order(min(n, len(rows)), seed), epoch=0))).rows
    return first.x.cpu(), first.x_err.cpu()


def permutation(n: int, *seeds: int) -> NDArray[np.int64]:
    """Numbers in random order.

    Parameters
    ----------
    n
        The numbers are 0 to n - 1.
    seeds
        What their order depends on.
    """
    return np.random.default_rng(seeds).permutation(n)


def share(n: int, number: int, n_shares: int) -> tuple[int, int]:
    """First and one past the last row of one of nearly equal shares.

    Parameters
    ----------
    n
        Rows of all shares.
    number
        Which share, counted from 0.
    n_shares
        How many shares there are.
    """
    return number * n // n_shares, (number + 1) * n // n_shares


def standardized(batch: SpectraBatch, scaling: Scaling) -> tuple[Tensor, Tensor]:
    """Standardized coefficients and errors as tensors, float32, with shape (N, C).

    Parameters
    ----------
    batch
        Spectra in the archive's units.
    scaling
        How to standardize them.

    Raises
    ------
    InvalidInputError
        If the batch has no errors.
    """
    x, x_err = scaling.standardize(batch)
    if x_err is None:
        raise InvalidInputError("the store gave no coefficient errors", "Training needs them")
    return torch.from_numpy(x), torch.from_numpy(x_err)
