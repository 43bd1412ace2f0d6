"""Rounding to what matters: numbers lose the bits that lie far below their error, and so compress.

A value is rounded to the nearest multiple of a power of two q <= 2 f w, with w its standard
deviation and f the fraction of it that rounding may add::

    |rounded - value| <= q / 2 <= f w

The low bits of the mantissa become zeros, which the byte streams of Parquet squeeze out; the
exponent is kept, so that nothing underflows as it would in float16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["round_within"]

EXPONENT = np.int32(0x7F800000)
"""The exponent's bits of a float32: with only these a positive number becomes the power of two
below it.
"""


def round_within(
    values: NDArray[np.float32], width: NDArray[np.float32], fraction: float
) -> NDArray[np.float32]:
    """The values, rounded by at most ``fraction * width``.

    Parameters
    ----------
    values
        float32, of any shape.
    width
        Standard deviations, finite, of the same shape.  Where they are zero or tiny the value is
        left as it is.
    fraction
        f, above 0 and at most 0.5.
    """
    largest = width * np.float32(
        2 * fraction * (1 - 1e-6)
    )  # the margin covers the rounding of the width itself
    quantum = (largest.view(np.int32) & EXPONENT).view(np.float32)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rounded = np.rint(values / quantum) * quantum
    # beyond 2^24 quanta float32 is coarser than that, and the division may overflow
    return np.where(np.abs(values) < quantum * np.float32(2**24), rounded, values)
