"""The posterior of the latents, from the catalogue's columns alone, and what it does to spectra.

With C the posterior covariance of the latents, and c_k the columns of a root of it,
C = sum_k c_k c_k^T, a spectrum deviates by one standard deviation along L independent directions::

    m_k = [ x_hat(z + h c_k) - x_hat(z - h c_k) ] / 2 h,     h = sqrt(3)
    covariance of x_hat = sum_k m_k m_k^T

With h = sqrt(3), the outer points of Gauss and Hermite's rule of three, a decoder that bends is
followed to third order (Julier & Uhlmann 2004, Proc. IEEE 92, 401).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from xpscale.errors import InvalidInputError
from xpscale.query.convert import array
from xpscale.schema import correlation_columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.model.decoder import Decoder

__all__ = [
    "PosteriorSpread",
    "latent_covariance",
    "latent_means",
    "no_posterior",
    "posterior_columns",
    "total_error",
]

ROWS_AT_ONCE = 4_096


def posterior_columns(n_latents: int) -> tuple[str, ...]:
    """The columns that hold a posterior: means, log variances, correlations."""
    latents = range(n_latents)
    return (
        *(f"latent_mean_{i}" for i in latents),
        *(f"latent_log_var_{i}" for i in latents),
        *correlation_columns(n_latents),
    )


def latent_means(table: pa.Table, n_latents: int) -> NDArray[Any]:
    """The posterior means of each row, with shape (N, L).

    Parameters
    ----------
    table
        Rows with the columns ``latent_mean_*``.
    n_latents
        L.
    """
    return np.stack([array(table[f"latent_mean_{i}"]) for i in range(n_latents)], 1)


def latent_covariance(table: pa.Table) -> NDArray[np.float64]:
    """The posterior covariance of the latents of each row, with shape (N, L, L).

    Draws of the latents are ``mean + root @ noise`` with the root of ``numpy.linalg.cholesky``.

    Parameters
    ----------
    table
        Rows with all columns ``latent_log_var_*`` and ``latent_correlation_*``.

    Raises
    ------
    InvalidInputError
        If a column is missing: without correlations, errors would be wrong by factors.
    """
    n_latents = sum(name.startswith("latent_log_var_") for name in table.column_names)
    names = [f"latent_log_var_{i}" for i in range(n_latents)]
    pairs = correlation_columns(n_latents)
    lacking = [name for name in (*names, *pairs) if name not in table.column_names]
    if lacking or n_latents == 0:
        raise InvalidInputError(
            f"the table lacks {', '.join(lacking) or 'latent_log_var_0'}, and a posterior has none"
            " without",
            "Keep these columns in the selection; a catalogue has them if its run had"
            " --outputs latents,correlations",
        )
    matrix = np.tile(np.eye(n_latents), (table.num_rows, 1, 1))
    for name, i, j in zip(pairs, *np.triu_indices(n_latents, 1), strict=True):
        matrix[:, i, j] = matrix[:, j, i] = array(table[name])
    width = np.exp(np.stack([array(table[name]) for name in names], 1).astype(np.float64) / 2)
    return np.asarray(width[:, :, None] * matrix * width[:, None])


def total_error(
    posterior_error: NDArray[Any] | None, scatter: NDArray[np.floating[Any]]
) -> NDArray[Any]:
    """Both parts of a reconstruction's error together, sqrt(posterior_error^2 + scatter^2).

    Parameters
    ----------
    posterior_error, scatter
        Standard deviations, of one shape.

    Raises
    ------
    InvalidInputError
        If the posterior's part is ``None``.
    """
    if posterior_error is None:
        raise no_posterior()
    return np.asarray(np.hypot(posterior_error, scatter))


def no_posterior() -> InvalidInputError:
    """The error for spectra whose posterior is not known."""
    return InvalidInputError(
        "the posterior of these spectra is not known: their rows came without correlations of"
        " the latents, or without a model",
        "Reconstruct a selection of a catalogue that was made with --outputs"
        " latents,correlations, or give table and model: reconstruct(table, model)",
    )


class PosteriorSpread:
    """How far spectra may lie from their reconstruction because their latents are not known better;
    computed when it is asked for.

    Parameters
    ----------
    mean
        Posterior means, with shape (N, L).
    covariance
        From `latent_covariance`, with shape (N, L, L).
    phot_g_mean_flux
        Mean G flux in electron/s, with shape (N,).
    model
        Gives the model whose latents these are.
    """

    def __init__(
        self,
        mean: NDArray[np.floating[Any]],
        covariance: NDArray[np.float64],
        phot_g_mean_flux: NDArray[np.float64],
        model: Callable[[], Decoder],
    ) -> None:
        self.mean, self.covariance = mean, covariance
        self.phot_g_mean_flux, self.model = phot_g_mean_flux, model

    def take(self, rows: NDArray[Any] | slice) -> PosteriorSpread:
        """That of some rows: an index array, a boolean mask with shape (N,), or a slice."""
        return PosteriorSpread(
            self.mean[rows], self.covariance[rows], self.phot_g_mean_flux[rows], self.model
        )

    @cached_property
    def error(self) -> NDArray[np.float32]:
        """One standard deviation of each coefficient, electron/s, with shape (N, C)."""
        return self.propagated(None).astype(np.float32)

    def propagated(self, matrix: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """One standard deviation of each linear function of the coefficients, with shape (N, W).

        Parameters
        ----------
        matrix
            The functions' weights, with shape (C, W); the coefficients themselves if not given.
        """
        blocks = [
            np.sqrt(np.square(modes if matrix is None else modes @ matrix).sum(1))
            for modes in self.modes()
        ]
        return np.concatenate(blocks)

    def covariance_of(self, matrix: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Covariance of linear functions of the coefficients, sum of m_k m_k^T over the modes, with
        shape (N, W, W).

        Parameters
        ----------
        matrix
            As of `propagated`.
        """
        blocks = []
        for modes in self.modes():
            moved = modes if matrix is None else modes @ matrix  # (n, L, W)
            blocks.append(moved.transpose(0, 2, 1) @ moved)
        return np.concatenate(blocks)

    def modes(self) -> Iterator[NDArray[np.float64]]:
        """m_k of some thousand rows at a time, electron/s, with shape (n, L, C)."""
        model, step = self.model(), np.sqrt(3)
        for start in range(0, max(len(self.mean), 1), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            values, directions = np.linalg.eigh(self.covariance[rows])
            # rounding may leave an eigenvalue of zero below it
            root = directions * np.sqrt(np.maximum(values, 0))[:, None]  # (n, L, L)
            points = self.mean[rows, None] + step * np.stack([root, -root]).transpose(0, 1, 3, 2)
            flux = np.broadcast_to(self.phot_g_mean_flux[rows, None], points.shape[:-1])
            mean, _ = model.decode(points.reshape(-1, points.shape[-1]), flux.ravel())
            ahead, behind = mean.reshape(*points.shape[:-1], model.bands.n_coefficients)
            yield (ahead - behind) / (2 * step)
