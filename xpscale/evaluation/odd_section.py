"""The report on odd objects: are they told from ordinary stars, and are their neighbours odd?

Ordinary held-out stars are made odd as `xpscale.testing.odd_objects` says: emission lines of
planetary nebulae are added, or the spectrum is replaced by a hot black body; errors stay.  How well
they are told apart is the area under the ROC curve, the probability that an odd object has a lower
`in_distribution_score` than an ordinary one (Mann & Whitney 1947).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree
from scipy.stats import rankdata

from xpscale.errors import PermanentError
from xpscale.evaluation.bootstrap import of_rows
from xpscale.evaluation.reconstruction import predict
from xpscale.evaluation.sections import Drawing, Section, Table
from xpscale.model.typicality import in_distribution_score
from xpscale.plots.estimates import curves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.evaluation.judged_stars import Stars
    from xpscale.model.checkpoint import TrainedModel
    from xpscale.spectra import SpectraBatch

__all__ = ["area_under_curve", "odd_section", "same_kind_near"]

MAX_STARS = 2_000
ODD_SHARE = 10  # one odd object of a kind for so many ordinary stars among the neighbours
N_NEIGHBOURS = 10
THRESHOLD = 0.01
ORDINARY = "ordinary stars"

Judged = dict[str, tuple["NDArray[np.float64]", "NDArray[np.float64]"]]
"""Scores, with shape (N,), and latents, (N, L), by kind of objects."""


def odd_section(models: Mapping[str, TrainedModel], judged: Stars, seed: int = 0) -> Section | None:
    """How well odd objects are found; ``None`` where none can be made of such spectra.

    Parameters
    ----------
    models
        By name; the first is the one in question.
    judged
        Held-out stars.
    seed
        Of all that is random.
    """
    stars = judged.take(np.arange(min(len(judged), MAX_STARS)))
    kinds = _kinds(stars.batch, seed)
    if kinds is None:
        return None
    found = {name: _judged(model, kinds) for name, model in models.items()}
    name = next(iter(models))
    if not np.isfinite(found[name][ORDINARY][0]).any():
        return None  # a model that does not know its training sample has no score
    apart, near = _apart(found, stars, seed), _near(found, stars, seed)
    said = "; ".join(
        f"{kind} {apart.rows[f'{name}: {kind}']['AUC']}" for kind in kinds if kind != ORDINARY
    )
    sentence = (
        f"The in_distribution_score of {name} ranks odd objects below ordinary stars with a"
        f" probability (AUC, 1 is perfect, 0.5 chance) of: {said}."
    )
    return Section(
        "odd_objects",
        "Odd objects",
        sentence,
        {"apart": apart, "neighbours": near},
        {"scores": _drawing(found[name], stars, seed)},
    )


def _kinds(ordinary: SpectraBatch, seed: int) -> dict[str, SpectraBatch] | None:
    from xpscale.query.wavelength import calibration
    from xpscale.testing.odd_objects import hot_continua, with_emission_lines

    try:
        known = calibration()
    except PermanentError:  # GaiaXPy is an extra
        return None
    if known.bands != ordinary.bands:
        return None
    return {
        ORDINARY: ordinary,
        "emission lines": with_emission_lines(ordinary, seed),
        "weak emission lines": with_emission_lines(ordinary, seed, (1.0, 10.0)),
        "hot continua": hot_continua(ordinary, seed),
    }


def _judged(model: TrainedModel, kinds: Mapping[str, SpectraBatch]) -> Judged:
    found = {}
    for kind, batch in kinds.items():
        made = predict(model, batch)
        score = in_distribution_score(
            model.density,
            model.typicality,
            (made.x, made.x_err),
            made.latents,
            (made.mean, made.scatter),
        )
        found[kind] = (score.astype(np.float64), made.latents.astype(np.float64))
    return found


def area_under_curve(odd: NDArray[np.float64], ordinary: NDArray[np.float64]) -> float:
    """The probability that an odd object's score is below an ordinary star's; ties count half.

    Parameters
    ----------
    odd, ordinary
        Scores, with shapes (N,) and (M,).
    """
    ranks = rankdata(np.concatenate([ordinary, odd]))[: len(ordinary)]
    n_pairs = len(odd) * len(ordinary)
    return float((ranks.sum() - len(ordinary) * (len(ordinary) + 1) / 2) / n_pairs)


def _apart(
    found: Mapping[str, Judged],
    stars: Stars,
    seed: int,
) -> Table:
    rows = {}
    for name, kinds in found.items():
        ordinary = kinds[ORDINARY][0]
        for kind, (score, _) in kinds.items():
            below = of_rows(lambda s: (s < THRESHOLD).mean(), stars.group, score, seed=seed)
            rows[f"{name}: {kind}"] = {"score below 0.01": below} | (
                {}
                if kind == ORDINARY
                else {"AUC": of_rows(area_under_curve, stars.group, score, ordinary, seed=seed)}
            )
    return Table(
        f"Odd objects made of {len(stars):,} held-out stars",
        "A hundredth of ordinary stars should have a score below 0.01; of odd objects as many as"
        " possible. Weak lines have 1 to 10 nm of a typical star's peak, the others 10 to 300.",
        rows,
        "objects",
    )


def same_kind_near(
    latents: NDArray[np.float64], kind: NDArray[np.int64], asked: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The share of the ten nearest neighbours in the latents that are odd, whatever the kind, and
    that are of the object's own kind, with shape (asked, 2).

    Parameters
    ----------
    latents
        Of all objects, with shape (N, L).
    kind
        0 of ordinary stars, else a kind of odd objects, with shape (N,).
    asked
        Rows whose neighbours are counted.
    """
    _, rows = KDTree(latents).query(latents[asked], N_NEIGHBOURS + 1)
    near = kind[rows[:, 1:]]  # the nearest is the object itself
    return np.stack([(near > 0).mean(1), (near == kind[asked][:, None]).mean(1)], 1)


