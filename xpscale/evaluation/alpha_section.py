"""The report on [alpha/M]: are the two sequences of giants told apart, and beyond what Teff, log g
and [Fe/H] say of them already?
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from xpscale.evaluation.alpha_at_fixed_labels import fixed_label_tables
from xpscale.evaluation.bootstrap import Estimate, of_rows
from xpscale.evaluation.giants import LABELS, Giants, giants_of
from xpscale.evaluation.labels import mcc
from xpscale.evaluation.sections import Drawing, Section, Table
from xpscale.plots.estimates import whiskers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.evaluation.features import Features, Sets

__all__ = ["NEEDED", "alpha_section"]

NEEDED = {"teff", "logg", "fe_h", "alpha_m"}
LEAST_GIANTS = 50
TEFF_EDGES = (0.0, 4400.0, 4600.0, 4800.0, 5200.0)
SCORES = ("accuracy", "balanced accuracy", "MCC")


def alpha_section(features: Features, sampled: Sets, seed: int = 0) -> Section | None:
    """Which features tell the two sequences apart; ``None`` for fewer than 50 giants of a class.

    Parameters
    ----------
    features
        Of labelled stars; the first are the latents in question.
    sampled
        Of these stars one draw of the latents each, training and judged, by name.
    seed
        Of forests, trees and bootstrap.
    """
    giants = giants_of(features, sampled, seed, LEAST_GIANTS)
    if giants is None:
        return None
    found = {
        name: of_rows(_scores, giants.judged.group, giants.truth, votes > 0.5, seed=seed)
        for name, votes in giants.votes.items()
    }
    tables = {
        "classes": Table(
            f"High-alpha and low-alpha giants, {len(giants.truth):,} held out,"
            f" {giants.truth.mean():.1%} high",
            "A random forest of 200 trees for each set of features; balanced accuracy and MCC do"
            " not profit from guessing the majority (1/2 and 0).",
            {
                name: {score: got[i] for i, score in enumerate(SCORES)}
                for name, got in found.items()
            },
            "features",
        ),
        "by_teff": _by_teff(giants, seed),
        **fixed_label_tables(giants, seed),
    }
    panels = {
        score: {name: got[i].parts for name, got in found.items()} for i, score in enumerate(SCORES)
    }
    drawing = Drawing(
        whiskers(panels),
        "Who tells the two sequences apart",
        "Labels alone, colours, components, all coefficients and latents, by the same forest.",
    )
    sentence = _sentence(giants.latents, found, tables)
    return Section("alpha", "Alpha elements", sentence, tables, {"classes": drawing})


def _sentence(latents: str, found: Mapping[str, Estimate], tables: Mapping[str, Table]) -> str:
    added: Estimate = tables["residualized"].rows[latents]["partial R²"]
    told: Estimate | str = tables["matched"].rows[latents]["right pairs"]
    shown = "they carry [alpha/M] beyond Teff, log g and [Fe/H]"
    if not (added.low > 0 and isinstance(told, Estimate) and told.low > 0.5):
        shown = "that they carry [alpha/M] beyond Teff, log g and [Fe/H] is not shown by both tests"
    return (
        f"From the {latents} a forest tells high-alpha from low-alpha giants with MCC"
        f" {found[latents][2]}; Teff, log g and [Fe/H] alone give {found[LABELS][2]}. At fixed"
        f" labels the latents explain {added} of the variance of [alpha/M] that labels leave, and"
        f" order {told} of the pairs matched in these labels right (chance 0.5): {shown}."
    )


def _scores(true: NDArray[np.bool_], guess: NDArray[np.bool_]) -> NDArray[np.float64]:
    """`SCORES`, with shape (3,)."""
    right = true == guess
    sides = [right[side].mean() if side.any() else np.nan for side in (true, ~true)]
    return np.array([right.mean(), np.mean(sides), mcc(guess, true)])


def _by_teff(giants: Giants, seed: int) -> Table:
    rows: dict[str, dict[str, Estimate | str]] = {name: {} for name in ("giants", *giants.votes)}
    number = np.digitize(giants.judged.labels["teff"], TEFF_EDGES[1:-1])
    for i, (low, high) in enumerate(pairwise(TEFF_EDGES)):
        inside, head = number == i, f"{low:.0f} to {high:.0f} K"
        true = giants.truth[inside]
        if min(true.sum(), (~true).sum()) < 10:
            continue
        rows["giants"][head] = f"{len(true):,}, {true.mean():.0%} high"
        for name, votes in giants.votes.items():
            group, guess = giants.judged.group[inside], votes[inside] > 0.5
            rows[name][head] = of_rows(_scores, group, true, guess, seed=seed)[2]
    return Table(
        "MCC by temperature",
        "Cool giants have stronger bands; bins with fewer than ten giants of a class are left out.",
        rows,
        "features",
    )
