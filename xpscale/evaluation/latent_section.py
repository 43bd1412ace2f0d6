r"""The report on latents: how many are alive, how much they repeat each other, what each one tells.

How much a latent tells of a quantity is the share of the quantity's variance that a regression on
that latent alone explains on other stars, whatever the form of the relation::

    R^2 = 1 - sum (y - f(z_k))^2 / sum (y - mean)^2,     f: mean of the 50 nearest training stars

Two models whose latents differ by a rotation say the same.  With Z, Z' the centred posterior means
of the same stars, Q = U V^T of Z'^T Z = U S V^T turns one to the other best (orthogonal Procrustes:
Schoenemann 1966, Psychometrika 31, 1), and 1 - |Z - Z' Q|^2 / |Z|^2 is what they share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import orthogonal_procrustes

from xpscale.evaluation.bootstrap import Estimate, of_rows
from xpscale.evaluation.sections import Drawing, Section, Table
from xpscale.extras import naming_extras
from xpscale.plots.estimates import matrix
from xpscale.plots.latent_maps import latent_maps
from xpscale.sky import GALACTIC_AXES, healpix_29

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.evaluation.bootstrap import Estimate as _Estimate
    from xpscale.evaluation.fit_sums import FitSums
    from xpscale.evaluation.judged_stars import Stars
    from xpscale.model.checkpoint import TrainedModel

__all__ = ["latent_section", "nuisances", "redundancy", "shared_after_turning", "told_by_each"]

ALIVE_NATS = 0.5
"""Mean KL divergence from the prior, in nats, from which on a latent counts as alive."""

N_NEAREST = 50
OBLIQUITY = np.radians(23.4392911)
MAP_ORDER = 3

Latents = Mapping[str, tuple["NDArray[np.float64]", "NDArray[np.float64]"]]


def latent_section(
    sums: Mapping[str, FitSums], latents: Latents, training: Stars, judged: Stars, seed: int = 0
) -> Section:
    """What the latents hold.

    Parameters
    ----------
    sums
        Of each model on all held-out stars, by name; the first is the one in question.
    latents
        Posterior means of training and judged stars, with shapes (N, L), by the model's name.
    training, judged
        Stars outside and inside of the held-out sky.
    seed
        Of the bootstrap.
    """
    name, (known, ours) = next((name, latents[name]) for name in sums)
    kl = sums[name].per_spectrum(seed)["kl_latents"]
    n_alive = int((kl.value >= ALIVE_NATS).sum())
    repeated = of_rows(redundancy, judged.group, ours, seed=seed)
    told = told_by_each((known, ours), training, judged, seed)
    tables = {
        "latents": _each(kl, repeated, told),
        "models": _alive(sums, latents, judged, seed),
    }
    if len(latents) > 1:
        tables["shared"] = _shared(name, latents, judged, seed)
    drawings = {
        "told": _told_drawing(told),
        "correlations": _correlations(ours, sums[name].model, judged),
        "maps": _maps(known, ours, training, judged),
    }
    sentence = (
        f"{n_alive} of the {len(kl.value)} latents of {name} are alive (at least {ALIVE_NATS} nats"
        f" each, {sums[name].per_spectrum(seed)['kl']} nats in all); the one that the others tell"
        f" best shares {repeated[int(np.argmax(repeated.value))]} of its variance with them."
    )
    return Section("latents", "Latents", sentence, tables, drawings)


def redundancy(latents: NDArray[np.floating]) -> NDArray[np.float64]:
    """How well the other latents predict each one by a linear relation: R^2, with shape (L,).

    R_k^2 = 1 - 1 / (P_kk var_k) with P the inverse of the covariance of the posterior means; 1 is a
    copy of others.

    Parameters
    ----------
    latents
        Posterior means, with shape (N, L).
    """
    covariance = np.cov(np.asarray(latents, np.float64), rowvar=False)
    precision = np.linalg.pinv(covariance, hermitian=True)
    return np.asarray(1 - 1 / np.maximum(np.diag(precision) * np.diag(covariance), 1))


def nuisances(stars: Stars) -> dict[str, NDArray[np.float64]]:
    """What the latents should not tell, by name, with shape (N,): magnitude, distance from the
    galactic plane on the sky, and from the ecliptic, on which Gaia's scanning depends.
    """
    ra, dec = np.radians(stars.batch.ra), np.radians(stars.batch.dec)
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], 1)
    ecliptic = np.cos(OBLIQUITY) * np.sin(dec) - np.sin(OBLIQUITY) * np.cos(dec) * np.sin(ra)
    return {
        "G": stars.magnitude,
        "|sin b|": np.abs(vectors @ GALACTIC_AXES[2]),
        "|sin β|": np.abs(ecliptic),
    }


def told_by_each(
    latents: tuple[NDArray[np.float64], NDArray[np.float64]],
    training: Stars,
    judged: Stars,
    seed: int = 0,
) -> dict[str, Estimate]:
    """R^2 of each latent alone, then of all together, with shape (L + 1,), for every label and
    nuisance.

    Parameters
    ----------
    latents
        Posterior means of training and judged stars, with shapes (N, L) and (M, L).
    training, judged
        The stars.
    seed
        Of the bootstrap.
    """
    with naming_extras():
        from sklearn.neighbors import KNeighborsRegressor
    found = {}
    known = {**training.labels, **nuisances(training)}
    theirs = {**judged.labels, **nuisances(judged)}
    n_latents = latents[0].shape[1]
    for name, y in known.items():
        ours, others = np.isfinite(y), np.isfinite(theirs[name])
        if name in training.labels:  # few hot stars have some labels, and most of the variance
            ours, others = training.is_labelled, judged.is_labelled
        predicted = []
        for columns in (*([k] for k in range(n_latents)), list(range(n_latents))):
            nearest = KNeighborsRegressor(min(N_NEAREST, int(ours.sum())))
            nearest.fit(latents[0][ours][:, columns], y[ours])
            predicted.append(nearest.predict(latents[1][others][:, columns]))
        true = theirs[name][others]
        found[name] = of_rows(
            _explained, judged.group[others], true, np.stack(predicted, 1), seed=seed
        )
    return found


def _explained(true: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """R^2 of each column."""
    left = ((true[:, None] - predicted) ** 2).sum(0)
    return np.asarray(1 - left / ((true - true.mean()) ** 2).sum())


def shared_after_turning(latents: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """The share of the variance of one model's latents that another's, turned, have.

    Parameters
    ----------
    latents, others
        Posterior means of the same stars, with shapes (N, L) and (N, K).
    """
    wide = max(latents.shape[1], others.shape[1])
    ours, theirs = (
        np.pad(values - values.mean(0), ((0, 0), (0, wide - values.shape[1])))
        for values in (latents, others)
    )
    turn, _ = orthogonal_procrustes(theirs, ours)
    return float(1 - ((ours - theirs @ turn) ** 2).sum() / (ours**2).sum())


def _linear(latents: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """The share of the variance that any linear map of the others has."""
    ours, theirs = latents - latents.mean(0), others - others.mean(0)
    fitted = theirs @ np.linalg.lstsq(theirs, ours, rcond=None)[0]
    return float(1 - ((ours - fitted) ** 2).sum() / (ours**2).sum())


def _each(kl: Estimate, repeated: Estimate, told: Mapping[str, Estimate]) -> Table:
    rows: dict[str, dict[str, _Estimate]] = {}
    for k in range(len(kl.value)):
        rows[f"latent {k}"] = {
            "KL [nats]": kl[k],
            "R² from the others": repeated[k],
            **{f"R² of {name}": found[k] for name, found in told.items()},
        }
    rows["all together"] = {f"R² of {name}": found[-1] for name, found in told.items()}
    return Table(
        "Each latent",
        "KL is what a spectrum tells of the latent given those before it; R² of a quantity is the"
        " share of its variance over held-out stars that the latent alone predicts. G, the galactic"
        " latitude b and the ecliptic latitude β are no properties of a star: what is told of them"
        " comes from the sample (bright stars differ from faint ones) or from the instrument.",
        rows,
        "latent",
    )


def _alive(sums: Mapping[str, FitSums], latents: Latents, judged: Stars, seed: int) -> Table:
    rows = {}
    for name, found in sums.items():
        terms = found.per_spectrum(seed)
        repeated = of_rows(redundancy, judged.group, latents[name][1], seed=seed)
        n_latents = len(terms["kl_latents"].value)
        rows[name] = {
            "alive": f"{(terms['kl_latents'].value >= ALIVE_NATS).sum()} of {n_latents}",
            "KL [nats]": terms["kl"],
            "largest R² from the others": repeated[int(repeated.value.argmax())],
        }
    return Table(
        "Alive and redundant",
        f"A latent is alive from {ALIVE_NATS} nats on; R² 1 would be a copy of others.",
        rows,
        "model",
    )


def _shared(name: str, latents: Latents, judged: Stars, seed: int) -> Table:
    ours = latents[name][1]
    rows = {
        other: {
            "after rotation": of_rows(shared_after_turning, judged.group, ours, theirs, seed=seed),
            "after any linear map": of_rows(_linear, judged.group, ours, theirs, seed=seed),
        }
        for other, (_, theirs) in latents.items()
        if other != name
    }
    return Table(
        f"What other models' latents share with those of {name}",
        "The share of the variance that the other model's latents have too; of models that differ"
        " in the seed alone this is the stability of the latents, 1 if only the axes differ.",
        rows,
        "model",
    )


def _told_drawing(told: Mapping[str, Estimate]) -> Drawing:
    values = np.stack([found.value for found in told.values()], 1)
    names = [*(f"latent {k}" for k in range(len(values) - 1)), "all together"]
    return Drawing(
        matrix(values.clip(0), names, list(told), "R² on held-out stars", limits=(0, 1)),
        "What each latent tells",
        "The share of the variance of each quantity that one latent alone predicts; the table gives"
        " the intervals.",
    )


def _correlations(latents: NDArray[np.float64], model: TrainedModel, judged: Stars) -> Drawing:
    """Above the diagonal correlations over stars, below it those of the posteriors."""
    values = np.atleast_2d(np.corrcoef(latents, rowvar=False))
    posterior = model.encode(judged.batch)
    i, j = posterior.pairs.numpy()
    values[j, i] = posterior.correlations().mean(0).numpy()
    names = [f"latent {k}" for k in range(len(values))]
    np.fill_diagonal(values, np.nan)
    return Drawing(
        matrix(values, names, names, "correlation", limits=(-1, 1), diverging=True),
        "Correlations of latents",
        "Upper right: over stars, where the sample's own structure shows. Lower left: given one"
        " spectrum, averaged over stars, which the choice of axes after training makes small.",
    )


def _maps(
    known: NDArray[np.float64], ours: NDArray[np.float64], training: Stars, judged: Stars
) -> Drawing:
    ra, dec = (
        np.concatenate([getattr(stars.batch, name) for stars in (training, judged)])
        for name in ("ra", "dec")
    )
    pixels = healpix_29(ra, dec) >> 2 * (29 - MAP_ORDER)
    return Drawing(
        latent_maps(pixels, np.concatenate([known, ours]), MAP_ORDER),
        "Latents over the sky",
        "Medians in pixels of 7 degrees, Galactic coordinates, training stars included. Dust and"
        " stellar populations follow the plane; rings or stripes along great circles would be the"
        " scanning law.",
    )
