"""Stars of the synthetic universe in the shape of the demo's real ones, for machines where those
cannot be had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from xpscale.testing.universe import Universe

if TYPE_CHECKING:
    from xpscale.spectra import SpectraBatch

__all__ = ["synthetic_stars"]


def synthetic_stars(n_sources: int) -> tuple[SpectraBatch, pa.Table]:
    """Spectra and their true labels: source_id, teff (K), logg and fe_h (dex)."""
    universe = Universe(n_sources)
    truth = universe.truth()
    columns = {name: getattr(truth.labels, name) for name in ("teff", "logg", "fe_h")}
    return universe.spectra(), pa.table({"source_id": truth.source_id, **columns})
