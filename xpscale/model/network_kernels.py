"""Compiled steps of the networks, in float32: what stands between their matrix products, in one
pass over memory where torch makes many.

exp and log are those of Cephes (Moshier 1989, expf.c and logf.c): a polynomial after the power of
two has been split off, to one unit in the last place, without branches, so that loops of them use
the processor's vectors.

Letters: B spectra of a batch, C coefficients, L latents, K = L (L - 1) / 2 pairs of them, O the
width of a layer.  Layers are feature-major, (O, B); spectra are rows, (B, C).
"""

from __future__ import annotations

import numpy as np

from xpscale.model.constants import (
    ERROR_BOUNDS,
    LARGEST_RESIDUAL,
    LAYER_NORM_EPS,
    LOG_SCATTER_BOUNDS,
    MEAN_BOUND,
    SCATTER_FLOOR,
)
from xpscale.model.gelu import END, P, Q
from xpscale.model.kernels import jit

__all__ = [
    "column_widths",
    "distribution_rows",
    "gelu_rows",
    "normalized_gelu_rows",
    "residual_rows",
    "shown_rows",
]

_F, _I = np.float32, np.int32
_ZERO, _HALF, _ONE, _TWO, _INF = _F(0), _F(0.5), _F(1), _F(2), _F(np.inf)
_P0, _P1, _P2, _P3, _P4, _P5 = P
_, _Q1, _Q2, _Q3, _Q4, _Q5 = Q
_END = END
_LEAST_ERROR, _LARGEST_ERROR = (_F(bound) for bound in ERROR_BOUNDS)
_LEAST_LOG, _LARGEST_LOG = (_F(bound) for bound in LOG_SCATTER_BOUNDS)
_MEAN_BOUND, _FLOOR = _F(MEAN_BOUND), _F(SCATTER_FLOOR)
_LARGEST_RESIDUAL, _LARGEST_ASINH = _F(LARGEST_RESIDUAL), _F(1e18)
_EPS = _F(LAYER_NORM_EPS)
_TILE = 128  # columns whose sums stay in the processor's first cache

_LOG2_E = _F(1.44269504)
_LN2_HIGH, _LN2_LOW = _F(0.693359375), _F(-2.12194440e-4)  # the first of few bits: products exact
_E0, _E1, _E2, _E3, _E4, _E5 = (
    _F(c) for c in (0.5, 1.6666665e-1, 4.1665796e-2, 8.333452e-3, 1.3981999e-3, 1.9875691e-4)
)
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = (
    _F(c)
    for c in (
        3.3333331e-1,
        -2.4999994e-1,
        2.0000714e-1,
        -1.6668058e-1,
        1.4249322e-1,
        -1.2420141e-1,
        1.1676998e-1,
        -1.1514610e-1,
        7.0376836e-2,
    )
)
_ROOT_HALF, _MANTISSA, _BIAS = _I(0x3F3504F3), _I(23), _I(127)  # the bits of sqrt(1/2)


@jit
def exp_of(x):  # type: ignore[no-untyped-def]
    """e^x of a float32 between -80 and 80."""
    n = np.rint(x * _LOG2_E)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = ((((_E5 * r + _E4) * r + _E3) * r + _E2) * r + _E1) * r + _E0
    return (p * r * r + r + _ONE) * _I((_I(n) + _BIAS) << _MANTISSA).view(_F)


@jit
def log_of(x):  # type: ignore[no-untyped-def]
    """Ln x of a normal positive float32."""
    bits = _F(x).view(_I)
    n = (bits - _ROOT_HALF) >> _MANTISSA
    m = _I(bits - (n << _MANTISSA)).view(_F) - _ONE
    s = m * m
    p = (((((((_L8 * m + _L7) * m + _L6) * m + _L5) * m + _L4) * m + _L3) * m + _L2) * m + _L1) * m
    return m + (m * s * (p + _L0) - _HALF * s + _F(n) * _LN2_LOW) + _F(n) * _LN2_HIGH


@jit
def _asinh_of(x):  # type: ignore[no-untyped-def]
    """sign(x) ln(|x| + sqrt(1 + x^2)), to 2e-7; |x| is taken for 1e18 where it is larger."""
    size = min(abs(x), _LARGEST_ASINH)
    y = log_of(size + np.sqrt(_ONE + size * size))
    return y if x >= _ZERO else -y


@jit
def _gelu_of(x):  # type: ignore[no-untyped-def]
    """GELU(x) = x Phi(x) with the normal distribution's Phi, to 2e-7 (`xpscale.model.gelu`)."""
    y = min(max(x, -_END), _END)
    s = y * y
    p = ((((_P5 * s + _P4) * s + _P3) * s + _P2) * s + _P1) * s + _P0
    q = ((((_Q5 * s + _Q4) * s + _Q3) * s + _Q2) * s + _Q1) * s + _ONE
    return x * (_HALF + y * p / q if x > -_END else _ZERO)


