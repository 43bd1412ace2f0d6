"""Positions as tables have them: which are on the sphere, and in which range."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["is_placed", "positive_ra"]


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
