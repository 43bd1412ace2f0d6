"""How like the training sample a spectrum is: one number, which speaks of the object and not of its
noise.

With the letters of `xpscale.model.scatter_vae`, sums over the elements that are measured::

    I   = 1/2 sum_j ln(1 + 1 / sigma_j^2)                       information in nats (Shannon 1948)
    a_0 = sum_k mu_k^2                                          distance from the prior's middle
    a_1 = sum_j v_j (r_j^2 - 1) / sqrt(2 sum_j v_j^2)           misfit
    a_2 = D - ln(n + 0.1)                                       emptiness of its place

where r_j^2 = (x_j - x_hat_j)^2 / (sigma_j^2 + s_j^2) is 1 on average, v_j = 1 / (1 + sigma_j^2 +
s_j^2) lets those elements count that can tell objects apart, n is the number of training objects in
the cell of the two leading coefficients and in the eight around it, and D the number of cells to
the nearest training object.  Each a grows with oddness.  With P_i(a | I) the fraction of training
objects of like information that have at least this a_i::

    a_3   = -ln P_0(a_0 | I) - ln P_1(a_1 | I) - ln P_2(a_2 | I)        (Fisher 1932)
    score = P_3(a_3 | I)

so ordinary objects have scores spread evenly from 0 to 1 whatever their signal-to-noise, and odd
ones near 0.  The P are quantiles in bins of I, of training objects as they are and with noise added
(`xpscale.training.typical`): the sample stands for fainter objects, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.model.kernels import information_rows, log_fractions, misfit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.model.density import TrainingDensity

__all__ = [
    "LEVELS",
    "Typicality",
    "in_distribution_score",
    "information",
    "oddness",
    "outside",
]

LEVELS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Fractions of the training objects that are at or above the quantiles."""

RARE = 0.001
"""Share of ordinary objects that `Typicality.is_rare` finds."""

MAX_BINS = 16
ROWS_PER_BIN = 1_000
N_KINDS = 4  # a_0 to a_3


