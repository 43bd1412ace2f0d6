"""Giants with labels, and how likely a forest finds each to be high-alpha."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xpscale.evaluation.conditional import FIXED
from xpscale.evaluation.labels import classes_by_forest, is_alpha_giant, is_high_alpha

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.evaluation.features import Features, Sets
    from xpscale.evaluation.judged_stars import Stars

__all__ = ["LABELS", "MAJORITY", "Giants", "giants_of"]

LABELS, MAJORITY = ", ".join(FIXED), "majority"


@dataclass(frozen=True, slots=True, eq=False)
class Giants:
    """The giants of `xpscale.evaluation.labels`.

    Parameters
    ----------
    stars, judged
        Those outside and inside of the held-out sky, N and M.
    truth
        Which of the judged are high-alpha, with shape (M,).
    sets
        Their features.
    votes
        The share of a forest's votes for high alpha by each set of features, with shape (M,).
    latents
        The name of the latents in question.
    """

    stars: Stars
    judged: Stars
    truth: NDArray[np.bool_]
    sets: Sets
    votes: Mapping[str, NDArray[np.float64]]
    latents: str


def giants_of(features: Features, sampled: Sets, seed: int, fewest: int) -> Giants | None:
    """Train a forest on every set of features.

    Parameters
    ----------
    features
        Of labelled stars.
    sampled
        Of these stars one draw of the latents each, training and judged, by name.
    seed
        Of the forests.
    fewest
        Giants of each class on both sides; ``None`` for fewer.
    """
    rows = [is_alpha_giant(stars.labels) for stars in (features.stars, features.others)]
    stars, judged = features.stars.take(rows[0]), features.others.take(rows[1])
    high, truth = is_high_alpha(stars.labels), is_high_alpha(judged.labels)
    if min(int((one == side).sum()) for one in (high, truth) for side in (True, False)) < fewest:
        return None
    both = {
        **features.sets,
        **{f"{name}, one draw": pair for name, pair in sampled.items()},
    }
    latents = next(iter(features.sets))
    sets: dict[str, tuple[NDArray[np.floating], NDArray[np.floating]]] = {
        "[Fe/H]": (_labels(stars, "fe_h"), _labels(judged, "fe_h")),
        LABELS: (_labels(stars, *FIXED), _labels(judged, *FIXED)),
        "BP − RP, G": (_colours(stars), _colours(judged)),
        **{name: (ours[rows[0]], theirs[rows[1]]) for name, (ours, theirs) in both.items()},
    }
    sets[f"{LABELS} and {latents}"] = (
        np.hstack([sets[LABELS][0], sets[latents][0]]),
        np.hstack([sets[LABELS][1], sets[latents][1]]),
    )
    votes = {MAJORITY: np.full(len(truth), float(high.mean() > 0.5))} | {
        name: classes_by_forest(ours, high, theirs, seed) for name, (ours, theirs) in sets.items()
    }
    return Giants(stars, judged, truth, sets, votes, latents)


def _labels(stars: Stars, *names: str) -> NDArray[np.float64]:
    return np.column_stack([stars.labels[name] for name in names])


def _colours(stars: Stars) -> NDArray[np.float64]:
    return np.nan_to_num(np.column_stack([stars.colour, stars.magnitude]))
