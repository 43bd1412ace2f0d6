"""Positions as tables have them: which are on the sphere, in which range, and as vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_placed", "positive_ra", "unit_vectors"]


def is_placed(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether positions in degrees are on the sphere; False where missing.

    Parameters
    ----------
    ra, dec
        Degrees, each with shape (N,).
    """
    return np.asarray((ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90))


def positive_ra(ra: NDArray[np.float64]) -> NDArray[np.float64]:
    """Right ascensions in degrees, those from -180 to 0 as 180 to 360, with shape (N,).

    Parameters
    ----------
    ra
        Degrees, with shape (N,).
    """
    return np.where((ra >= -180) & (ra < 0), ra + 360, ra)


def unit_vectors(ra: NDArray[Any], dec: NDArray[Any]) -> NDArray[np.float64]:
    """Unit vectors of positions, along a last axis of 3.

    Parameters
    ----------
    ra, dec
        Degrees, of one shape.
    """
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)
