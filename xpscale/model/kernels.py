"""Compiled loops over coefficients, in float64 and rounded once: one pass over memory where numpy makes six.

They release the interpreter's lock, so threads run side by side.  Letters: N sources, C coefficients; G the G flux, m and d
the scaling (`xpscale.model.scaling`).  Compiled code is kept in ``__pycache__``.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

__all__ = ["fit_rows", "leaves_range", "standardize_rows", "unscale_rows"]

# fused multiply-adds and sums in any order; NaN and infinity keep their meaning
_jit: Any = nb.njit(cache=True, nogil=True, boundscheck=False, error_model="numpy", fastmath={"contract", "reassoc"})

_GROUP = 8  # factors of a product whose logarithm is taken at once
_SMALLEST, _LARGEST = 1e-300, 1e300


@_jit
def standardize_rows(values, flux, shift, width, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """``out = (values / G - shift) / width``; values and out float32 (N, C), flux (N,), shift and width float64 (C,)."""
    n, c = values.shape
    per_width = 1 / width
    for i in range(n):
        per_flux = 1 / flux[i]
        for j in range(c):
            out[i, j] = (values[i, j] * per_flux - shift[j]) * per_width[j]


@_jit
def leaves_range(x, lower, upper, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """``out``, bool (N,): whether any element of a row of x (N, C) is below ``lower`` or above ``upper``, both (C,)."""
    n, c = x.shape
    for i in range(n):
        found = np.int32(0)
        for j in range(c):
            found += np.int32(x[i, j] < lower[j]) + np.int32(x[i, j] > upper[j])
        out[i] = found > 0


@_jit
def unscale_rows(mean, scatter, flux, shift, width, coefficients, widths):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """``coefficients = (mean d + m) G`` and ``widths = scatter d G``; all float32 (N, C) but flux (N,), m and d (C,)."""
    n, c = mean.shape
    for i in range(n):
        g = flux[i]
        for j in range(c):
            coefficients[i, j] = (mean[i, j] * width[j] + shift[j]) * g
            widths[i, j] = scatter[i, j] * width[j] * g


@_jit
def fit_rows(x, x_err, mean, scatter, nll, reduced_chi2, usable, bound, at_bound):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """How well rows are fitted, in standardized units (`xpscale.model.scatter_vae`).

    ::

        w = x_err^2 + scatter^2       chi2 = sum (x - mean)^2 / w       nll = (chi2 + sum ln w) / 2

    The logarithm is taken of products of eight w, which costs an eighth and rounds less.

    Parameters
    ----------
    x, x_err, mean, scatter
        float32, with shape (N, C).
    nll, reduced_chi2
        Results, float32, with shape (N,): NaN where an error is not finite and positive.
    usable
        Result, bool, with shape (N,): whether all errors are.
    bound, at_bound
        Result, bool, with shape (N,): whether any scatter is above the bound.
    """
    n, c = x.shape
    w = np.empty(c)
    for i in range(n):
        bad, high, chi2 = np.int32(0), np.int32(0), 0.0
        for j in range(c):
            error, s = x_err[i, j], scatter[i, j]
            bad += np.int32(not (error > 0)) + np.int32(not (error < np.inf))
            high += np.int32(s > bound)
            w[j] = np.float64(error) * error + np.float64(s) * s
            off = np.float64(x[i, j]) - mean[i, j]
            chi2 += off * off / w[j]
        usable[i], at_bound[i] = bad == 0, high > 0
        log_w = _log_of_product(w) if bad == 0 else np.nan
        nll[i] = (chi2 + log_w) / 2
        reduced_chi2[i] = chi2 / c if bad == 0 else np.nan


@_jit
def _log_of_product(w):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """``sum(log(w))`` of positive numbers."""
    total = 0.0
    for start in range(0, len(w), _GROUP):
        product = 1.0
        for j in range(start, min(start + _GROUP, len(w))):
            product *= w[j]
        if _SMALLEST < product < _LARGEST:
            total += np.log(product)
        else:
            for j in range(start, min(start + _GROUP, len(w))):
                total += np.log(w[j])
    return total
