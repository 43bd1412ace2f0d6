"""A label as a smooth function of the latents, with an error of its own for every star.

With u the latents of a star in units of the labelled stars' spread, S the covariance of its
posterior in the same units, and e the error of a known label y (both standardized), the model is

    y = f(u) + n,      f ~ GP(0, k),      n ~ N(0, e^2 + g^T S g + exp(q(u) . w))

    k(u, u') = a exp(-1/2 sum_l (u_l - u'_l)^2 / r_l^2) + b (1 + u . u')

a Gaussian process (Rasmussen & Williams 2006, Gaussian Processes for Machine Learning).  g is the
gradient of f: what is not known of the latents is not known of the label (McHutchon & Rasmussen
2011, NIPS 24).  The last term is what neither explains, with q the monomials of u up to the second
degree (Harvey 1976, Econometrica 44, 461).

a, b and r are those of highest marginal likelihood on some hundred stars.  All N labelled stars
then enter through M of them, the inducing ones (the projected process; Quinonero-Candela &
Rasmussen 2005, JMLR 6, 1939): with K the kernel among the M, k_n that of star n with them, and v_n
the variance of n,

    A = K + sum_n k_n k_n^T / v_n             w = A^-1 sum_n k_n y_n / v_n
    f(u) = k(u) . w                           variance of f = k(u, u) - k(u) (K^-1 - A^-1) k(u)^T

so that the variance grows to that of the prior where no labelled star is near.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xpscale.extras import naming_extras

__all__ = ["Kernel", "Regression", "fit_regression"]

N_HYPER, N_INDUCING = 500, 400
JITTER = 1e-6
ROUNDS = 2
SMALLEST = 1e-9
"""Directions of R that tell less than this, against the most telling one, are left out."""

RIDGE = 1.0
"""Weight of the squares of the coefficients of the variance, except the constant's."""

