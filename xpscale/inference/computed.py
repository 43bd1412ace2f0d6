"""Columns of the catalogue in memory: to be filled, rounded, and handed to Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from xpscale.schema import correlation_columns, spectra_outputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from xpscale.model.checkpoint import TrainedModel

__all__ = [
    "CORRELATION_PRECISION",
    "arrow",
    "empty_columns",
    "round_within",
    "rounded_correlations",
    "seen_counts",
]

EXPONENT = np.int32(0x7F800000)
"""The exponent's bits of a float32: with only these a positive number becomes the power of two
below it.
"""

CORRELATION_PRECISION = 0.01
"""Largest rounding error of a correlation, in units of 1 / sqrt(P_ii P_jj + P_ij^2), with P the
inverse of the correlation matrix.

Rounded so, the matrix stays positive definite, and no variance that is computed from it moves by
more than this times sqrt(L (L - 1)): with six latents by 5.5 %, and by a tenth of that as a rule.
"""


def empty_columns(
    model: TrainedModel, outputs: Sequence[str], n_rows: int
) -> dict[str, NDArray[Any]]:
    """The computed columns by name, not filled yet but for the flags, which are 0; those that the
    network gives come first: means, log variances, kl, correlations.

    Parameters
    ----------
    model
        Whose results they will hold.
    outputs
        What is computed, of `xpscale.schema.OUTPUTS`.
    n_rows
        N.
    """
    n_latents = model.n_latents
    names = [
        *(f"latent_{what}_{i}" for what in ("mean", "log_var") for i in range(n_latents)),
        "kl",
        *(correlation_columns(n_latents) if "correlations" in outputs else ()),
    ]
    columns: dict[str, NDArray[Any]] = dict(
        zip(names, np.empty((len(names), n_rows), np.float32), strict=True)
    )
    arrays = spectra_outputs(outputs)
    for name in (
        *(("reduced_chi2", "nll", "in_distribution_score") if arrays else ()),
        "training_density",
    ):
        columns[name] = np.empty(n_rows, np.float32)
    columns["n_coefficients"] = np.full(n_rows, model.n_coefficients, np.int16)
    columns["flags"] = np.zeros(n_rows, np.int32)
    for name in arrays:
        columns[name] = np.empty((n_rows, model.n_coefficients), np.float32)
    return columns


def seen_counts(
    x: NDArray[np.float32], x_err: NDArray[np.float32] | None, *, needs_errors: bool
) -> NDArray[np.int16]:
    """How many elements of each spectrum a network uses, with shape (N,).

    Parameters
    ----------
    x, x_err
        Standardized coefficients and errors, with shape (N, C).
    needs_errors
        Whether the network uses only those that have a usable error.
    """
    seen = np.isfinite(x)
    if needs_errors and x_err is not None:
        seen &= np.isfinite(x_err) & (x_err > 0)
    return np.asarray(seen.sum(1, dtype=np.int16))


def round_within(
    values: NDArray[np.float32], width: NDArray[np.float32], fraction: float
) -> NDArray[np.float32]:
    """The values, rounded to the nearest multiple of a power of two q <= 2 f w, w their widths::

        |rounded - value| <= q / 2 <= f w

    The low bits of the mantissa become zeros, which the byte streams of Parquet squeeze out; the
    exponent is kept, so that nothing underflows as it would in float16.

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


def rounded_correlations(results: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """The correlations that a network gave, rounded, with shape (L (L - 1) / 2, B); none if none
    were wanted.
    """
    if "correlations" not in results:
        return np.empty((0, 0), np.float32)
    return round_within(
        results["correlations"], results["correlation_widths"], CORRELATION_PRECISION
    )


def arrow(values: NDArray[Any]) -> pa.Array:
    """An Arrow array over the same memory; two-dimensional values become fixed-size lists."""
    if values.ndim == 1:
        return pa.array(values)
    element = pa.field("element", pa.float32(), nullable=False)
    return pa.FixedSizeListArray.from_arrays(
        pa.array(values.ravel()), type=pa.list_(element, values.shape[1])
    )
