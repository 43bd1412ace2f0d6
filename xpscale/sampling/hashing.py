"""Reproducible random numbers: hashes of a key and a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["hash_64", "uniform_hash"]

GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)


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


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
