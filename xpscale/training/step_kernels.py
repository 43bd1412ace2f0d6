"""Compiled loops of a training step by hand (`xpscale.training.by_hand`), in float32: what is
between its matrix products.

Letters: B spectra of a batch, O the width of a layer, C coefficients, L latents.  Rows of a layer
are features, (O, B), so that the mean over a batch is along memory.
"""

from __future__ import annotations

import numpy as np

from xpscale.model.kernels import PHI_P, PHI_Q, jit, log_of_product

__all__ = ["draw", "draw_gradient", "likelihood", "normalized_gelu", "normalized_gelu_gradient"]

_F = np.float32
_HALF, _ONE, _TWO, _ZERO, _END = _F(0.5), _F(1), _F(2), _F(0), _F(5.6)
_P0, _P1, _P2, _P3, _P4, _P5 = PHI_P
_Q1, _Q2, _Q3, _Q4, _Q5 = PHI_Q
# of the derivatives dP/ds and dQ/ds
_R0, _R1, _R2, _R3, _R4 = (_F(n * c) for n, c in enumerate(PHI_P[1:], 1))
_S0, _S1, _S2, _S3, _S4 = (_F(n * c) for n, c in enumerate(PHI_Q, 1))


@jit
def normalized_gelu(  # type: ignore[no-untyped-def]
    h, bias, gain, shift, eps, momentum, running_mean, running_var, variance, out, slope
):
    """``out = GELU(y)`` and ``slope = GELU'(y)`` of ``y = gain n + shift``, with n the rows of h
    without mean and width.

    ::

        n = (h - mean) / sqrt(variance + eps)          mean and (population) variance of each row; h becomes n
        running_mean <- running_mean + momentum (mean + bias - running_mean)
        running_var  <- running_var  + momentum (variance B / (B - 1) - running_var)
        GELU(y) = y Phi(y)        GELU'(y) = Phi(y) + y Phi'(y)        Phi = 1/2 + y P(s) / Q(s), s = y^2  (`kernels.gelu_rows`)

    Parameters
    ----------
    h, out, slope
        With shape (O, B), B > 1; the first is changed, the others are results.
    bias, gain, shift, running_mean, running_var, variance
        With shape (O,); the running ones are changed, the last is a result.
    eps, momentum
        Numbers.
    """
    n, m = h.shape
    for i in range(n):
        total, squares = _ZERO, _ZERO
        for j in range(m):
            total += h[i, j]
        center = total / _F(m)
        for j in range(m):
            off = h[i, j] - center
            squares += off * off
        variance[i] = squares / _F(m)
        running_mean[i] += momentum * (center + bias[i] - running_mean[i])
        running_var[i] += momentum * (squares / _F(m - 1) - running_var[i])
        scale, g, b = _ONE / np.sqrt(variance[i] + eps), gain[i], shift[i]
        for j in range(m):
            normal = (h[i, j] - center) * scale
            h[i, j] = normal
            x = normal * g + b
            y = min(max(x, -_END), _END)
            s = y * y
            p = ((((_P5 * s + _P4) * s + _P3) * s + _P2) * s + _P1) * s + _P0
            q = ((((_Q5 * s + _Q4) * s + _Q3) * s + _Q2) * s + _Q1) * s + _ONE
            dp = (((_R4 * s + _R3) * s + _R2) * s + _R1) * s + _R0
            dq = (((_S4 * s + _S3) * s + _S2) * s + _S1) * s + _S0
            per_q = _ONE / q
            f = p * per_q
            phi = _HALF + y * f if x > -_END else _ZERO
            out[i, j] = x * phi
            slope[i, j] = phi + (
                y * (f + _TWO * s * (dp - f * dq) * per_q) if abs(x) < _END else _ZERO
            )


