"""What labels are read off: the latents of stars, and how well they are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xpscale.query.posterior import latent_covariance, latent_means

__all__ = ["StarLatents"]


@dataclass(frozen=True, slots=True, eq=False)
class StarLatents:
    """What the catalogue knows of N stars.

    Parameters
    ----------
    mean
        Posterior means of the latents, with shape (N, L).
    covariance
        Of the posterior, with shape (N, L, L).
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.mean)

    @staticmethod
    def of(table: pa.Table) -> StarLatents:
        """Those of rows with all columns of the posterior.

        Raises
        ------
        InvalidInputError
            If a column is missing.
        """
        covariance = latent_covariance(table)
        means = latent_means(table, covariance.shape[1])
        return StarLatents(means.astype(np.float64), covariance)

    def take(self, rows: NDArray[Any]) -> StarLatents:
        """Those of some rows."""
        return StarLatents(self.mean[rows], self.covariance[rows])
