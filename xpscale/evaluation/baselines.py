r"""Other models of the same spectra, trained on the same stars: what a scatter VAE has to be better
than.

Every one is a Gaussian of the standardized spectrum x with measurement errors sigma and a scatter
s_j of each coefficient, found by maximum likelihood::

    linear             x = m + W t + ...,   t ~ N(0, 1):        x ~ N(m, W W^T + D)
    by labels          x = f(u) + ...,      u the labels:       x ~ N(f(u), D)

with D = diag(sigma^2 + s^2), W of rank L found by expectation maximisation from the principal
components on (factor analysis: Rubin & Thayer 1982, Psychometrika 47, 69, with the errors of each
star): the best that any linear latents can do; and f either all products of up to two labels (the
Cannon: Ness et al. 2015, ApJ 808, 16) or a network of two layers of 64 (as the Payne: Ting et al.
2019, ApJ 879, 69).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.extras import naming_extras

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Fit", "LabelModel", "LinearModel", "label_matrix", "scatter_of"]

N_STEPS = 40
N_EM_STEPS, MAX_STARS = 25, 6_000
FARTHEST = 10.0  # standard deviations at which spectra are cut for training networks


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What a model says of N standardized spectra.

    Parameters
    ----------
    mean, scatter
        x_hat and s, with shapes (N, C) and (N, C) or (C,).
    nll
        -ln p(x) in nats with all constants, with shape (N,); a bound from above where it is not
        known exactly.
    """

    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]
    nll: NDArray[np.float64]


def scatter_of(squares: NDArray[np.float64], x_err: NDArray[np.float64]) -> NDArray[np.float64]:
    """The s_j that make residuals likeliest, with shape (C,): the root of

    ::

        sum_n w_nj (r_nj^2 w_nj - 1) = 0,     w = 1 / (sigma^2 + s^2),

    found by bisection; 0 where errors alone are too large already.

    Parameters
    ----------
    squares, x_err
        r^2, or its expectation, and sigma, with shape (N, C).
    """
    variance = x_err**2
    low, high = np.zeros(squares.shape[1]), squares.max(0)
    for _ in range(N_STEPS):
        middle = (low + high) / 2
        weight = 1 / (variance + middle)
        rises = (weight * (squares * weight - 1)).sum(0) > 0
        low, high = np.where(rises, middle, low), np.where(rises, high, middle)
    return np.asarray(np.sqrt(low))


