"""What probes are given: latents, raw coefficients, principal components, of the same stars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xpscale.evaluation.labels import principal_components
from xpscale.model.scaling import Scaling, normalized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.evaluation.judged_stars import Stars

__all__ = ["Features", "Sets", "features_of"]

Sets = Mapping[str, tuple["NDArray[np.floating]", "NDArray[np.floating]"]]
"""Features of training and of judged stars, with shapes (N, F) and (M, F), by name."""

N_COMPONENTS = 6
FARTHEST = 10.0  # standard deviations; a few bad spectra would throw linear probes and networks


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Of labelled stars outside and inside of the held-out sky.

    Parameters
    ----------
    sets
        The features of both, by name.
    stars, others
        These stars.
    """

    sets: Sets
    stars: Stars
    others: Stars


def features_of(
    latents: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    training: Stars,
    judged: Stars,
) -> Features:
    """Latents of each model, six principal components of c / G, and all coefficients of c / G,
    standardized and cut at ten standard deviations.

    Parameters
    ----------
    latents
        Posterior means of training and judged stars, by the model's name.
    training, judged
        Stars with labels of some of them; the others are left out.
    """
    rows, others = training.is_labelled, judged.is_labelled
    stars, held_out = training.take(rows), judged.take(others)
    scaling = Scaling.fit([stars.batch])
    raw, raw_others = (scaling.standardize(one.batch)[0] for one in (stars, held_out))
    components = principal_components(
        normalized(stars.batch), normalized(held_out.batch), N_COMPONENTS
    )
    raw, raw_others = (values.clip(-FARTHEST, FARTHEST) for values in (raw, raw_others))
    sets: dict[str, tuple[NDArray[np.floating], NDArray[np.floating]]] = {
        **{f"latents, {name}": (z[rows], w[others]) for name, (z, w) in latents.items()},
        f"PCA-{N_COMPONENTS}": components,
        f"{raw.shape[1]} coefficients": (raw, raw_others),
    }
    return Features(sets, stars, held_out)
