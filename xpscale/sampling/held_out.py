"""The stars that are never trained on: those of whole HEALPix pixels, chosen by a hash.

Splitting by pixel keeps neighbours on the sky, which share extinction and scanning history, on the
same side.  The choice depends on the pixel and a seed alone: it is the same for every sample, every
model and every order of reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpscale.errors import InvalidInputError
from xpscale.sampling.hashing import uniform_hash
from xpscale.sky import INDEX_ORDER, healpix_29
from xpscale.spectra import SpectraBatch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


__all__ = ["HeldOutSplit"]


@dataclass(frozen=True, slots=True)
class HeldOutSplit:
    """A share of the sky's pixels, held out.

    Parameters
    ----------
    fraction
        Expected share of pixels held out, 0 to 1.
    seed
        Which pixels; another seed is another split.
    order
        HEALPix order of the pixels, by position (5: 3.4 square degrees).
    """

    fraction: float = 0.1
    seed: int = 0
    order: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise InvalidInputError(
                f"the held-out fraction is {self.fraction}", "Use at least 0 and less than 1"
            )

    def __str__(self) -> str:
        return (
            f"{self.fraction:.1%} of the pixels of HEALPix order {self.order}, split seed"
            f" {self.seed}"
        )

    def held_out(self, batch: SpectraBatch) -> NDArray[np.bool_]:
        """Rows in held-out pixels, with shape (N,)."""
        return self.is_held_out(batch.ra, batch.dec)

    def is_held_out(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether positions lie in held-out pixels, with shape (N,).

        Parameters
        ----------
        ra, dec
            ICRS positions in degrees, with shape (N,).
        """
        pixels = healpix_29(ra, dec) >> 2 * (INDEX_ORDER - self.order)
        return uniform_hash(pixels, self.seed) < self.fraction