@jit
def gelu_rows(h, bias):  # type: ignore[no-untyped-def]
    """``h = GELU(h + bias)`` in place.

    Parameters
    ----------
    h
        float32, with shape (O, B).
    bias
        float32, with shape (O,).
    """
    n, m = h.shape
    for i in range(n):
        b = bias[i]
        for j in range(m):
            h[i, j] = _gelu_of(h[i, j] + b)


@jit
def normalized_gelu_rows(u, shift, widths, bias):  # type: ignore[no-untyped-def]
    """``u = GELU((u + shift) / widths + bias)`` in place.

    Parameters
    ----------
    u
        float32, with shape (O, B).
    shift, bias
        float32, with shape (O,).
    widths
        float32, with shape (B,).
    """
    n, m = u.shape
    for j in range(m):
        widths[j] = _ONE / widths[j]
    for i in range(n):
        for j in range(m):
            u[i, j] = _gelu_of((u[i, j] + shift[i]) * widths[j] + bias[i])


@jit
def column_widths(h, bias, out):  # type: ignore[no-untyped-def]
    """sqrt(var(v) + eps) of every column v of h + bias, as of LayerNorm.

    Parameters
    ----------
    h
        float32, with shape (O, B).
    bias
        float32, with shape (O,).
    out
        Result, float32, with shape (B,).
    """
    n, m = h.shape
    mean, squares = np.empty(_TILE, np.float32), np.empty(_TILE, np.float32)
    for start in range(0, m, _TILE):
        k = min(_TILE, m - start)
        mean[:] = _ZERO
        squares[:] = _ZERO
        for i in range(n):
            for j in range(k):
                mean[j] += h[i, start + j] + bias[i]
        for j in range(k):
            mean[j] /= _F(n)
        for i in range(n):
            for j in range(k):
                off = h[i, start + j] + bias[i] - mean[j]
                squares[j] += off * off
        for j in range(k):
            out[start + j] = np.sqrt(squares[j] / _F(n) + _EPS)


@jit
def shown_rows(x, x_err, out, n_seen):  # type: ignore[no-untyped-def]
    """What the encoder is shown, [asinh x, (ln x_err + 2) / 2], and 0 and the largest error where
    an element is not measured.

    Parameters
    ----------
    x, x_err
        float32, with shape (B, C).
    out
        Result, float32, with shape (B, 2C).
    n_seen
        Number of measured elements, float32, with shape (B,).
    """
    n, c = x.shape
    for i in range(n):
        values, errors, count = out[i, :c], out[i, c:], _ZERO
        for j in range(c):
            error = x_err[i, j]
            seen = (abs(x[i, j]) < _INF) & (error > _ZERO) & (error < _INF)
            values[j] = x[i, j] if seen else _ZERO
            errors[j] = min(max(error, _LEAST_ERROR), _LARGEST_ERROR) if seen else _LARGEST_ERROR
            count += _ONE if seen else _ZERO
        for j in range(c):
            values[j] = _asinh_of(values[j])
        for j in range(c):
            errors[j] = (log_of(errors[j]) + _TWO) * _HALF
        n_seen[i] = count


@jit
def residual_rows(x, x_err, decoded, out):  # type: ignore[no-untyped-def]
    """``asinh[(x - x_hat) / sqrt(x_err^2 + s^2)]``, and 0 where an element is not measured.

    Parameters
    ----------
    x, x_err
        float32, with shape (B, C).
    decoded
        m and a of `xpscale.model.noise_aware`, float32, with shape (B, 2C).
    out
        Result, float32, with shape (B, C).
    """
    n, c = x.shape
    for i in range(n):
        for j in range(c):
            error = x_err[i, j]
            seen = (abs(x[i, j]) < _INF) & (error > _ZERO) & (error < _INF)
            up = exp_of(min(max(decoded[i, j], -_MEAN_BOUND), _MEAN_BOUND))
            down = _ONE / up
            a = min(max(decoded[i, c + j], _LEAST_LOG), _LARGEST_LOG)
            scatter = _FLOOR + exp_of(a) * ((up + down) * _HALF)
            error = min(max(error, _LEAST_ERROR), _LARGEST_ERROR)
            off = (x[i, j] - (up - down) * _HALF) / np.sqrt(error * error + scatter * scatter)
            off = min(max(off, -_LARGEST_RESIDUAL), _LARGEST_RESIDUAL)
            out[i, j] = _asinh_of(off) if seen else _ZERO


@jit
def distribution_rows(decoded, mean, scatter):  # type: ignore[no-untyped-def]
    """``x_hat = sinh m`` and ``s = s_min + e^a cosh m``.

    Parameters
    ----------
    decoded
        m and a of `xpscale.model.noise_aware`, float32, with shape (B, 2C).
    mean, scatter
        Results, float32, with shape (B, C).
    """
    n, c = mean.shape
    for i in range(n):
        for j in range(c):
            up = exp_of(min(max(decoded[i, j], -_MEAN_BOUND), _MEAN_BOUND))
            down = _ONE / up
            mean[i, j] = (up - down) * _HALF
            a = min(max(decoded[i, c + j], _LEAST_LOG), _LARGEST_LOG)
            scatter[i, j] = _FLOOR + exp_of(a) * ((up + down) * _HALF)
