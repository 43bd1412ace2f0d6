"""Why a spectrum is not written to the store: a row is written, or counted under one reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from xpscale.spectra import SpectraBatch

__all__ = ["DUPLICATE", "REASONS", "first_reasons", "row_faults"]

DUPLICATE = "duplicate_source_id"

REASONS = {
    "missing_bp": "the source has no BP spectrum",
    "missing_rp": "the source has no RP spectrum",
    DUPLICATE: "the same source_id was read before",
    "no_gaia_source": "gaia_source has no such source_id",
    "no_position": "ra or dec is missing or outside its range",
    "no_g_flux": "phot_g_mean_flux is missing or not positive",
    "non_finite_coefficients": "a coefficient is missing or not finite",
    "bad_errors": "a coefficient error is missing, not finite or not positive",
    "bad_correlations": "a correlation is missing or not finite (only where they are kept)",
}
"""Reasons and what they mean, in the order in which they are tried: a row counts under the first
that holds.
"""


def row_faults(batch: SpectraBatch) -> dict[str, NDArray[np.bool_]]:
    """Reasons that the rows themselves show, as masks with shape (N,)."""
    first = np.zeros(len(batch), bool)
    first[np.unique(batch.source_id, return_index=True)[1]] = True
    faults: dict[str, NDArray[np.bool_]] = {
        DUPLICATE: ~first,
        "no_position": ~((batch.ra >= 0) & (batch.ra <= 360) & (np.abs(batch.dec) <= 90)),
        "no_g_flux": ~((batch.phot_g_mean_flux > 0) & np.isfinite(batch.phot_g_mean_flux)),
        "non_finite_coefficients": ~np.asarray(np.isfinite(batch.coefficients).all(1)),
    }
    errors = batch.coefficient_errors
    if errors is not None:
        faults["bad_errors"] = ~np.asarray(((errors > 0) & np.isfinite(errors)).all(1))
    return faults


def first_reasons(
    faults: Mapping[str, NDArray[np.bool_]], n_rows: int
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Which rows to keep, and how many are rejected for which reason, each row counted once.

    Parameters
    ----------
    faults
        Masks of bad rows by reason, each with shape (N,).
    n_rows
        N.

    Returns
    -------
    keep, rejected
        A mask with shape (N,); and rows by reason.
    """
    keep = np.ones(n_rows, bool)
    rejected = {}
    for reason in REASONS:
        mask = faults.get(reason)
        if mask is not None and (hit := int((mask & keep).sum())):
            rejected[reason] = hit
            keep &= ~mask
    return keep, rejected
