"""Whether latents tell what stars are: labels that the model never saw, guessed from the nearest
neighbours in latent space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NeighbourScores", "score_neighbours"]

N_NEIGHBOURS = 15
DWARF_LOGG = 3.8
"""In dex: the giant branch lies below, the main sequence above, subgiants on either side."""


@dataclass(frozen=True, slots=True)
class NeighbourScores:
    """How well labels follow from latents.

    Parameters
    ----------
    n_stars
        Stars judged: a fifth of those with labels, guessed from the other four fifths.
    teff_rank_correlation
        Spearman's correlation of guessed and true effective temperature.
    dwarf_accuracy
        Share of stars on the right side of logg = 3.8.
    dwarf_share
        Share of the more frequent side: what always guessing it would reach.
    """

    n_stars: int
    teff_rank_correlation: float
    dwarf_accuracy: float
    dwarf_share: float

    def __str__(self) -> str:
        return (
            f"from latents alone, {N_NEIGHBOURS} nearest neighbours, {self.n_stars:,} stars:"
            f" temperature ordered with rank correlation {self.teff_rank_correlation:.3f}, dwarf or"
            f" giant right for {self.dwarf_accuracy:.1%} (always guessing the more frequent:"
            f" {self.dwarf_share:.1%})"
        )


def score_neighbours(table: pa.Table, labels: pa.Table) -> NeighbourScores:
    """Guess Teff and logg of a fifth of the stars from the labels of their neighbours among the
    others.

    Parameters
    ----------
    table
        Rows of the catalogue: ``source_id`` and all ``latent_mean_*``.
    labels
        ``source_id``, ``teff`` in K and ``logg`` in dex, NaN where unknown.
    """
    from scipy.spatial import cKDTree
    from scipy.stats import spearmanr

    z = np.stack(
        [table[name].to_numpy() for name in table.column_names if name.startswith("latent_mean_")],
        axis=1,
    )
    ids, known = table["source_id"].to_numpy(), labels["source_id"].to_numpy()
    order = np.argsort(known)
    rows = order[np.searchsorted(known, ids, sorter=order).clip(max=len(known) - 1)]
    teff, logg = (
        np.where(known[rows] == ids, labels[name].to_numpy()[rows], np.nan)
        for name in ("teff", "logg")
    )
    usable = np.isfinite(teff) & np.isfinite(logg) & np.isfinite(z).all(1)
    z, teff, logg = z[usable], teff[usable], logg[usable]
    judged = np.random.default_rng(0).random(len(z)) < 0.2
    _, neighbours = cKDTree(z[~judged]).query(z[judged], N_NEIGHBOURS)
    is_dwarf = logg > DWARF_LOGG
    guess = is_dwarf[~judged][neighbours].mean(1) > 0.5
    share = float(is_dwarf[judged].mean())
    return NeighbourScores(
        int(judged.sum()),
        float(spearmanr(np.median(teff[~judged][neighbours], axis=1), teff[judged]).statistic),
        float((guess == is_dwarf[judged]).mean()),
        max(share, 1 - share),
    )
