"""The posterior of the latents from what the layers give, compiled: the arithmetic of
`xpscale.model.iterative` and of `LatentPosterior`, for many spectra at once.

Letters: B spectra, L latents, K = L (L - 1) / 2 pairs of them.  Arrays end with the spectra, of
which a tile goes through all steps before the next: loops over them use the processor's vectors.
"""

from __future__ import annotations

import numpy as np

from xpscale.model.constants import LATENT_LOG_VAR_BOUNDS, SMALLEST_DIAGONAL
from xpscale.model.kernels import jit
from xpscale.model.network_kernels import exp_of, log_of

__all__ = ["posterior_columns"]

_F = np.float32
_ZERO, _HALF, _ONE = _F(0), _F(0.5), _F(1)
_LOWER, _UPPER = (_F(bound) for bound in LATENT_LOG_VAR_BOUNDS)
_SMALLEST = _F(SMALLEST_DIAGONAL)
_TILE = 128


@jit
def posterior_columns(first, correction, n_seen, axes, latents, correlations, widths):  # type: ignore[no-untyped-def]
    """The posterior in the turned latents z' = Q z.

    Parameters
    ----------
    first
        mu_1 and log_var_1, float32, with shape (2L, B).
    correction
        d, e and t, float32, with shape (2L + K, B).
    n_seen
        Measured elements of each spectrum, float32, with shape (B,): of none the posterior is the
        prior.
    axes
        Q, float32, with shape (L, L).
    latents
        Results, float32, with shape (2L + 2, B): means, log variances, kl, and 1 where a variance
        is at its bound.
    correlations, widths
        `LatentPosterior.correlations` and `LatentPosterior.correlation_widths`, float32, with shape
        (K, B).
    """
    n_latents = len(axes)
    mean = np.empty((n_latents, _TILE), _F)
    root = np.empty((n_latents, n_latents, _TILE), _F)
    factor, work = np.empty_like(root), np.empty_like(root)
    for start in range(0, first.shape[1], _TILE):
        here = slice(start, start + _TILE)
        out = latents[:, here]
        _roots(first[:, here], correction[:, here], n_seen[here], mean, root, out)
        _turn(axes, mean, root, work, factor, out)
        _correlate(factor, work, correlations[:, here], widths[:, here])


@jit
def _roots(first, correction, n_seen, mean, root, out):  # type: ignore[no-untyped-def]
    """mu, and W = exp(log_var / 2) R with R_k = (t_k, 1) / |(t_k, 1)|; kl and bounds to ``out``."""
    n_latents, n = len(mean), first.shape[1]
    kl, at_bound = out[2 * n_latents], out[2 * n_latents + 1]
    for r in range(n):
        kl[r], at_bound[r] = _ZERO, _ZERO
    pair = 2 * n_latents
    for k in range(n_latents):
        for r in range(n):
            some = _ONE if n_seen[r] > _ZERO else _ZERO
            log_var = min(max(first[n_latents + k, r], _LOWER), _UPPER)
            mu = some * (first[k, r] + exp_of(log_var * _HALF) * correction[k, r])
            log_var = min(max(some * (log_var + correction[n_latents + k, r]), _LOWER), _UPPER)
            if (log_var <= _LOWER) | (log_var >= _UPPER):
                at_bound[r] = _ONE
            mean[k, r] = mu
            length = _ONE
            for j in range(k):
                length += some * correction[pair + j, r] * correction[pair + j, r]
            width = exp_of(log_var * _HALF)
            kl[r] += (mu * mu + width * width - _ONE - log_var + log_of(length)) * _HALF
            width /= np.sqrt(length)
            for j in range(k):
                root[k, j, r] = some * width * correction[pair + j, r]
            root[k, k, r] = width
        pair += k


@jit
def _turn(axes, mean, root, directions, factor, out):  # type: ignore[no-untyped-def]
    """Q mu, and the rows of Q W made triangular by Gram and Schmidt's steps, as
    `LatentPosterior.turned`.
    """
    n_latents, n = len(axes), out.shape[1]
    along = np.empty(_TILE, _F)
    for i in range(n_latents):
        row = directions[i]
        along[:] = _ZERO
        for r in range(n):
            out[i, r] = _ZERO
        for j in range(n_latents):
            for r in range(n):
                out[i, r] += axes[i, j] * mean[j, r]
                row[j, r] = axes[i, j] * root[j, j, r]
            for k in range(j + 1, n_latents):
                for r in range(n):
                    row[j, r] += axes[i, k] * root[k, j, r]
            for r in range(n):
                along[r] += row[j, r] * row[j, r]
        for r in range(n):
            out[n_latents + i, r] = log_of(along[r])
            along[r] = _ONE / np.sqrt(along[r])
        _scale(row, along, n)
        for k in range(i):
            along[:] = _ZERO
            for j in range(n_latents):
                for r in range(n):
                    along[r] += row[j, r] * directions[k, j, r]
            for j in range(n_latents):
                for r in range(n):
                    row[j, r] -= along[r] * directions[k, j, r]
            for r in range(n):
                factor[i, k, r] = along[r]
        along[:] = _ZERO
        for j in range(n_latents):
            for r in range(n):
                along[r] += row[j, r] * row[j, r]
        for r in range(n):
            factor[i, i, r] = max(np.sqrt(along[r]), _SMALLEST)
            along[r] = _ONE / factor[i, i, r]
        _scale(row, along, n)


@jit
def _scale(rows, by, n):  # type: ignore[no-untyped-def]
    for j in range(len(rows)):
        for r in range(n):
            rows[j, r] *= by[r]


@jit
def _correlate(factor, inverse, correlations, widths):  # type: ignore[no-untyped-def]
    """R R^T of every pair, and 1 / sqrt(P_ii P_jj + P_ij^2) with P = R^-T R^-1."""
    n_latents, n = len(factor), correlations.shape[1]
    for j in range(n_latents):
        for i in range(j, n_latents):
            for r in range(n):
                inverse[i, j, r] = _ONE if i == j else _ZERO
            for k in range(j, i):
                for r in range(n):
                    inverse[i, j, r] -= factor[i, k, r] * inverse[k, j, r]
            for r in range(n):
                inverse[i, j, r] /= factor[i, i, r]
    precision = np.zeros((3, _TILE), _F)
    pair = 0
    for i in range(n_latents):
        for j in range(i + 1, n_latents):
            precision[:] = _ZERO
            for k in range(i, n_latents):
                for r in range(n):
                    precision[0, r] += inverse[k, i, r] * inverse[k, i, r]
            for k in range(j, n_latents):
                for r in range(n):
                    precision[1, r] += inverse[k, j, r] * inverse[k, j, r]
                    precision[2, r] += inverse[k, i, r] * inverse[k, j, r]
            for r in range(n):
                correlations[pair, r] = _ZERO
                both, cross = precision[0, r] * precision[1, r], precision[2, r]
                widths[pair, r] = _ONE / np.sqrt(both + cross * cross)
            for k in range(i + 1):
                for r in range(n):
                    correlations[pair, r] += factor[i, k, r] * factor[j, k, r]
            pair += 1
