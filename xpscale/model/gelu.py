"""GELU(x) = x Phi(x) with the normal distribution's Phi, exact to the rounding of float32.

Phi is a quotient of polynomials in x^2, whose coefficients both implementations use, in numpy here
and compiled in `xpscale.model.network_kernels`::

    Phi(x) - 1/2 = x P(x^2) / Q(x^2)    for |x| < 5.6, to 1e-8;    beyond, Phi is 0 or 1

P and Q are of degree 5: a least-squares fit, weighted until the largest error could not fall.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["END", "P", "Q", "gelu"]

P = tuple(
    np.float32(c)
    for c in (
        3.98942222e-01,
        3.43760962e-02,
        4.70725890e-03,
        1.73850610e-04,
        6.35652709e-06,
        2.21452996e-08,
    )
)
"""Coefficients of P, of the constant first."""

Q = tuple(
    np.float32(c)
    for c in (1, 2.52833808e-01, 2.89400817e-02, 1.91297768e-03, 7.51018598e-05, 1.18021124e-06)
)
"""Coefficients of Q."""

END = np.float32(5.6)
"""|x| beyond which Phi is 0 or 1."""


def gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """GELU of every element, float32.

    Parameters
    ----------
    x
        float32, of any shape.
    """
    y = x.clip(-END, END)
    square = y * y
    p, q = np.full_like(x, P[-1]), np.full_like(x, Q[-1])
    for above, below in zip(P[-2::-1], Q[-2::-1], strict=True):
        p, q = p * square + above, q * square + below
    return x * np.where(x > -END, np.float32(0.5) + y * p / q, np.float32(0))
