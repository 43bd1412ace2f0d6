"""Which rows are used, and why the others are not: one table of rules, for ingest and for
inference directly from Parquet alike.

A row is judged by itself first, and counts under the first rule that it breaks.  Of the rows of one
source that are left, the first in the order of the input is used; the others are duplicates.

Stores keep spectra of which a part is missing, and networks that need errors take them.  The rules
`of_whole` are for training and for networks that need all of a spectrum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xpscale.positions import is_placed
from xpscale.spectra import SpectraBatch
from xpscale.types import TaskReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DUPLICATE",
    "NO_POSITION",
    "RULES",
    "Rule",
    "is_sound",
    "judge",
    "rejections",
    "repeats",
    "truncated",
]

DUPLICATE = "duplicate_source_id"
NO_POSITION = "no_position"

Judgement = Callable[[SpectraBatch], "NDArray[np.bool_]"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Why a row is not used.

    Parameters
    ----------
    reason
        The name under which rows are counted.
    meaning
        What is wrong with such a row.
    is_broken
        The rows of a batch that break the rule, with shape (N,); ``None`` if only the input
        shows it.
    needs
        The array of a batch without which the rule cannot be tried.
    of_whole
        Whether only those who need whole spectra reject such a row.
    """

    reason: str
    meaning: str
    is_broken: Judgement | None = None
    needs: str = "source_id"
    of_whole: bool = False


def truncated(batch: SpectraBatch) -> NDArray[np.bool_]:
    """Elements that truncation has set to zero, with shape (N, C): the highest orders of a band, as
    far as they are exactly zero, which no measured coefficient is.
    """
    found = np.zeros(batch.coefficients.shape, bool)
    for band in (batch.bands.bp, batch.bands.rp):
        from_above = batch.coefficients[:, band][:, ::-1] == 0
        if from_above[:, :1].any():
            found[:, band] = np.logical_and.accumulate(from_above, 1)[:, ::-1]
    return found


def _is_positive(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    return np.asarray((values > 0) & np.isfinite(values))


def _bad_errors(batch: SpectraBatch) -> NDArray[np.bool_]:
    assert batch.coefficient_errors is not None  # the rule needs them
    return ~np.asarray(_is_positive(batch.coefficient_errors).all(1))


RULES = (
    Rule(
        "no_source_id",
        "source_id is missing or not positive",
        lambda b: np.asarray(b.source_id <= 0),
    ),
    Rule(
        "no_spectrum",
        "the source has no coefficient at all",
        lambda b: ~np.asarray(np.isfinite(b.coefficients).any(1)),
    ),
    Rule("no_gaia_source", "gaia_source has no such source_id"),
    Rule(
        NO_POSITION,
        "ra or dec is missing or outside its range",
        lambda b: ~is_placed(b.ra, b.dec),
    ),
    Rule(
        "no_g_flux",
        "phot_g_mean_flux is missing or not positive",
        lambda b: ~_is_positive(b.phot_g_mean_flux),
    ),
    Rule(
        "missing_bp",
        "the source has no BP spectrum",
        lambda b: b.missing_bands()["missing_bp"],
        of_whole=True,
    ),
    Rule(
        "missing_rp",
        "the source has no RP spectrum",
        lambda b: b.missing_bands()["missing_rp"],
        of_whole=True,
    ),
    Rule(
        "non_finite_coefficients",
        "a coefficient is missing or not finite",
        lambda b: ~np.asarray(np.isfinite(b.coefficients).all(1)),
        of_whole=True,
    ),
    Rule(
        "truncated",
        "the high orders of a band are exactly zero: they were cut off, not measured",
        lambda b: np.asarray(truncated(b).any(1)),
        of_whole=True,
    ),
    Rule(
        "bad_errors",
        "a coefficient error is missing, not finite or not positive",
        _bad_errors,
        needs="coefficient_errors",
        of_whole=True,
    ),
    Rule("bad_correlations", "a correlation is missing or not finite (only where they are kept)"),
    Rule(DUPLICATE, "an earlier row of the same source_id is used"),
)
"""In the order in which they are tried."""


def judge(
    batch: SpectraBatch,
    known: Mapping[str, NDArray[np.bool_]] | None = None,
    *,
    whole: bool = True,
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Which rows to use, and how many are rejected for which reason, each row counted once.

    Parameters
    ----------
    batch
        N rows in the order of the input.
    known
        Masks with shape (N,) of rows that break a rule as only the input shows, by reason.
    whole
        Whether all of a spectrum is needed; else parts of it may be missing.

    Returns
    -------
    keep, rejected
        A mask with shape (N,); and numbers of rows by reason.
    """
    known = known or {}
    keep, rejected = np.ones(len(batch), bool), {}
    for rule in RULES:
        broken = known.get(rule.reason, np.zeros(len(batch), bool))
        if rule.of_whole and not whole:
            continue
        if rule.reason == DUPLICATE:
            broken = broken | repeats(batch.source_id, keep & ~broken)
        elif rule.is_broken and getattr(batch, rule.needs) is not None:
            broken = broken | rule.is_broken(batch)
        if n_rows := int((broken & keep).sum()):
            rejected[rule.reason] = n_rows
            keep &= ~broken
    return keep, rejected


def is_sound(batch: SpectraBatch) -> NDArray[np.bool_]:
    """The rows that a store keeps, be they duplicates or not, with shape (N,)."""
    keep = np.ones(len(batch), bool)
    for rule in RULES:
        if rule.is_broken and not rule.of_whole and getattr(batch, rule.needs) is not None:
            keep &= ~rule.is_broken(batch)
    return keep


def repeats(source_id: NDArray[np.int64], usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The usable rows that have an earlier usable row of their source, with shape (N,).

    Parameters
    ----------
    source_id
        Identifiers, with shape (N,), in the order of the input.
    usable
        Which rows count, with shape (N,).
    """
    rows = np.flatnonzero(usable)
    again = usable.copy()
    again[rows[np.unique(source_id[rows], return_index=True)[1]]] = False
    return again


def rejections(reports: Iterable[TaskReport]) -> str:
    """``3 missing_bp, 1 bad_errors``."""
    total: Counter[str] = sum((Counter(report.n_rejected) for report in reports), Counter())
    return ", ".join(f"{n} {reason}" for reason, n in total.items()) or "nothing was read"