@dataclass(frozen=True, slots=True, eq=False)
class LinearModel:
    """Linear latents with scatter.

    Parameters
    ----------
    mean
        m, with shape (C,).
    directions
        W, with shape (C, L).
    scatter
        s, with shape (C,).
    """

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @staticmethod
    def train(x: NDArray[Any], x_err: NDArray[Any], n_latents: int) -> LinearModel:
        """Fit it.

        Parameters
        ----------
        x, x_err
            Standardized spectra and errors of the training stars, with shape (N, C).
        n_latents
            L.
        """
        values, errors = (np.asarray(one[:MAX_STARS], np.float64) for one in (x, x_err))
        mean = values.mean(0)
        variances, vectors = np.linalg.eigh(np.cov(values, rowvar=False))
        leading = (vectors * np.sqrt(variances.clip(0)))[:, ::-1][:, :n_latents]
        model = LinearModel(mean, leading, np.full(len(mean), 0.1))
        for _ in range(N_EM_STEPS):
            model = model._better(values, errors)
        return model

    def _better(self, x: NDArray[np.float64], x_err: NDArray[np.float64]) -> LinearModel:
        """One step of expectation maximisation: the weighted least squares of each coefficient on
        the scores t, whose own covariance S_n counts.
        """
        n_latents = self.directions.shape[1]
        weight = 1 / (x_err**2 + self.scatter**2)
        t, _, precision = self._posterior(x, x_err)
        covariance = np.linalg.inv(precision)
        second = t[:, :, None] * t[:, None, :] + covariance
        left = (weight.T @ second.reshape(len(x), -1)).reshape(-1, n_latents, n_latents)
        right = (weight * (x - self.mean)).T @ t
        directions = np.asarray(np.linalg.solve(left, right[..., None])[..., 0], np.float64)
        fitted = t @ directions.T
        mean = (weight * (x - fitted)).sum(0) / weight.sum(0)
        products = (directions[:, :, None] * directions[:, None, :]).reshape(len(directions), -1)
        unknown = covariance.reshape(len(x), -1) @ products.T  # else scatter would fall to 0
        return LinearModel(
            np.asarray(mean), directions, scatter_of((x - mean - fitted) ** 2 + unknown, x_err)
        )

    def _posterior(
        self, x: NDArray[np.float64], x_err: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """E[t | x] (N, L), x_hat (N, C), and the precision of t (N, L, L)."""
        n_latents = self.directions.shape[1]
        weight = 1 / (x_err**2 + self.scatter**2)
        products = (self.directions[:, :, None] * self.directions[:, None, :]).reshape(
            len(weight.T), -1
        )
        precision = (weight @ products).reshape(-1, n_latents, n_latents) + np.eye(n_latents)
        right = (weight * (x - self.mean)) @ self.directions
        t = np.asarray(np.linalg.solve(precision, right[..., None])[..., 0], np.float64)
        return t, np.asarray(self.mean + t @ self.directions.T), np.asarray(precision)

    def fit_of(
        self, x: NDArray[Any], x_err: NDArray[Any], labels: Mapping[str, NDArray[np.float64]]
    ) -> Fit:
        """What it says of spectra, with the exact likelihood; labels do not count.

        Parameters
        ----------
        x, x_err
            Standardized spectra and errors, with shape (N, C).
        labels
            With shape (N,), by name.
        """
        t, fitted, precision = self._posterior(x, x_err)
        log_det = np.linalg.slogdet(precision)[1]
        # Woodbury's identity: r^T V^-1 r = |x - x_hat|^2 / D + |t|^2 at the posterior mean
        nll = _gaussian_nll(x - fitted, np.hypot(x_err, self.scatter))
        return Fit(fitted, self.scatter, nll + ((t**2).sum(1) + log_det) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class LabelModel:
    """Spectra from labels.

    Parameters
    ----------
    regressor
        From labels to spectra, of scikit-learn.
    scatter
        s, with shape (C,).
    """

    regressor: Any
    scatter: NDArray[np.float64]

    @staticmethod
    def train(
        kind: str,
        x: NDArray[Any],
        x_err: NDArray[Any],
        labels: Mapping[str, NDArray[np.float64]],
        seed: int = 0,
    ) -> LabelModel:
        """Fit it.

        Parameters
        ----------
        kind
            ``quadratic`` or ``network``.
        x, x_err
            Standardized spectra and errors of the training stars, with shape (N, C).
        labels
            With shape (N,), by name.
        seed
            Of the network.
        """
        with naming_extras():
            from sklearn.linear_model import LinearRegression
            from sklearn.neural_network import MLPRegressor
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import PolynomialFeatures, StandardScaler
        if kind == "quadratic":
            model = make_pipeline(StandardScaler(), PolynomialFeatures(2), LinearRegression())
        else:
            network = MLPRegressor(
                hidden_layer_sizes=(64, 64),
                early_stopping=True,
                max_iter=200,
                random_state=seed,
                tol=1e-5,
            )
            model = make_pipeline(StandardScaler(), network)
        values, features = np.asarray(x, np.float64), label_matrix(labels)
        model.fit(features, values.clip(-FARTHEST, FARTHEST))
        residual = values - model.predict(features)
        return LabelModel(model, scatter_of(residual**2, np.asarray(x_err, np.float64)))

    def fit_of(
        self, x: NDArray[Any], x_err: NDArray[Any], labels: Mapping[str, NDArray[np.float64]]
    ) -> Fit:
        """What it says of spectra, given their labels.

        Parameters
        ----------
        x, x_err
            Standardized spectra and errors, with shape (N, C).
        labels
            With shape (N,), by name.
        """
        mean = self.regressor.predict(label_matrix(labels))
        return Fit(mean, self.scatter, _gaussian_nll(x - mean, np.hypot(x_err, self.scatter)))


def label_matrix(labels: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Labels as columns, with shape (N, labels)."""
    return np.column_stack(list(labels.values()))


def _gaussian_nll(residual: NDArray[np.float64], width: NDArray[np.float64]) -> NDArray[np.float64]:
    """-ln N(residual; 0, width^2) summed over coefficients, with shape (N,)."""
    return np.asarray(((residual / width) ** 2 + np.log(2 * np.pi * width**2)).sum(1) / 2)
