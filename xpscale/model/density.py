"""Where in the space of spectra the training objects are.

The paper's claim is that the model's performance scales with the density of training *objects*.
The density is counted on a grid of the two leading standardized coefficients, BP 0 and RP 0, which
together are roughly a colour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CELL_AREA", "N_CELLS", "TrainingDensity", "cell_of"]

N_CELLS = 64
"""Cells along each axis of the grid."""

HALF_WIDTH = 6.0
"""The grid covers -6 to 6 standard deviations on each axis."""

CELL_AREA = (2 * HALF_WIDTH / N_CELLS) ** 2
"""Area of a cell in squared standard deviations."""

OUTSIDE = -1
"""The cell of what lies off the grid."""


def cell_of(x: NDArray[Any], n_bp: int) -> NDArray[np.int64]:
    """The flat cell number of standardized coefficients (N, C), with shape (N,); -1 off the
    grid.
    """
    leading = x[:, [0, n_bp]].astype(np.float64)
    on_grid = np.asarray((np.abs(leading) < HALF_WIDTH).all(1))
    safe = np.where(on_grid[:, None], leading, 0)
    i, j = np.floor((safe + HALF_WIDTH) * (N_CELLS / (2 * HALF_WIDTH))).astype(np.int64).T
    return np.where(on_grid, i * N_CELLS + j, OUTSIDE)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingDensity:
    """Counts of the training sample on the grid, and the range of every coefficient.

    Parameters
    ----------
    counts
        Training objects in each cell, int64, with shape (64, 64): BP 0, then RP 0.
    n_rows
        Training objects in all, those off the grid included; 0 if the sample is unknown.
    lower, upper
        Smallest and largest standardized coefficient seen in training, float32, with shape (C,).
    n_bp
        Number of BP coefficients: the column of RP 0.
    """

    counts: NDArray[np.int64]
    n_rows: int
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]
    n_bp: int

    def __post_init__(self) -> None:
        if self.counts.shape != (N_CELLS, N_CELLS) or self.lower.shape != self.upper.shape:
            raise InvalidInputError(
                f"a training density has ({N_CELLS}, {N_CELLS}) counts and ranges of one length,"
                f" not {self.counts.shape}, {self.lower.shape} and {self.upper.shape}"
            )
        if not 0 < self.n_bp < len(self.lower):
            raise InvalidInputError(f"n_bp is {self.n_bp}, of {len(self.lower)} coefficients")

    @staticmethod
    def fit(
        standardized: Iterable[NDArray[Any]], n_coefficients: int, n_bp: int | None = None
    ) -> TrainingDensity:
        """Count a training sample, given as batches of finite standardized coefficients (N, C), in
        one pass.
        """
        n_bp = n_coefficients // 2 if n_bp is None else n_bp
        counts, n_rows = np.zeros(N_CELLS**2, np.int64), 0
        lower = np.full(n_coefficients, np.inf, np.float32)
        upper = np.full(n_coefficients, -np.inf, np.float32)
        for x in standardized:
            if len(x):
                cells = cell_of(x, n_bp)
                counts += np.bincount(cells[cells != OUTSIDE], minlength=N_CELLS**2)
                n_rows += len(x)
                lower, upper = np.minimum(lower, x.min(0)), np.maximum(upper, x.max(0))
        return TrainingDensity(counts.reshape(N_CELLS, N_CELLS), n_rows, lower, upper, n_bp)

    @staticmethod
    def unknown(n_coefficients: int) -> TrainingDensity:
        """The density of a model whose training sample is not known: ``at`` is NaN, ``outside``
        False.
        """
        nan = np.full(n_coefficients, np.nan, np.float32)
        return TrainingDensity(
            np.zeros((N_CELLS, N_CELLS), np.int64), 0, nan, nan, n_coefficients // 2
        )

    @property
    def is_known(self) -> bool:
        """Whether the training sample is known."""
        return self.n_rows > 0

    def at(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Fraction of the training sample per unit area around standardized coefficients (N, C),
        with shape (N,).

        The unit of area is one standard deviation of BP 0 times one of RP 0; 0 off the grid.
        """
        if not self.is_known:
            return np.full(len(x), np.nan, np.float32)
        from xpscale.model.kernels import density_rows

        fraction, out = (
            (self.counts / (self.n_rows * CELL_AREA)).astype(np.float32),
            np.empty(len(x), np.float32),
        )
        density_rows(np.ascontiguousarray(x, np.float32), self.n_bp, fraction, HALF_WIDTH, out)
        return out

    def outside(self, x: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether standardized coefficients (N, C) leave the training range, with shape (N,).

        The range of every coefficient is widened by half its width: a quarter at either end.
        """
        if not self.is_known:
            return np.zeros(len(x), bool)
        from xpscale.model.kernels import leaves_range

        margin, found = (self.upper - self.lower) / 4, np.empty(len(x), bool)
        leaves_range(
            np.ascontiguousarray(x, np.float32), self.lower - margin, self.upper + margin, found
        )
        return found
