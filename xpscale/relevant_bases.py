"""Truncation by the archive's numbers of relevant bases: of each band the leading coefficients are
used, the rest of the orders counts as missing.

The numbers come along with the spectra (`xpscale.companions.OF_SPECTRA`).  The coefficients are
those of an orthogonal basis whose orders are sorted by what they tell of typical spectra; beyond
the number of a source they are compatible with noise (De Angeli et al. 2023, A&A 674, A2;
GaiaXPy's option ``truncation`` drops the same).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from xpscale.companions import OF_SPECTRA
from xpscale.errors import InvalidInputError
from xpscale.spectra import SpectraBatch

__all__ = ["relevant_part", "require_relevant_bases"]


def relevant_part(batch: SpectraBatch) -> SpectraBatch:
    """The same spectra, with coefficients and errors NaN from order ``n_relevant_bases`` of their
    band on; whole bands where the number is not known.

    Parameters
    ----------
    batch
        N spectra with the companions `xpscale.companions.OF_SPECTRA`.
    """
    hidden = np.zeros(batch.coefficients.shape, bool)
    for name, band in zip(OF_SPECTRA, (batch.bands.bp, batch.bands.rp), strict=True):
        order = np.arange(band.stop - band.start)
        hidden[:, band] = order >= np.asarray(batch.companions[name])[:, None]
    missing, errors = np.float32(np.nan), batch.coefficient_errors
    return replace(
        batch,
        coefficients=np.where(hidden, missing, batch.coefficients),
        coefficient_errors=None if errors is None else np.where(hidden, missing, errors),
    )


def require_relevant_bases(companions: Iterable[str], *, needs_errors: bool) -> None:
    """Refuse a truncation that cannot be done.

    Parameters
    ----------
    companions
        What comes along with the spectra.
    needs_errors
        Whether the network sees errors, and so knows missing elements.

    Raises
    ------
    InvalidInputError
        The spectra come without the numbers, or the network needs whole spectra.
    """
    if lacking := [name for name in OF_SPECTRA if name not in companions]:
        raise InvalidInputError(
            f"--truncate needs {' and '.join(lacking)}, which the spectra come without",
            "Ingest them from files that have these columns, and with these --companions",
        )
    if not needs_errors:
        raise InvalidInputError(
            "--truncate leaves high orders out, and this network needs whole spectra",
            "Use a model with a network that sees errors, or leave out --truncate",
        )