def oddness(
    data: tuple[NDArray[np.float32], NDArray[np.float32]],
    latents: NDArray[np.float32],
    decoded: tuple[NDArray[np.float32], NDArray[np.float32]],
    density: TrainingDensity,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """I, with shape (N,), and a_0 to a_2, with shape (3, N); 0 where it cannot be told.

    Parameters
    ----------
    data
        Standardized coefficients and errors, with shape (N, C).
    latents
        Posterior means, with shape (N, L).
    decoded
        Reconstruction and scatter, with shape (N, C).
    density
        Where the training objects are.
    """
    misfit = np.empty(len(latents))
    misfit_rows(*data, *decoded, misfit)
    return information(*data), np.stack([distance(latents), misfit, density.emptiness(*data)])


def information(x: NDArray[np.float32], x_err: NDArray[np.float32]) -> NDArray[np.float64]:
    """I, with shape (N,).

    Parameters
    ----------
    x, x_err
        Standardized coefficients and errors, with shape (N, C).
    """
    found = np.empty(len(x))
    information_rows(x, x_err, found)
    return found


def distance(latents: NDArray[np.float32]) -> NDArray[np.float64]:
    """a_0 of posterior means with shape (N, L)."""
    return np.asarray(np.square(latents, dtype=np.float64).sum(1))


@dataclass(frozen=True, slots=True, eq=False)
class Typicality:
    """The quantiles of a training sample.

    Parameters
    ----------
    information
        Median I of each bin, ascending, float64, with shape (K,), K >= 2.
    quantiles
        a_0 to a_3 at `LEVELS` in each bin, float64, with shape (4, K, 16).

    Raises
    ------
    InvalidInputError
        If shapes do not fit each other.
    """

    information: NDArray[np.float64]
    quantiles: NDArray[np.float64]

    def __post_init__(self) -> None:
        wanted = (N_KINDS, len(self.information), len(LEVELS))
        if self.quantiles.shape != wanted or len(self.information) < 2:
            raise InvalidInputError(
                f"the quantiles of a training sample have the shape {wanted}, with at least two"
                f" bins, not {self.quantiles.shape}"
            )

    @staticmethod
    def fit(information: NDArray[np.float64], measures: NDArray[np.float64]) -> Typicality:
        """Count a training sample.

        Parameters
        ----------
        information, measures
            I and a_0 to a_2 of training spectra, from `oddness`.
        """
        n_bins = int(np.clip(len(information) // ROWS_PER_BIN, 2, MAX_BINS))
        bins = np.array_split(np.argsort(information, kind="stable"), n_bins)
        centres = np.array([np.median(information[rows]) for rows in bins])
        centres += 1e-9 * np.arange(n_bins)  # apart, even if all are alike
        quantiles = np.zeros((N_KINDS, n_bins, len(LEVELS)))

        def count(kind: int, values: NDArray[np.float64]) -> None:
            for number, rows in enumerate(bins):
                quantiles[kind, number] = np.nanquantile(values[rows], 1 - np.array(LEVELS))

        for kind, values in enumerate(measures):
            count(kind, values)
        count(N_KINDS - 1, Typicality(centres, quantiles)._together(information, measures))
        return Typicality(centres, quantiles)

    def tensors(self) -> dict[str, NDArray[np.float64]]:
        """All of it, by the names that it has in the model's file."""
        return {
            "typicality.information": self.information,
            "typicality.quantiles": self.quantiles,
        }

    @staticmethod
    def from_tensors(tensors: Mapping[str, NDArray[Any]]) -> Typicality | None:
        """The one in a model's file, if there is one."""
        if "typicality.information" not in tensors:
            return None
        return Typicality(tensors["typicality.information"], tensors["typicality.quantiles"])

    def score(
        self, information: NDArray[np.float64], measures: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Fraction of the training objects of like information that are at least as odd, (N,); NaN
        where nothing is measured.

        Parameters
        ----------
        information, measures
            I and a_0 to a_2, from `oddness`.
        """
        together = self._together(information, measures)
        return np.exp(self._log_fraction(N_KINDS - 1, together, information)).astype(np.float32)

    def is_rare(
        self, information: NDArray[np.float64], latents: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Whether at most 0.1 % of the training objects of like information lie as far out in the
        space of latents, with shape (N,).

        Parameters
        ----------
        information
            I, with shape (N,).
        latents
            Posterior means, with shape (N, L).
        """
        log_fraction = self._log_fraction(0, distance(latents), information)
        return np.asarray(log_fraction < np.log(RARE))

    def _together(
        self, information: NDArray[np.float64], measures: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """a_3, with shape (N,)."""
        logs = [self._log_fraction(k, a, information) for k, a in enumerate(measures)]
        return np.asarray(-np.sum(logs, axis=0))

    def _log_fraction(
        self, kind: int, values: NDArray[np.float64], information: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        out = np.empty(len(values))
        levels: Any = np.log(LEVELS)
        log_fractions(values, information, self.information, self.quantiles[kind], levels, out)
        return out


def outside(
    density: TrainingDensity,
    typicality: Typicality | None,
    data: tuple[NDArray[np.float32], NDArray[np.float32] | None],
    latents: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Whether spectra are outside the training sample, with shape (N,): by a coefficient, or by
    their place in the plane of the leading coefficients or in the space of latents.

    Parameters
    ----------
    density, typicality
        Those of the model.
    data
        Standardized coefficients and errors, with shape (N, C); without errors nothing can be
        told.
    latents
        Posterior means, with shape (N, L).
    """
    x, x_err = data
    found = density.outside(x, x_err)
    if typicality is not None and x_err is not None:
        found |= typicality.is_rare(information(x, x_err), latents)
    return found


def in_distribution_score(
    density: TrainingDensity,
    typicality: Typicality | None,
    data: tuple[NDArray[np.float32], NDArray[np.float32] | None],
    latents: NDArray[np.float32],
    decoded: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """The score, with shape (N,); NaN if the model has no count of its training sample, or a
    spectrum no usable error.

    Parameters
    ----------
    density, typicality
        Those of the model.
    data
        Standardized coefficients and errors, with shape (N, C).
    latents
        Posterior means, with shape (N, L).
    decoded
        Reconstruction and scatter at these, standardized, with shape (N, C).
    """
    x, x_err = data
    if typicality is None or x_err is None:
        return np.full(len(x), np.nan, np.float32)
    return typicality.score(*oddness((x, x_err), latents, decoded, density))