def _near(
    found: Mapping[str, Judged],
    stars: Stars,
    seed: int,
) -> Table:
    rows = {}
    for name, kinds in found.items():
        names = [kind for kind in kinds if not kind.startswith("weak")]
        few = np.arange(0, len(stars), ODD_SHARE)
        chosen = [np.arange(len(stars)), *(few for _ in names[1:])]
        latents = np.concatenate(
            [kinds[kind][1][picked] for kind, picked in zip(names, chosen, strict=True)]
        )
        kind = np.repeat(np.arange(len(names)), [len(picked) for picked in chosen])
        group = np.concatenate([stars.group[picked] for picked in chosen])
        for number, one in enumerate(names):
            asked = np.flatnonzero(kind == number)
            got = of_rows(
                lambda s: s.mean(0), group[asked], same_kind_near(latents, kind, asked), seed=seed
            )
            rows[f"{name}: {one}"] = {
                "share of all": f"{(kind == number).mean():.1%}",
                "neighbours that are odd": got[0],
                "neighbours of its kind": got[1],
            }
    return Table(
        "Neighbours in the latents",
        f"Among {len(stars):,} ordinary stars and a tenth as many odd objects of each kind: the"
        f" share of the {N_NEIGHBOURS} nearest neighbours that are odd, and of the same kind; the"
        " column of shares is what chance would give.",
        rows,
        "objects",
    )


def _drawing(kinds: Judged, stars: Stars, seed: int) -> Drawing:
    levels = np.logspace(-3, 0, 61)

    def below(score: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.searchsorted(np.sort(score), levels, "right") / len(score)

    parts = {
        kind: of_rows(below, stars.group, score, seed=seed).parts
        for kind, (score, _) in kinds.items()
    }
    figure = curves(levels, parts, ("in_distribution_score", "share below"))
    figure.axes[0].set_xscale("log")
    figure.axes[0].plot(levels, levels, ":", color="#8A8A8A", lw=1)
    return Drawing(
        figure,
        "Scores of ordinary and of odd objects",
        "Ordinary stars should follow the dotted line; odd objects lie far above it.",
    )
