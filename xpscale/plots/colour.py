"""A quantity to colour sources by, matched by identifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import Normalize, TwoSlopeNorm
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError

__all__ = ["Colour"]


@dataclass(frozen=True, slots=True, eq=False)
class Colour:
    """A quantity to colour sources by.

    Parameters
    ----------
    values
        With shape (N,); NaN where unknown.
    label
        Name and unit, such as ``"Teff [K]"``.
    source_id
        Identifiers of the sources, with shape (N,); without them, the values are those of the rows
        that are drawn, in their order.
    cmap
        Name of a colour map.
    """

    values: NDArray[Any]
    label: str
    source_id: NDArray[np.int64] | None = None
    cmap: str = "viridis"

    def of(self, source_id: NDArray[np.int64]) -> NDArray[np.float64]:
        """The values of some sources, with shape (M,); NaN where there is none.

        Parameters
        ----------
        source_id
            The sources, with shape (M,).

        Raises
        ------
        InvalidInputError
            The colour has no ``source_id`` and another number of values.
        """
        values = np.asarray(self.values, np.float64)
        if self.source_id is None:
            if len(values) != len(source_id):
                raise InvalidInputError(
                    f"{self.label} has {len(values)} values for {len(source_id)} rows",
                    "Give Colour its source_id",
                )
            return values
        if not len(values):
            return np.full(len(source_id), np.nan)
        order = np.argsort(self.source_id)
        place = np.searchsorted(self.source_id, source_id, sorter=order)
        row = order[np.minimum(place, len(order) - 1)]
        return np.where(self.source_id[row] == source_id, values[row], np.nan)

    @staticmethod
    def norm(values: NDArray[np.float64]) -> Normalize:
        """Colours from the 2nd to the 98th percentile, with the median in the middle: a long tail
        does not use up the colours.

        Parameters
        ----------
        values
            Finite values, with shape (N,).
        """
        low, middle, high = (float(v) for v in np.percentile(values, [2, 50, 98]))
        return TwoSlopeNorm(middle, low, high) if low < middle < high else Normalize(low, high)
