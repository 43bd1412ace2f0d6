"""Whether spectra are in the archive's units, told by their sizes.

Tables in circulation hold coefficients that were divided by the G flux, or by their norm, under the
archive's names.  With c the coefficients of a source, e their errors and G its mean flux, all in
electron/s, the archive has for every source::

    |c| / G           0.08 to 0.5      fractions of the flux, whatever the magnitude
    median(e) / √G    0.002 to 1       photon noise, for the numbers of transits that there are

(the smallest and largest of 2,051 sources of DR3 and 32,388 of the APOGEE library).  What was
divided by G lies a factor of G below, which is at least 30 for a source with a spectrum.

Errors are e(G)² = 0.3² + 0.0045² G + (9e-6 G)²: background, photons and calibration, within a
factor of two for most sources, as many transits as they may have.  And coefficients of the highest
orders are noise: their root mean square c/e is 1.  What is said to be errors and is their power p
is off by e^(p-1) in one way and by e^(1-p) in the other::

    ln(s / e(G))  =  (p - 1) ln e(G)            s: what is said to be errors
    ln rms(c/s)   = -(p - 1) ln e(G)

A source of unusual errors, or with lines that reach the highest orders, shows only one of the two.
Variances have p = 2, inverse variances -2; near G = 14 errors are about 1, and all powers alike.  A
source
lies where its identifier says, to fractions of a degree: what does not is in radians, in hours, or
in other coordinates.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.positions import is_placed
from xpscale.sky import separation_deg, source_id_position

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.spectra import SpectraBatch

__all__ = ["MOST_ROWS", "check_units"]

MOST_ROWS = 10_000
"""Rows that are looked at, evenly spread."""

FEWEST_ROWS = 10
"""With fewer, sizes that are too large tell nothing, one G flux may be wrong; nor do positions."""

SHARE = 0.05
"""Share of rows that may be too small."""

SMALLEST_FRACTION, LARGEST_FRACTION = 0.02, 20.0
SMALLEST_NOISE, SMALLEST_RATIO = 3e-4, 0.3
BACKGROUND, PHOTONS, CALIBRATION = 0.3, 0.0045, 9e-6
"""Of the errors of the archive's sources, fitted to their medians by magnitude."""

FIRST_NOISE_ORDER = 37
"""Of each band: coefficients from here on are noise for most sources."""

FAINT, BRIGHT = -0.6, 1.2
"""Values of ln e(G) below and above which powers of the errors differ."""

POWER_MARGIN, POWER_SPREAD = 0.3, 0.5
"""How far p may be from 1; and the standard deviation, from source to source, of (p-1) ln e(G)."""

LARGEST_DISTANCE_DEG = 1.0

REMEDY = (
    "Give coefficients and errors in electron/s, as the archive has them; if they are, say so:"
    " --trust-units"
)


