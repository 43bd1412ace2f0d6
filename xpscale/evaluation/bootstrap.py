"""Intervals of numbers about stars: a bootstrap over the sky.

Stars that are neighbours share dust and scanning history, so pieces of the sky are drawn, not
stars (the cluster bootstrap: Davison & Hinkley 1997, Bootstrap Methods, section 3.8).  A piece is
a HEALPix pixel of order 5, as in the split of training and held-out sky; pixels share at most
`N_GROUPS` groups by a hash, which bounds the memory of sums.  With w_gd the times that group g is
in draw d, a ratio of sums and any other statistic t of the rows are

    sum_g w_gd a_g / sum_g w_gd b_g            and            t(rows, each repeated w_gd times)

and the interval is that of the middle 95 % of the draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.sampling.hashing import hash_64
from xpscale.sky import INDEX_ORDER, healpix_29

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LEVEL", "N_GROUPS", "Estimate", "of_ratio", "of_rows", "sky_groups"]

PIXEL_ORDER = 5
N_GROUPS = 512
N_DRAWS = 200
LEVEL = 0.95
"""Share of the draws inside an interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Numbers with their intervals.

    Parameters
    ----------
    value, low, high
        The numbers and both ends of their intervals, of one shape, float64; NaN where they cannot
        be told.
    """

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def __getitem__(self, index: Any) -> Estimate:
        return Estimate(*(np.asarray(part[index]) for part in self.parts))

    def __str__(self) -> str:
        """One number: ``0.65 (0.61 to 0.69)``, to the digits that the interval leaves.

        >>> str(Estimate(*np.array([0.6512, 0.6108, 0.6891])))
        '0.651 (0.611 to 0.689)'
        >>> str(Estimate(*np.array([81.24, 76.9, 85.1])))
        '81.2 (76.9 to 85.1)'
        """
        if not np.isfinite(self.value):
            return "–"
        width = float(self.high - self.low)
        digits = 2
        if np.isfinite(width) and width > 0:
            digits = int(np.clip(1 - np.floor(np.log10(width)), 0, 6))
        texts = [f"{float(part):,.{digits}f}".replace("-", "\u2212") for part in self.parts]
        return f"{texts[0]} ({texts[1]} to {texts[2]})" if np.isfinite(width) else texts[0]

    @property
    def parts(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Value, low and high."""
        return self.value, self.low, self.high

    def map(self, function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Estimate:
        """The estimate of a rising function of the numbers.

        Parameters
        ----------
        function
            Takes and gives an array.
        """
        return Estimate(*(np.asarray(function(part)) for part in self.parts))

    def to_json(self) -> dict[str, float | None]:
        """One number as JSON can hold it."""
        names = ("value", "low", "high")
        return {
            name: float(part) if np.isfinite(part) else None
            for name, part in zip(names, self.parts, strict=True)
        }


def sky_groups(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.int64]:
    """The group of every star, 0 to `N_GROUPS` - 1, with shape (N,).

    Parameters
    ----------
    ra, dec
        ICRS positions in degrees, with shape (N,).
    """
    pixels = healpix_29(ra, dec) >> 2 * (INDEX_ORDER - PIXEL_ORDER)
    return (hash_64(pixels, 0) % np.uint64(N_GROUPS)).astype(np.int64)


@lru_cache(maxsize=8)
def _draws(n_groups: int, seed: int) -> NDArray[np.int64]:
    """How often each group is in each draw, with shape (D, n_groups)."""
    rng = np.random.default_rng([seed, n_groups])
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), N_DRAWS)


def of_ratio(numerator: NDArray[Any], denominator: NDArray[Any], seed: int = 0) -> Estimate:
    """The ratios of sums over the sky, with shape (...).

    Parameters
    ----------
    numerator, denominator
        Sums in each group of the sky, with shapes (P, ...) that broadcast.
    seed
        Of the draws.
    """
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    )
    there = denominator.reshape(len(denominator), -1).any(1)
    above, below = numerator[there], denominator[there]
    weights = _draws(len(above), seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.tensordot(weights, above, 1) / np.tensordot(weights, below, 1)
        return _estimate(above.sum(0) / below.sum(0), drawn, int(there.sum()))


def of_rows(
    statistic: Callable[..., Any],
    groups: NDArray[np.int64],
    *arrays: NDArray[Any],
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """Any statistic of rows.

    Parameters
    ----------
    statistic
        Takes the arrays, gives a number or an array of numbers.
    groups
        `sky_groups` of the rows, with shape (N,).
    arrays
        Arrays of N rows.
    seed
        Of the draws.
    level
        Share of the draws inside the interval.
    """
    value = np.asarray(statistic(*arrays), np.float64)
    _, number = np.unique(groups, return_inverse=True)
    order = np.argsort(number, kind="stable")
    counts = np.bincount(number)
    drawn = []
    for weights in _draws(len(counts), seed):
        rows = np.repeat(order, np.repeat(weights, counts))
        drawn.append(statistic(*(array[rows] for array in arrays)))
    return _estimate(value, np.asarray(drawn, np.float64), len(counts), level)


def _estimate(
    value: NDArray[np.float64], drawn: NDArray[np.float64], n_groups: int, level: float = LEVEL
) -> Estimate:
    """Value and interval; no interval from fewer than two pieces of the sky."""
    tail = (1 - level) / 2
    if n_groups < 2:
        nothing = np.full_like(value, np.nan)
        return Estimate(value, nothing, nothing)
    finite = np.isfinite(drawn)
    bounds = np.full((2, *value.shape), np.nan)
    usable = finite.mean(0) > 0.5  # else the bin has stars in one or two pieces of the sky only
    if usable.any():
        cut = np.where(finite, drawn, np.nan)[:, usable]
        bounds[:, usable] = np.nanquantile(cut, (tail, 1 - tail), axis=0)
    return Estimate(value, bounds[0], bounds[1])
