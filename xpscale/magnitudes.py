"""Magnitudes in G, BP and RP, from a source's mean G flux and the coefficients of its spectrum.

The flux of a band is linear in the coefficients c, and the magnitude follows with a zero point::

    G       = 25.6873668671 - 2.5 log10(phot_g_mean_flux)
    f_b     = sum_k w_kb c_k                              b = BP, RP
    m_b     = zero point_b - 2.5 log10(f_b)

The first is the archive's own magnitude (Riello et al. 2021, A&A 649, A3).  The weights w and the
zero points are those of GaiaXPy for ``Gaia_DR3_Vega`` (Gaia Collaboration, Montegriffo et al. 2023,
A&A 674, A33), kept in ``releases/dr3_bands.csv``; a release without such a file has no BP and RP.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xpscale.columns import G_ZERO_POINT
from xpscale.release import DR3

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.release import Release

__all__ = ["G_MAGNITUDE", "SYNTHETIC", "has_band_weights", "magnitudes"]

G_MAGNITUDE = "phot_g_mean_mag"
SYNTHETIC = {"synthetic_bp_mag": "BP", "synthetic_rp_mag": "RP"}
"""Columns of synthesized magnitudes, and their bands."""

ZERO_POINTS = np.array([-25.9655, -27.2164])
"""Of BP and RP, for fluxes in W m-2 nm-1 (GaiaXPy 2.1.5)."""


def has_band_weights(release: Release, n_coefficients: int) -> bool:
    """Whether BP and RP can be synthesized from such coefficients.

    Parameters
    ----------
    release
        The release of the spectra.
    n_coefficients
        C.
    """
    return release.name == DR3.name and n_coefficients == DR3.known_bands.n_coefficients


@cache
def _weights() -> NDArray[np.float64]:
    """W of BP and RP, with shape (C, 2)."""
    path = Path(__file__).parent / "releases" / "dr3_bands.csv"
    return np.loadtxt(path, delimiter=",", comments="#")


def magnitudes(
    phot_g_mean_flux: NDArray[np.float64], coefficients: NDArray[np.floating]
) -> dict[str, NDArray[np.float32]]:
    """The columns of magnitudes by name, each with shape (N,), NaN where a flux is not positive.

    Parameters
    ----------
    phot_g_mean_flux
        Mean G flux in electron/s, with shape (N,).
    coefficients
        BP, then RP, in electron/s, with shape (N, C), NaN where not measured.  Of another C than
        the weights have, BP and RP are left out.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {G_MAGNITUDE: G_ZERO_POINT - 2.5 * np.log10(phot_g_mean_flux)}
        if coefficients.shape[1] == len(_weights()):
            fluxes = coefficients.astype(np.float64) @ _weights()
            bands = ZERO_POINTS - 2.5 * np.log10(np.where(fluxes > 0, fluxes, np.nan))
            found |= dict(zip(SYNTHETIC, bands.T, strict=True))
    return {name: values.astype(np.float32) for name, values in found.items()}