def check_units(batch: SpectraBatch, where: str) -> None:
    """Refuse spectra whose sizes are not those of the archive's units.

    Parameters
    ----------
    batch
        Rows, usable or not.
    where
        What to call them in errors.

    Raises
    ------
    InvalidInputError
        They look divided by something; the message says what was seen.
    """
    batch = batch.take(slice(None, None, max(1, len(batch) // MOST_ROWS)))
    _check_positions(batch, where)
    flux, errors = batch.phot_g_mean_flux, batch.coefficient_errors
    with np.errstate(all="ignore"):
        size = np.sqrt(np.nansum(batch.coefficients.astype(np.float64) ** 2, axis=1))
        rows = np.isfinite(size) & (size > 0) & np.isfinite(flux) & (flux > 0)
    if rows.any():
        _check_coefficients(size[rows], flux[rows], where)
        if errors is not None:
            _check_errors(errors[rows].astype(np.float64), size[rows], flux[rows], where)
            _check_power(batch, where)


def _check_coefficients(size: NDArray[np.float64], flux: NDArray[np.float64], where: str) -> None:
    """Norms of the coefficients against G fluxes, each with shape (N,)."""
    fraction = size / flux
    seen = f"the coefficients of {len(size):,} sources in {where} are {np.median(fraction):.2g}"
    if np.mean(fraction < SMALLEST_FRACTION) > SHARE:
        by_norm = np.mean(np.abs(size - 1) < 1e-3) > SHARE
        raise InvalidInputError(
            f"{seen} of phot_g_mean_flux (median), in the archive about 0.1: they look divided by"
            f" {'their norm' if by_norm else 'phot_g_mean_flux'} already",
            REMEDY,
        )
    if len(size) >= FEWEST_ROWS and np.median(fraction) > LARGEST_FRACTION:
        raise InvalidInputError(
            f"{seen} times phot_g_mean_flux (median), in the archive about 0.1: one of them is in"
            " other units",
            REMEDY,
        )


def _check_errors(
    errors: NDArray[np.float64], size: NDArray[np.float64], flux: NDArray[np.float64], where: str
) -> None:
    """Errors, with shape (N, C), against norms of the coefficients and G fluxes."""
    rows = (np.isfinite(errors) & (errors > 0)).all(1)
    if not rows.any():
        return
    if np.ptp(errors[rows]) == 0 and rows.sum() > 1:
        raise InvalidInputError(
            f"the coefficient errors in {where} are all {errors[rows][0, 0]:g}: they were made up",
            REMEDY,
        )
    noise = np.median(errors[rows], axis=1)
    relative, ratio = noise / np.sqrt(flux[rows]), np.median(size[rows] / noise)
    seen = f"the coefficient errors of {len(noise):,} sources in {where} are"
    if np.mean(relative < SMALLEST_NOISE) > SHARE:
        raise InvalidInputError(
            f"{seen} 1/{ratio:.2g} of the coefficients (median), less than their photon noise: they"
            " look divided by something",
            REMEDY,
        )
    if len(noise) >= FEWEST_ROWS and ratio < SMALLEST_RATIO:
        raise InvalidInputError(
            f"{seen} {1 / ratio:.2g} times the coefficients (median): one is in other units",
            REMEDY,
        )


def _check_power(batch: SpectraBatch, where: str) -> None:
    """The power p of the errors that what is said to be errors is: both estimates, the nearer to 1
    counts.
    """
    flux, said = batch.phot_g_mean_flux, batch.coefficient_errors
    if said is None:
        return
    orders = np.concatenate([np.arange(n) for n in (batch.bands.n_bp, batch.bands.n_rp)])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows without values
        ratio = np.where((batch.coefficients != 0) & (said > 0), batch.coefficients / said, np.nan)
        noise = np.log(np.nanmean(ratio[:, orders >= FIRST_NOISE_ORDER] ** 2, axis=1)) / 2
        size = np.log(np.nanmedian(np.where(said > 0, said, np.nan), axis=1))
        usual = np.log(BACKGROUND**2 + PHOTONS**2 * flux + (CALIBRATION * flux) ** 2) / 2
        rows = np.isfinite(noise + size + usual) & ((usual < FAINT) | (usual > BRIGHT))
    if rows.sum() < FEWEST_ROWS:
        return
    noise, size, usual = noise[rows], size[rows], usual[rows]
    weight = np.sum(usual**2)
    both = np.array([np.sum((size - usual) * usual), -np.sum(noise * usual)]) / weight
    excess = 0.0 if both[0] * both[1] < 0 else float(both[np.argmin(np.abs(both))])
    if abs(excess) > POWER_MARGIN + POWER_SPREAD / np.sqrt(weight):
        power = 1 + excess
        kind = "variances" if power > 1 else "square roots of errors"
        kind = kind if power > 0 else "inverse variances, or weights"
        raise InvalidInputError(
            f"the coefficient errors of {len(usual):,} sources in {where} go as the power"
            f" {power:.1f} of the archive's at their magnitudes: they look like {kind}",
            REMEDY,
        )


def _check_positions(batch: SpectraBatch, where: str) -> None:
    """Positions against the pixels that identifiers carry."""
    placed = is_placed(batch.ra, batch.dec) & (batch.source_id > 0)
    if placed.sum() < FEWEST_ROWS:
        return
    said = source_id_position(batch.source_id[placed])
    away = separation_deg(batch.ra[placed], batch.dec[placed], *said)
    if np.median(away) > LARGEST_DISTANCE_DEG:
        raise InvalidInputError(
            f"{len(away):,} sources in {where} lie {np.median(away):.0f} degrees (median) from"
            " where their source_id says: ra and dec are in other units or coordinates",
            "Give ra and dec in degrees, ICRS; if they are, and identifiers are not Gaia's, say so:"
            " --trust-units",
        )
