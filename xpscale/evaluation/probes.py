"""What simple regressions read from features of spectra: labels of stars they were not trained on.

With d = predicted - true over held-out stars::

    MAE = mean |d|       RMSE = sqrt(mean d^2)       robust sigma = 1.4826 median |d - median d|
    bias = median d

Features are standardized, so are labels for the network; scikit-learn does the rest.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.extras import naming_extras

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["METHODS", "METRICS", "errors_of", "probe"]

METHODS = ("linear", "neighbours", "boosted trees", "network")
METRICS = ("MAE", "RMSE", "robust σ", "bias")
N_NEAREST = 15
TREES = {"max_iter": 150, "learning_rate": 0.1, "max_leaf_nodes": 31}
NETWORK = {"hidden_layer_sizes": (128, 64), "early_stopping": True, "max_iter": 80, "alpha": 1e-3}


def probe(
    method: str,
    features: NDArray[np.floating],
    labels: Mapping[str, NDArray[np.float64]],
    others: NDArray[np.floating],
    seed: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Labels that a regression predicts of other stars, with shape (M,), by name.

    Parameters
    ----------
    method
        One of `METHODS`.
    features
        Of the training stars, with shape (N, F).
    labels
        Theirs, with shape (N,), all known.
    others
        Features of the other stars, with shape (M, F).
    seed
        Of trees and network.

    Raises
    ------
    PermanentError
        If scikit-learn is not installed.
    """
    with naming_extras():
        from sklearn.exceptions import ConvergenceWarning
    true = np.column_stack(list(labels.values()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the steps are bounded on purpose
        model = _model(method, seed).fit(features, true)
    predicted = model.predict(others).reshape(len(others), -1)
    return {name: predicted[:, i] for i, name in enumerate(labels)}


def _model(method: str, seed: int) -> Any:
    with naming_extras():
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.linear_model import RidgeCV
        from sklearn.multioutput import MultiOutputRegressor
        from sklearn.neighbors import KNeighborsRegressor
        from sklearn.neural_network import MLPRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    if method == "boosted trees":  # scale-free
        return MultiOutputRegressor(HistGradientBoostingRegressor(**TREES, random_state=seed))
    regressor = {
        "linear": lambda: RidgeCV(np.logspace(-4, 4, 9)),
        "neighbours": lambda: KNeighborsRegressor(N_NEAREST, weights="distance"),
        "network": lambda: MLPRegressor(**NETWORK, random_state=seed),
    }[method]()
    return TransformedTargetRegressor(
        make_pipeline(StandardScaler(), regressor), transformer=StandardScaler()
    )


def errors_of(d: NDArray[np.float64]) -> NDArray[np.float64]:
    """`METRICS` of predicted minus true labels, with shape (4,).

    Parameters
    ----------
    d
        With shape (N,).
    """
    bias = np.median(d)
    robust = 1.4826 * np.median(np.abs(d - bias))
    return np.array([np.abs(d).mean(), np.sqrt((d**2).mean()), robust, bias])
