r"""How well a model fits held-out spectra, as sums over pieces of the sky: any number of stars in
the same memory.

With the letters of `xpscale.evaluation.reconstruction`, of each seen element::

    chi_0 = (x - x_hat) / sigma                       at the posterior mean, errors alone
    chi   = (x - x_hat) / sqrt(sigma^2 + s^2)         at the posterior mean, with scatter
    r     = (x - x_hat) / sqrt(sigma^2 + s^2)         at one draw of z: N(0, 1) if all is right
    u     = Phi(r)                                    evenly from 0 to 1 (PIT: Dawid 1984, JRSS A
                                                      147, 278)

and of each spectrum the two terms of the loss.  Sums of chi_0^2, chi^2, r, r^2 and of |r| < q are
kept by magnitude, colour, density of training objects, and coefficient.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import norm

from xpscale.evaluation.bootstrap import N_GROUPS, Estimate, of_ratio
from xpscale.evaluation.reconstruction import standardized

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from xpscale.evaluation.judged_stars import Stars
    from xpscale.model.checkpoint import TrainedModel

__all__ = ["BINS", "COEFFICIENT", "COVERAGES", "PIT_BINS", "FitSums", "bin_name", "density_of"]

BINS: dict[str, tuple[float, ...]] = {
    "G [mag]": (-np.inf, 10, 11, 12, 13, 14, 15, 16, 17, np.inf),
    "BP − RP [mag]": (-np.inf, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, np.inf),
    "training objects near [log10]": (-np.inf, 0.5, 1, 1.5, 2, 2.5, 3, np.inf),
}
"""Edges of the bins that fits are judged in."""

COVERAGES = (0.5, 0.6827, 0.9, 0.9545, 0.99)
"""Central shares of a normal distribution whose coverage is counted."""

PIT_BINS = 20
KINDS = ("n", "chi0", "chi", "r", "r2", *(f"within {share:g}" for share in COVERAGES))
QUANTILES = norm.ppf((1 + np.array(COVERAGES)) / 2)
COEFFICIENT = "coefficient"
SPECTRUM_TERMS = 3  # rows, nll, kl; then the divergence of each latent


def bin_name(quantity: str, edges: Sequence[float], number: int) -> str:
    """``G [mag] 10 to 11``, or ``below 10`` at an open end.

    Parameters
    ----------
    quantity
        What is binned.
    edges
        Edges of the bins, with shape (M + 1,).
    number
        Which bin.
    """
    low, high = edges[number : number + 2]
    if np.isinf(low):
        return f"{quantity} below {high:g}"
    return f"{quantity} above {low:g}" if np.isinf(high) else f"{quantity} {low:g} to {high:g}"


def density_of(model: TrainedModel, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """log10 of the number of training objects in the cell of the two leading coefficients, with
    shape (N,).

    Parameters
    ----------
    model
        The model, which counted them.
    x
        Standardized spectra, with shape (N, C).
    """
    from xpscale.model.density import CELL_AREA

    count = model.density.at(x) * model.density.n_rows * CELL_AREA
    return np.asarray(np.log10(np.maximum(np.nan_to_num(count), 0.1)), np.float64)


@dataclass(eq=False)
class FitSums:
    """The sums of one model.

    Parameters
    ----------
    model
        The model.
    by
        Of each kind of bins: sums of `KINDS` with shape (P, bins, kinds).
    pit
        Counts of u in 20 bins, with shape (P, 20).
    spectra
        Rows, nll, kl and the divergence of each latent, with shape (P, 3 + L).
    map
        n and sums of r^2 by magnitude and coefficient, with shape (2, bins, C).
    """

    model: TrainedModel
    by: dict[str, NDArray[np.float64]] = field(init=False)
    pit: NDArray[np.float64] = field(init=False)
    spectra: NDArray[np.float64] = field(init=False)
    map: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        n_bins = {name: len(edges) - 1 for name, edges in BINS.items()}
        n_bins[COEFFICIENT] = self.model.n_coefficients
        self.by = {name: np.zeros((N_GROUPS, n, len(KINDS))) for name, n in n_bins.items()}
        self.pit = np.zeros((N_GROUPS, PIT_BINS))
        self.spectra = np.zeros((N_GROUPS, SPECTRUM_TERMS + self.model.n_latents))
        self.map = np.zeros((2, n_bins["G [mag]"], self.model.n_coefficients))

    def add(self, stars: Stars, seed: int) -> None:
        """Take some stars in.

        Parameters
        ----------
        stars
            Held-out stars.
        seed
            Of the draws of z.
        """
        x, x_err = standardized(self.model, stars.batch)
        data, network = (torch.from_numpy(x), torch.from_numpy(x_err)), self.model.network
        with torch.inference_mode():
            posterior = network.encode(*data)
            at_mean = network.decode(posterior.mean)
            drawn = network.decode(posterior.sample(torch.Generator().manual_seed(seed)))
            each = (drawn.nll(*data), posterior.kl())
            per_latent = posterior.kl_per_latent()
        seen = np.isfinite(x_err)
        residual = np.where(seen, x - at_mean.mean.numpy(), 0).astype(np.float64)
        r = np.where(seen, x - drawn.mean.numpy(), 0) / np.hypot(x_err, drawn.scatter.numpy())
        chi = residual / np.hypot(x_err, at_mean.scatter.numpy())
        terms = [seen, (residual / x_err) ** 2, chi**2, r, r**2]
        terms += [seen & (np.abs(r) < quantile) for quantile in QUANTILES]
        self._add(stars, density_of(self.model, x), np.stack(terms, -1).astype(np.float64))
        bins = np.minimum(norm.cdf(r) * PIT_BINS, PIT_BINS - 1).astype(np.int64)
        rows = np.broadcast_to(stars.group[:, None], r.shape)
        np.add.at(self.pit, (rows[seen], bins[seen]), 1)
        spectra = np.column_stack(
            [np.ones(len(stars)), *(part.double().numpy() for part in each), per_latent.numpy()]
        )
        np.add.at(self.spectra, stars.group, spectra)

    def _add(self, stars: Stars, density: NDArray[np.float64], terms: NDArray[np.float64]) -> None:
        """Add the terms of each element, with shape (N, C, kinds), to all bins."""
        of_star = terms.sum(1)
        for (name, edges), values in zip(
            BINS.items(), (stars.magnitude, stars.colour, density), strict=True
        ):
            known = np.isfinite(values)
            number = np.digitize(values[known], edges[1:-1])
            np.add.at(self.by[name], (stars.group[known], number), of_star[known])
            if name == "G [mag]":
                for kind, column in enumerate((0, KINDS.index("r2"))):
                    np.add.at(self.map[kind], number, terms[known][:, :, column])
        np.add.at(self.by[COEFFICIENT], stars.group, terms)

    @property
    def n_rows(self) -> int:
        """Stars taken in."""
        return int(self.spectra[:, 0].sum())

    def mean(self, kind: str, by: str = "", seed: int = 0) -> Estimate:
        """The mean of a kind of term over elements, with shape (bins,) or ().

        Parameters
        ----------
        kind
            One of ``chi0``, ``chi``, ``r``, ``r2``, ``within 0.5`` ...: the first two and ``r2``
            are means of squares.
        by
            Kind of bins, ``coefficient`` or one of `BINS`; over all elements if not given.
        seed
            Of the bootstrap.
        """
        sums = self.by[by or COEFFICIENT]
        if not by:
            sums = sums.sum(1)
        return of_ratio(sums[..., KINDS.index(kind)], sums[..., 0], seed)

    def per_spectrum(self, seed: int = 0) -> dict[str, Estimate]:
        """``loss``, ``nll`` and ``kl`` in nats a spectrum, without C/2 ln(2 pi), and ``kl_latents``
        with shape (L,).

        Parameters
        ----------
        seed
            Of the bootstrap.
        """
        n, nll, kl = self.spectra[:, :SPECTRUM_TERMS].T
        terms = {"loss": nll + kl, "nll": nll, "kl": kl}
        found = {name: of_ratio(values, n, seed) for name, values in terms.items()}
        latents = of_ratio(self.spectra[:, SPECTRUM_TERMS:], n[:, None], seed)
        return {**found, "kl_latents": latents}

    def pit_histogram(self, seed: int = 0) -> Estimate:
        """Density of u in 20 bins, 1 where all is right, with shape (20,).

        Parameters
        ----------
        seed
            Of the bootstrap.
        """
        return of_ratio(self.pit * PIT_BINS, self.pit.sum(1, keepdims=True), seed)

    def width_map(self) -> NDArray[np.float64]:
        """Sqrt of the mean of r^2 by magnitude and coefficient, with shape (bins, C); NaN for fewer
        than 30 elements.
        """
        n, squares = self.map
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(n >= 30, np.sqrt(squares / n), np.nan)