FEW = 300
"""With fewer labelled stars the variance is taken as linear in u."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """k of the module.

    Parameters
    ----------
    a, b
        Variances of the smooth and of the linear part.
    r
        Lengths, with shape (L,).
    """

    a: float
    b: float
    r: NDArray[np.float64]

    def between(self, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
        """The kernel of every pair, with shape (N, M).

        Parameters
        ----------
        u, v
            With shapes (N, L) and (M, L).
        """
        return self._smooth(u, v) + self.b * (1 + u @ v.T)

    def _smooth(self, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = u / self.r, v / self.r
        apart = (x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * x @ y.T
        return np.asarray(self.a * np.exp(-np.maximum(apart, 0) / 2))

    def of_itself(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """k(u, u), with shape (N,)."""
        return np.asarray(self.a + self.b * (1 + (u * u).sum(1)))

    def gradient(
        self, u: NDArray[np.float64], v: NDArray[np.float64], w: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Gradient of ``k(u, v) @ w`` in u, with shape (N, L).

        Parameters
        ----------
        u, v
            With shapes (N, L) and (M, L).
        w
            With shape (M,).
        """
        weighted = self._smooth(u, v) * w  # (N, M)
        pulled = weighted @ v - weighted.sum(1, keepdims=True) * u
        return np.asarray(pulled / self.r**2 + self.b * (w @ v))


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """A fitted label.

    Parameters
    ----------
    kernel
        The prior's.
    inducing
        Latents of the inducing stars, with shape (M, L).
    weights
        w, with shape (M,).
    root_told
        R of rank P, with R R^T = K^-1 - A^-1: what the labelled stars tell; with shape (M, P).
    variance_weights
        Of the monomials of u, with shape (1 + L,) or (1 + L + L (L + 1) / 2,).
    center, spread
        Mean and standard deviation of the known labels, in the label's unit.
    """

    kernel: Kernel
    inducing: NDArray[np.float64]
    weights: NDArray[np.float64]
    root_told: NDArray[np.float64]
    variance_weights: NDArray[np.float64]
    center: float
    spread: float

    def predict(
        self, u: NDArray[np.float64], covariance: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The label, its error, and how little the labelled stars tell here.

        Parameters
        ----------
        u
            Latents, in units of the labelled stars' spread, with shape (N, L).
        covariance
            Of their posterior, in the same units, with shape (N, L, L).

        Returns
        -------
        tuple of ndarray
            Label and error in the label's unit, and the variance of f over that of the prior amid
            the labelled stars (about 1 where none is near), each with shape (N,).
        """
        near = self.kernel.between(u, self.inducing)
        gradient = self.kernel.gradient(u, self.inducing, self.weights)
        prior = self.kernel.of_itself(u)
        of_mean = np.maximum(prior - ((near @ self.root_told) ** 2).sum(1), 0)
        of_latents = np.einsum("ni,nij,nj->n", gradient, covariance, gradient)
        variance = of_mean + of_latents + self.unexplained(u)
        value = self.center + self.spread * (near @ self.weights)
        return value, self.spread * np.sqrt(variance), of_mean / (self.kernel.a + self.kernel.b)

    def unexplained(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """exp(q(u) . w), with shape (N,)."""
        monomials = _monomials(u)[:, : len(self.variance_weights)]
        return np.asarray(np.exp(np.clip(monomials @ self.variance_weights, -20, 5)))


def fit_regression(
    u: NDArray[np.float64],
    covariance: NDArray[np.float64],
    label: NDArray[np.float64],
    error: NDArray[np.float64],
    kernel: Kernel | None = None,
) -> Regression:
    """Fit one label.

    Parameters
    ----------
    u, covariance
        As of `Regression.predict`, of N stars.
    label, error
        Known labels and their errors, with shape (N,); errors may be 0.
    kernel
        That of a fit to most of these stars; it is found if not given.

    Raises
    ------
    PermanentError
        If scikit-learn is not installed.
    """
    rng = np.random.default_rng(0)
    center, spread = float(label.mean()), float(label.std())
    y, known = (label - center) / spread, (error / spread) ** 2
    if kernel is None:
        kernel = _find_kernel(u, y, known, rng)
    inducing = u[rng.permutation(len(u))[:N_INDUCING]]
    n_weights = 1 + u.shape[1] if len(u) < FEW else _monomials(u[:1]).shape[1]
    start = np.zeros(n_weights)
    start[0] = np.log(0.1)
    weights, root_told = np.zeros(len(inducing)), np.zeros((len(inducing), 1))
    found = Regression(kernel, inducing, weights, root_told, start, center, spread)
    near = kernel.between(u, inducing)
    for _ in range(ROUNDS):
        gradient = kernel.gradient(u, inducing, found.weights)
        given = known + np.einsum("ni,nij,nj->n", gradient, covariance, gradient)
        variance = given + found.unexplained(u)
        found, leverage = _solved(found, near, y, variance)
        residual = (y - near @ found.weights) / np.maximum(1 - leverage, 0.1)
        variance_weights = _fit_variance(_monomials(u)[:, :n_weights], residual, given)
        found = replace(found, variance_weights=variance_weights)
    return found


def _solved(
    found: Regression,
    near: NDArray[np.float64],
    y: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> tuple[Regression, NDArray[np.float64]]:
    """W and R for given variances; and how far each label pulled f towards itself, with shape (N,),
    the leverage of linear smoothers (Hastie & Tibshirani 1990, section 3.5).
    """
    from scipy.linalg import cho_factor, cho_solve, eigh, solve_triangular

    kernel = found.kernel
    among = kernel.between(found.inducing, found.inducing)
    among[np.diag_indices_from(among)] += JITTER * (kernel.a + kernel.b)
    factor = cho_factor(among + near.T @ (near / variance[:, None]), lower=True)
    weights = cho_solve(factor, near.T @ (y / variance))
    leverage = (solve_triangular(factor[0], near.T, lower=True) ** 2).sum(0) / variance
    identity = np.eye(len(among))
    told = cho_solve(cho_factor(among, lower=True), identity) - cho_solve(factor, identity)
    values, directions = eigh(told)
    kept = values > values[-1] * SMALLEST
    return replace(
        found, weights=weights, root_told=directions[:, kept] * np.sqrt(values[kept])
    ), leverage


def _find_kernel(
    u: NDArray[np.float64],
    y: NDArray[np.float64],
    known: NDArray[np.float64],
    rng: np.random.Generator,
) -> Kernel:
    """a, b and r of highest marginal likelihood on some of the stars."""
    with naming_extras():
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
    some = rng.permutation(len(u))[:N_HYPER]
    n_latents = u.shape[1]
    smooth = ConstantKernel(1.0, (1e-3, 1e3)) * RBF(np.full(n_latents, 2.0), (0.1, 100.0))
    linear = ConstantKernel(0.1, (1e-4, 1e2)) * DotProduct(1.0, "fixed")
    process = GaussianProcessRegressor(
        smooth + linear + WhiteKernel(0.1, (1e-5, 1e1)), alpha=known[some] + 1e-8
    )
    with warnings.catch_warnings():
        # a length at its bound is an answer: the label does not depend on that latent
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(u[some], y[some])
    (scale, shape), (slope, _) = (
        (part.k1, part.k2) for part in (process.kernel_.k1.k1, process.kernel_.k1.k2)
    )
    lengths = np.broadcast_to(np.asarray(shape.length_scale, float), n_latents).copy()
    return Kernel(float(scale.constant_value), float(slope.constant_value), lengths)


def _fit_variance(
    monomials: NDArray[np.float64], residual: NDArray[np.float64], given: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights of highest likelihood of residuals ~ N(0, given + exp(monomials @ weights))."""
    from scipy.optimize import minimize

    squares = residual**2
    penalty = np.full(monomials.shape[1], RIDGE)
    penalty[0] = 0

    def cost(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        own = np.exp(np.clip(monomials @ weights, -20, 5))
        total = given + own
        slope = monomials.T @ ((1 / total - squares / total**2) * own) / 2
        value = (np.log(total) + squares / total).sum() / 2 + (penalty * weights**2).sum() / 2
        return float(value), slope + penalty * weights

    start = np.zeros(monomials.shape[1])
    start[0] = np.log(max(np.median(squares), 1e-6))
    return np.asarray(minimize(cost, start, jac=True, method="L-BFGS-B").x)


def _monomials(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """1, u and the products of two of them, with shape (N, 1 + L + L (L + 1) / 2)."""
    i, j = np.triu_indices(u.shape[1])
    v = np.clip(u, -4, 4)
    return np.concatenate([np.ones((len(u), 1)), v, v[:, i] * v[:, j]], axis=1)