@jit
def normalized_gelu_gradient(d, normal, slope, gain, variance, eps, d_gain, d_shift):  # type: ignore[no-untyped-def]
    """The gradients of `normalized_gelu` with respect to h, gain and shift, given that of its
    result, d, which becomes d_h.

    ::

        d_y = d slope          d_shift = sum d_y          d_gain = sum d_y n
        d_h = gain / sqrt(variance + eps) (d_y - d_shift / B - n d_gain / B)

    Parameters
    ----------
    d, normal, slope
        With shape (O, B); ``normal`` is n.
    gain, variance, d_gain, d_shift
        With shape (O,); the last two are results.
    eps
        What was added to the variance.
    """
    n, m = d.shape
    for i in range(n):
        total, product = _ZERO, _ZERO
        for j in range(m):
            d_y = d[i, j] * slope[i, j]
            d[i, j] = d_y
            total += d_y
            product += d_y * normal[i, j]
        d_shift[i], d_gain[i] = total, product
        scale, a, b = gain[i] / np.sqrt(variance[i] + eps), total / _F(m), product / _F(m)
        for j in range(m):
            d[i, j] = scale * (d[i, j] - a - normal[i, j] * b)


@jit
def draw(mean, log_var, noise, lower, upper, width, z, kl):  # type: ignore[no-untyped-def]
    """``z = mean + width noise``, with log_var kept between its bounds and ``width = exp(log_var /
    2)``; kl of each latent.

    Parameters
    ----------
    mean, log_var, width, z
        With shape (L, B); the last two are results.
    noise
        Standard normal, with shape (B, L).
    lower, upper
        The bounds.
    kl
        Result: the mean over the batch, with shape (L,).
    """
    n, m = mean.shape
    for i in range(n):
        total = 0.0
        for j in range(m):
            v = min(max(log_var[i, j], lower), upper)
            w = np.exp(v * _HALF)
            width[i, j], z[i, j] = w, mean[i, j] + w * noise[j, i]
            total += mean[i, j] * mean[i, j] + w * w - _ONE - v
        kl[i] = total / (2 * m)


@jit
def draw_gradient(d, mean, log_var, noise, lower, upper, width, counts):  # type: ignore[no-untyped-def]
    """The gradients of mean and log_var, in their places, given that of z, d, and whether a
    latent's kl counts, (L,).

    ::

        d_mean = d + mean / B          d_log_var = d noise width / 2 + (width^2 - 1) / 2B, 0 outside the bounds
    """
    n, m = mean.shape
    for i in range(n):
        k = counts[i] / _F(m)
        for j in range(m):
            w, v = width[i, j], log_var[i, j]
            mean[i, j] = d[i, j] + k * mean[i, j]
            change = (d[i, j] * noise[j, i] * w + k * (w * w - _ONE)) * _HALF
            log_var[i, j] = change if lower <= v <= upper else _ZERO


@jit
def likelihood(x, x_err, mean, scatter, d_mean, d_logit):  # type: ignore[no-untyped-def]
    """The mean over a batch of ``sum_j [ (x - mean)^2 / w + ln w ] / 2``, ``w = x_err^2 +
    scatter^2``; and its gradients.

    ::

        r = (x - mean) / w       d_mean = -r / B       d_logit = scatter^2 (1 - scatter) (1 / w - r^2) / B

    The logit is what scatter is the sigmoid of.

    Parameters
    ----------
    x, x_err, mean, scatter, d_mean, d_logit
        With shape (B, C); the last two are results.
    """
    n, c = x.shape
    k, w, total = _ONE / _F(n), np.empty(c, np.float32), np.float64(0)
    for i in range(n):
        chi2 = _ZERO
        for j in range(c):
            s, off = scatter[i, j], x[i, j] - mean[i, j]
            w[j] = x_err[i, j] * x_err[i, j] + s * s
            per_w = _ONE / w[j]
            r = off * per_w
            chi2 += off * r
            d_mean[i, j], d_logit[i, j] = -k * r, k * s * s * (_ONE - s) * (per_w - r * r)
        total += chi2 + log_of_product(w)
    return total / (2 * n)
