"""Do features of spectra tell high-alpha from low-alpha giants?  A random forest's answer on stars
it was not trained on.

The sample and the line are those of a spectroscopist: giants with 0 < logg < 3.5, Teff < 5200 K and
[Fe/H] > -1.2 are high-alpha where

    [alpha/M] > 0.12 - 0.11 min([Fe/H], 0)

and the score is Matthews' correlation coefficient (1975, BBA 405, 442), 0 for any guess that
ignores the features:

    MCC = (TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xpscale.errors import PermanentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["alpha_mcc", "is_alpha_giant", "is_high_alpha", "mcc", "principal_components"]

N_TREES, MIN_LEAF = 200, 3

Labels = dict[str, "NDArray[np.float64]"]


def is_alpha_giant(labels: Labels) -> NDArray[np.bool_]:
    """Giants to be told apart, with shape (N,); ``labels`` are teff in K, logg, fe_h and alpha_m in
    dex, NaN if unknown.
    """
    logg, teff, fe_h = labels["logg"], labels["teff"], labels["fe_h"]
    known = np.isfinite(labels["alpha_m"])
    return np.asarray((logg > 0) & (logg < 3.5) & (teff < 5200) & (fe_h > -1.2) & known)


def is_high_alpha(labels: Labels) -> NDArray[np.bool_]:
    """Which side of the line they are on, with shape (N,)."""
    return np.asarray(labels["alpha_m"] > 0.12 - 0.11 * np.minimum(labels["fe_h"], 0))


def mcc(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Matthews' correlation coefficient of a guess; 0 where it is not defined."""
    tp, tn = float((predicted & true).sum()), float((~predicted & ~true).sum())
    fp, fn = float((predicted & ~true).sum()), float((~predicted & true).sum())
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / float(np.sqrt(product)) if product else 0.0


def alpha_mcc(
    features: NDArray[np.floating],
    labels: Labels,
    held_out_features: NDArray[np.floating],
    held_out_labels: Labels,
    seed: int = 0,
) -> float:
    """MCC on held-out giants of a random forest (200 trees, 3 stars a leaf or more) trained on the
    others.

    Parameters
    ----------
    features, held_out_features
        With shapes (N, F) and (M, F).
    labels, held_out_labels
        As `is_alpha_giant` takes them.
    seed
        Of the forest.

    Raises
    ------
    PermanentError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError as error:
        raise PermanentError(
            "scikit-learn is not installed", "Install it with: pip install 'xpscale[evaluate]'"
        ) from error
    ours, theirs = is_alpha_giant(labels), is_alpha_giant(held_out_labels)
    forest = RandomForestClassifier(N_TREES, min_samples_leaf=MIN_LEAF, random_state=seed)
    forest.fit(features[ours], is_high_alpha(labels)[ours])
    return mcc(
        np.asarray(forest.predict(held_out_features[theirs]), bool),
        is_high_alpha(held_out_labels)[theirs],
    )


def principal_components(
    features: NDArray[np.floating], others: NDArray[np.floating], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first n principal components of features (N, F), and the same directions of others (M,
    F).
    """
    values = np.asarray(features, np.float64)
    center = values.mean(0)
    _, directions = np.linalg.eigh(np.cov(values, rowvar=False))
    leading = directions[:, ::-1][:, :n]
    return (values - center) @ leading, (np.asarray(others, np.float64) - center) @ leading
