"""Tables on whether features carry [alpha/M] beyond Teff, log g and [Fe/H]; the tests and their
sources are in `xpscale.evaluation.conditional`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xpscale.evaluation.bootstrap import of_rows
from xpscale.evaluation.conditional import matched_pairs, partial_r2, predicted_by, right_pairs
from xpscale.evaluation.giants import LABELS
from xpscale.evaluation.sections import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.evaluation.giants import Giants

__all__ = ["fixed_label_tables"]

ALPHA = "alpha_m"


def fixed_label_tables(giants: Giants, seed: int = 0) -> dict[str, Table]:
    """``residualized``, ``matched`` and ``single``.

    Parameters
    ----------
    giants
        With labels and features.
    seed
        Of trees and bootstrap.
    """
    fixed = giants.sets[LABELS]
    known = predicted_by(fixed[0], giants.stars.labels[ALPHA], fixed[1], seed)
    return {
        "residualized": _residualized(giants, known, seed),
        "matched": _matched(giants, seed),
        "single": _single(giants, known, seed),
    }


def _residualized(giants: Giants, known: NDArray[np.float64], seed: int) -> Table:
    """Partial R^2 of [alpha/M]."""
    fixed, rows = giants.sets[LABELS], {}
    for name, (ours, theirs) in giants.sets.items():
        if name == "[Fe/H]" or name.startswith(LABELS):
            continue
        both = np.hstack([fixed[0], ours]), np.hstack([fixed[1], theirs])
        by_both = predicted_by(both[0], giants.stars.labels[ALPHA], both[1], seed)
        arrays = (giants.judged.labels[ALPHA], known, by_both)
        rows[name] = {"partial R²": of_rows(partial_r2, giants.judged.group, *arrays, seed=seed)}
    return Table(
        "[alpha/M] at fixed labels: residualized",
        "The share of the variance of [alpha/M] left by Teff, log g and [Fe/H] that features"
        " explain in addition; 0 if they carry nothing beyond these labels. Errors of the labels"
        " themselves weaken the conditioning, so small values prove little.",
        rows,
        "features",
    )


def _matched(giants: Giants, seed: int) -> Table:
    pairs = matched_pairs(giants.judged.labels, giants.votes[LABELS], giants.truth)
    group = giants.judged.group[pairs[0]]
    rows = {
        name: {
            "right pairs": of_rows(np.mean, group, right_pairs(votes, pairs), seed=seed)
            if len(group)
            else "–"
        }
        for name, votes in giants.votes.items()
    }
    return Table(
        f"[alpha/M] at fixed labels: {len(group):,} matched pairs",
        "Each high-alpha giant beside a low-alpha one of the same Teff (75 K), log g (0.15), [Fe/H]"
        " (0.07) and probability of being high-alpha as these three labels say (0.05): the share of"
        " pairs that a forest's votes order right, 0.5 by chance. The line of the labels shows how"
        " much of them the match leaves.",
        rows,
        "features",
    )


def _single(giants: Giants, known: NDArray[np.float64], seed: int) -> Table:
    """Correlation of each latent with [alpha/M], both without what the labels say."""
    (fixed, others), (ours, theirs) = giants.sets[LABELS], giants.sets[giants.latents]
    alpha = giants.judged.labels[ALPHA] - known

    def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return float(np.corrcoef(a, b)[0, 1])

    rows = {}
    for k in range(ours.shape[1]):
        left = theirs[:, k] - predicted_by(fixed, np.asarray(ours[:, k], np.float64), others, seed)
        found = of_rows(correlation, giants.judged.group, left, alpha, seed=seed)
        rows[f"latent {k}"] = {"correlation": found}
    return Table(
        "Each latent and [alpha/M], labels taken out of both",
        "An interval without 0 means that this latent carries [alpha/M] beyond Teff, log g and"
        " [Fe/H].",
        rows,
        "latent",
    )
