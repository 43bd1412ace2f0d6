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
from scipy.ndimage import distance_transform_cdt, uniform_filter

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CELL_AREA", "N_CELLS", "TrainingDensity", "cell_of"]

N_CELLS = 64
"""Cells along each axis of the grid."""

HALF_WIDTH = 6.0
"""The grid covers -6 to 6 standard deviations on each axis."""

CELL_WIDTH = 2 * HALF_WIDTH / N_CELLS
"""Width of a cell in standard deviations."""

CELL_AREA = CELL_WIDTH**2
"""Area of a cell in squared standard deviations."""

N_SIGMA = 5.0
"""By how much of its noise a spectrum must be outside: 110 coefficients of a million spectra of
pure noise exceed it in 60."""

OUTSIDE = -1
"""The cell of what lies off the grid."""


def cell_of(x: NDArray[Any], bands: Bands) -> NDArray[np.int64]:
    """The cells of spectra.

    Parameters
    ----------
    x
        Standardized coefficients, with shape (N, C).
    bands
        Which of them are BP and RP.

    Returns
    -------
    numpy.ndarray
        Flat cell numbers, with shape (N,); -1 off the grid.
    """
    leading = x[:, [bands.bp.start, bands.rp.start]].astype(np.float64)
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
    bands
        Which coefficients are BP and RP.

    Raises
    ------
    InvalidInputError
        If shapes do not fit each other.
    """

    counts: NDArray[np.int64]
    n_rows: int
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]
    bands: Bands

    def __post_init__(self) -> None:
        if self.counts.shape != (N_CELLS, N_CELLS) or self.lower.shape != self.upper.shape:
            raise InvalidInputError(
                f"a training density has ({N_CELLS}, {N_CELLS}) counts and ranges of one length,"
                f" not {self.counts.shape}, {self.lower.shape} and {self.upper.shape}"
            )
        if len(self.lower) != self.bands.n_coefficients:
            raise InvalidInputError(
                f"a training density has ranges of {len(self.lower)} coefficients, for {self.bands}"
            )

    @staticmethod
    def fit(standardized: Iterable[NDArray[Any]], bands: Bands) -> TrainingDensity:
        """Count a training sample, in one pass.

        Parameters
        ----------
        standardized
            Batches of finite standardized coefficients, with shape (N, C).
        bands
            Which of them are BP and RP.
        """
        counts, n_rows = np.zeros(N_CELLS**2, np.int64), 0
        lower = np.full(bands.n_coefficients, np.inf, np.float32)
        upper = np.full(bands.n_coefficients, -np.inf, np.float32)
        for x in standardized:
            if len(x):
                cells = cell_of(x, bands)
                counts += np.bincount(cells[cells != OUTSIDE], minlength=N_CELLS**2)
                n_rows += len(x)
                lower, upper = np.minimum(lower, x.min(0)), np.maximum(upper, x.max(0))
        return TrainingDensity(counts.reshape(N_CELLS, N_CELLS), n_rows, lower, upper, bands)

    @staticmethod
    def unknown(bands: Bands) -> TrainingDensity:
        """The density of a model whose training sample is not known: ``at`` is NaN, ``outside``
        False.
        """
        nan = np.full(bands.n_coefficients, np.nan, np.float32)
        return TrainingDensity(np.zeros((N_CELLS, N_CELLS), np.int64), 0, nan, nan, bands)

    @property
    def is_known(self) -> bool:
        """Whether the training sample is known."""
        return self.n_rows > 0

    def at(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Fraction of the training sample per unit area around standardized coefficients (N, C),
        with shape (N,).

        The unit of area is one standard deviation of BP 0 times one of RP 0; 0 off the grid, NaN
        where one of them is missing.
        """
        if not self.is_known:
            return np.full(len(x), np.nan, np.float32)
        fraction = np.zeros(N_CELLS**2 + 1, np.float32)  # the last one stands for off the grid
        fraction[:-1] = self.counts.ravel() / (self.n_rows * CELL_AREA)
        missing = np.isnan(x[:, [self.bands.bp.start, self.bands.rp.start]]).any(1)
        return np.where(missing, np.float32(np.nan), fraction[cell_of(x, self.bands)])

    def outside(
        self, x: NDArray[np.float32], x_err: NDArray[np.float32] | None = None
    ) -> NDArray[np.bool_]:
        """Whether spectra are outside the training sample by more than their noise, with shape
        (N,): at a place of the two leading coefficients, or with a coefficient, where no training
        object is.

        With r the range of a coefficient in training and D the distance in cells to the nearest
        training object, of cells of width h::

            excess of x over r > 5 sqrt(sigma^2 + 1)       or      (D - 1) h > 5 sigma

        1 being the spread of the training sample.

        Parameters
        ----------
        x, x_err
            Standardized coefficients and errors, with shape (N, C).  What has no usable error is
            not judged.
        """
        if not self.is_known or x_err is None:
            return np.zeros(len(x), bool)
        from xpscale.model.kernels import leaves_range

        cells, noise = self._distance(x, x_err)
        far = (cells - 1) * CELL_WIDTH > N_SIGMA * noise
        found = np.empty(len(x), bool)
        leaves_range(x, x_err, self.lower, self.upper, N_SIGMA, found)
        return np.asarray(found | far)

    def emptiness(self, x: NDArray[np.float32], x_err: NDArray[np.float32]) -> NDArray[np.float64]:
        """a_2 of `xpscale.model.typicality`, with shape (N,); 0 where the place is not known.

        Parameters
        ----------
        x, x_err
            Standardized coefficients and errors, with shape (N, C).
        """
        if not self.is_known:
            return np.zeros(len(x))
        around = np.zeros(N_CELLS**2 + 1)
        around[:-1] = 9 * uniform_filter(self.counts.astype(float), 3, mode="constant").ravel()
        cells, _ = self._distance(x, x_err)
        a = cells - np.log(around[cell_of(x, self.bands)] + 0.1)
        return np.where(np.isnan(a), 0, a)

    def _distance(
        self, x: NDArray[np.float32], x_err: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Cells to the nearest training object, counted along rows, columns and diagonals, and the
        noise of the place, with shape (N,); NaN where a leading coefficient is not measured.
        """
        columns = [self.bands.bp.start, self.bands.rp.start]
        leading, noise = (values[:, columns].astype(np.float64) for values in (x, x_err))
        noise[~(noise > 0) | ~np.isfinite(noise)] = np.nan
        cell = np.floor((np.clip(leading, -1e6, 1e6) + HALF_WIDTH) / CELL_WIDTH)
        nearest = np.nan_to_num(np.clip(cell, 0, N_CELLS - 1)).astype(np.int64)
        beyond = np.abs(cell - nearest).max(1)
        empty = distance_transform_cdt(self.counts == 0, metric="chessboard")
        return beyond + empty[*nearest.T] + 0 * noise.max(1), noise.max(1)
