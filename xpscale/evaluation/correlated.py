"""The likelihood of a spectrum with the correlations of its measurement errors.

For stores that were ingested with correlations.

The archive gives correlations R of the coefficients within each band.  With D = diag(sigma), S =
diag(s), and r = x - x_hat, band by band::

    V    = D R D + S^2
    nll  = [ r^T V^-1 r + ln det V ] / 2              without C/2 ln(2 pi), as everywhere

With R = 1 it is the likelihood that is trained on
(`xpscale.model.distributions.Reconstruction.nll`). It serves to evaluate models and not to train
them: see design/011.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.evaluation.reconstruction import Prediction

__all__ = ["correlated_nll", "correlation_matrices"]

BATCH_ROWS = 1024


def correlation_matrices(triangle: NDArray[np.floating]) -> NDArray[np.float64]:
    """R of each spectrum, with shape (N, n, n).

    Parameters
    ----------
    triangle
        The strict lower triangle of each by rows, with shape (N, n (n - 1) / 2).

    Raises
    ------
    InvalidInputError
        If no n has that many correlations.
    """
    n = round((1 + np.sqrt(1 + 8 * triangle.shape[1])) / 2)
    if n * (n - 1) // 2 != triangle.shape[1]:
        raise InvalidInputError(
            f"{triangle.shape[1]} correlations are no triangle",
            "Give n (n - 1) / 2 of them for n coefficients",
        )
    matrices = np.tile(np.eye(n), (len(triangle), 1, 1))
    row, column = np.tril_indices(n, -1)
    matrices[:, row, column] = matrices[:, column, row] = triangle
    return matrices


def correlated_nll(prediction: Prediction, *triangles: NDArray[np.floating]) -> NDArray[np.float64]:
    """Negative log likelihood of each spectrum in nats, with shape (N,).

    Parameters
    ----------
    prediction
        What a model predicts of N spectra.
    triangles
        Correlations of BP, then of RP, as `xpscale.store.reader.SpectraStore.read_correlations`
        gives them.

    Raises
    ------
    InvalidInputError
        If they are not of these spectra's coefficients, or no correlations (the matrix is not
        positive definite); the message names the row.
    """
    nll, first = np.zeros(len(prediction.x)), 0
    for triangle in triangles:
        for start in range(0, len(nll), BATCH_ROWS):
            rows = slice(start, start + BATCH_ROWS)
            matrices = correlation_matrices(triangle[rows])
            columns = slice(first, first + matrices.shape[1])
            nll[rows] += _band_nll(prediction, rows, columns, matrices)
        first = columns.stop
    if first != prediction.x.shape[1]:
        raise InvalidInputError(
            f"correlations of {first} coefficients, spectra of {prediction.x.shape[1]}",
            "Give those of all bands",
        )
    return nll


def _band_nll(
    prediction: Prediction, rows: slice, columns: slice, matrices: NDArray[np.float64]
) -> NDArray[np.float64]:
    residual, error, scatter = (
        torch.from_numpy(np.asarray(values[rows, columns], np.float64))
        for values in (prediction.x - prediction.mean, prediction.x_err, prediction.scatter)
    )
    variance = error[:, :, None] * torch.from_numpy(matrices) * error[:, None, :]
    variance += torch.diag_embed(scatter.square())
    factor, failed = torch.linalg.cholesky_ex(variance)
    if failed.any():
        row = rows.start + int(failed.nonzero()[0, 0])
        raise InvalidInputError(
            f"the correlations of row {row} are not those of any errors: their matrix is not"
            " positive definite",
            "Leave that row out, or ingest it again",
        )
    whitened = torch.linalg.solve_triangular(factor, residual[:, :, None], upper=False)[:, :, 0]
    log_det = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return np.asarray((whitened.square().sum(1) + log_det).numpy() / 2)
