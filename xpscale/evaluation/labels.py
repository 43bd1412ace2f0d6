"""How well features of spectra distinguish high-alpha from low-alpha giants: the score of a random
forest on stars that it was not trained on.

Giants with 0 < logg < 3.5, Teff < 5200 K and [Fe/H] > -1.2 are high-alpha where

    [alpha/M] > 0.12 - 0.11 min([Fe/H], 0)

and the score is Matthews' correlation coefficient (1975, BBA 405, 442), 0 for any guess that
ignores the features:

    MCC = (TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xpscale.extras import naming_extras

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "classes_by_forest",
    "is_alpha_giant",
    "is_high_alpha",
    "mcc",
    "principal_components",
]

N_TREES, MIN_LEAF = 200, 3

Labels = dict[str, "NDArray[np.float64]"]


def is_alpha_giant(labels: Labels) -> NDArray[np.bool_]:
    """The giants that are classified, with shape (N,).

    Parameters
    ----------
    labels
        ``teff`` in K, ``logg``, ``fe_h`` and ``alpha_m`` in dex, with shape (N,); NaN if unknown.
    """
    logg, teff, fe_h = labels["logg"], labels["teff"], labels["fe_h"]
    known = np.isfinite(labels["alpha_m"])
    return np.asarray((logg > 0) & (logg < 3.5) & (teff < 5200) & (fe_h > -1.2) & known)


def is_high_alpha(labels: Labels) -> NDArray[np.bool_]:
    """Which stars are high-alpha, with shape (N,)."""
    return np.asarray(labels["alpha_m"] > 0.12 - 0.11 * np.minimum(labels["fe_h"], 0))


def mcc(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Matthews' correlation coefficient of a guess; 0 where it is not defined.

    Parameters
    ----------
    predicted, true
        The guess and the truth, with shape (N,).
    """
    tp, tn = float((predicted & true).sum()), float((~predicted & ~true).sum())
    fp, fn = float((predicted & ~true).sum()), float((~predicted & true).sum())
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / float(np.sqrt(product)) if product else 0.0


def classes_by_forest(
    features: NDArray[np.floating],
    is_one: NDArray[np.bool_],
    others: NDArray[np.floating],
    seed: int = 0,
) -> NDArray[np.float64]:
    """The share of a random forest's votes for the one of two classes, with shape (M,).

    Parameters
    ----------
    features, is_one
        Of the stars that it is trained on, with shapes (N, F) and (N,).
    others
        Features of the others, with shape (M, F).
    seed
        Seed of the forest.

    Raises
    ------
    PermanentError
        If scikit-learn is not installed.
    """
    with naming_extras():
        from sklearn.ensemble import RandomForestClassifier
    forest = RandomForestClassifier(N_TREES, min_samples_leaf=MIN_LEAF, random_state=seed)
    return np.asarray(forest.fit(features, is_one).predict_proba(others)[:, 1])


def principal_components(
    features: NDArray[np.floating], others: NDArray[np.floating], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Projections on the first n principal components, with shapes (N, n) and (M, n).

    Parameters
    ----------
    features
        What the components are computed from, with shape (N, F).
    others
        Further rows to project, with shape (M, F).
    n
        Number of components.
    """
    values = np.asarray(features, np.float64)
    center = values.mean(0)
    _, directions = np.linalg.eigh(np.cov(values, rowvar=False))
    leading = directions[:, ::-1][:, :n]
    return (values - center) @ leading, (np.asarray(others, np.float64) - center) @ leading
