"""The stars that are never trained on: those of whole HEALPix pixels, chosen by a hash.

Splitting by pixel keeps neighbours on the sky, which share extinction and scanning history, on the
same side.  The choice depends on the pixel and a seed alone, so it is the same for every sample, model
and order of reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.sky import INDEX_ORDER, healpix_29

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.types import SpectraBatch

__all__ = ["HeldOutSplit", "hash_64", "uniform_hash"]


@dataclass(frozen=True, slots=True)
class HeldOutSplit:
    """A share of the sky's pixels, held out.

    Parameters
    ----------
    fraction
        Expected share of pixels held out, 0 to 1.
    seed
        Which pixels; another seed is another split.
    order
        HEALPix order of the pixels, by position (5: 3.4 square degrees).
    """

    fraction: float = 0.1
    seed: int = 0
    order: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise InvalidInputError(
                f"the held-out fraction is {self.fraction}", "Use at least 0 and less than 1"
            )

    def __str__(self) -> str:
        return (
            f"{self.fraction:.1%} of the pixels of HEALPix order {self.order}, split seed"
            f" {self.seed}"
        )

    def held_out(self, batch: SpectraBatch) -> NDArray[np.bool_]:
        """Rows in held-out pixels, with shape (N,)."""
        return self.is_held_out(batch.ra, batch.dec)

    def is_held_out(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether positions lie in held-out pixels, with shape (N,).

        Parameters
        ----------
        ra, dec
            ICRS positions in degrees, with shape (N,).
        """
        pixels = healpix_29(ra, dec) >> 2 * (INDEX_ORDER - self.order)
        return uniform_hash(pixels, self.seed) < self.fraction


def uniform_hash(keys: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Reproducible random numbers in (0, 1), with shape (N,).

    Parameters
    ----------
    keys
        What each number depends on, with shape (N,).
    seed
        Another seed makes other numbers.
    """
    return ((hash_64(keys, seed) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def hash_64(keys: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Reproducible random 64-bit numbers, with shape (N,); with one seed, different keys have
    different numbers.

    The finalizer of SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195), applied to
    the seed, then to seed and key.

    Parameters
    ----------
    keys
        What each number depends on, with shape (N,).
    seed
        Another seed makes other numbers.
    """
    with np.errstate(over="ignore"):
        start = _mix(np.array([seed], np.int64).astype(np.uint64) + GOLDEN_GAMMA)
        return _mix(keys.astype(np.uint64) * GOLDEN_GAMMA + start)


GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
