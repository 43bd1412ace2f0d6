r"""Whether features carry a label beyond other labels: two tests at fixed labels.

Giants that are rich in alpha elements are also poorer in iron, and so hotter at their gravity: a
feature that tells Teff, log g and [Fe/H] only can tell them apart on a whole sample.  With y the
label in question, u the other labels, z the features, and every regression fitted on training
stars and judged on held-out ones:

* **residualized labels.**  e = y - E[y | u].  Partial R^2 = 1 - sum (y - f(u, z))^2 / sum e^2 is
  what z adds to u, and 0 if y and z are independent given u.  Of one latent alone, the correlation
  of e with z_k - E[z_k | u] is 0 then (the generalised covariance measure: Shah & Peters 2020,
  Annals of Statistics 48, 1514).
* **matched stars.**  Each star of one class is paired with the nearest of the other class in u and
  in its propensity, the probability of its class given u (Rosenbaum & Rubin 1983, Biometrika 70,
  41), within calipers, each star at most once.  A score that only knows u is right in half of the
  pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from xpscale.extras import naming_extras

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["CALIPERS", "FIXED", "matched_pairs", "partial_r2", "predicted_by", "right_pairs"]

CALIPERS = {"teff": 75.0, "logg": 0.15, "fe_h": 0.07}
"""Half widths of "the same" in K and dex: about the errors of good spectroscopy."""

FIXED = tuple(CALIPERS)
PROPENSITY_CALIPER = 0.05
N_CANDIDATES = 20


def predicted_by(
    features: NDArray[np.floating],
    values: NDArray[np.float64],
    others: NDArray[np.floating],
    seed: int = 0,
) -> NDArray[np.float64]:
    """E[values | features] of other stars by boosted trees, with shape (M,).

    Parameters
    ----------
    features, values
        Of training stars, with shapes (N, F) and (N,).
    others
        Features of the other stars, with shape (M, F).
    seed
        Of the trees.
    """
    with naming_extras():
        from sklearn.ensemble import HistGradientBoostingRegressor
    trees = HistGradientBoostingRegressor(
        max_iter=200, learning_rate=0.06, max_leaf_nodes=16, random_state=seed
    )
    return np.asarray(trees.fit(features, values).predict(others))


def partial_r2(
    true: NDArray[np.float64], by_labels: NDArray[np.float64], by_both: NDArray[np.float64]
) -> float:
    """What features add to labels: 1 - sum (y - f(u, z))^2 / sum (y - f(u))^2.

    Parameters
    ----------
    true, by_labels, by_both
        y, f(u) and f(u, z) of held-out stars, with shape (N,).
    """
    return float(1 - ((true - by_both) ** 2).sum() / ((true - by_labels) ** 2).sum())


def matched_pairs(
    labels: Mapping[str, NDArray[np.float64]],
    propensity: NDArray[np.float64],
    is_one: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of stars of one class and of their partners of the other, with shape (pairs,) each.

    Parameters
    ----------
    labels
        At least those of `CALIPERS`, with shape (N,).
    propensity
        The probability of the one class as the labels say it, with shape (N,).
    is_one
        Which stars are of the one class, with shape (N,).
    """
    scaled = np.column_stack(
        [
            propensity / PROPENSITY_CALIPER,
            *(labels[name] / width for name, width in CALIPERS.items()),
        ]
    )
    ones, others = np.flatnonzero(is_one), np.flatnonzero(~is_one)
    nothing = np.zeros(0, np.int64)
    if not len(ones) or not len(others):
        return nothing, nothing
    n_candidates = min(N_CANDIDATES, len(others))
    distance, partner = KDTree(scaled[others]).query(scaled[ones], n_candidates, p=np.inf)
    distance, partner = distance.reshape(len(ones), -1), partner.reshape(len(ones), -1)
    pairs, taken = [], set[int]()
    for flat in np.argsort(distance, axis=None, kind="stable").tolist():  # the closest first
        i, candidate = divmod(flat, n_candidates)
        j = int(partner[i, candidate])
        if distance[i, candidate] > 1:
            break
        if -i - 1 in taken or j in taken:
            continue
        taken |= {-i - 1, j}
        pairs.append((ones[i], others[j]))
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    return first, second


def right_pairs(
    score: NDArray[np.float64], pairs: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Whether the star of the one class has the higher score, a tie counts half, with shape
    (pairs,).

    Parameters
    ----------
    score
        Of every star, with shape (N,).
    pairs
        From `matched_pairs`.
    """
    ones, others = (score[rows] for rows in pairs)
    return np.asarray((ones > others) + 0.5 * (ones == others))
