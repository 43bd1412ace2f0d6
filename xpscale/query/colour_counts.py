"""Colour and magnitude of every source, counted in cells by the database: no row leaves it.

The absolute magnitude follows from the parallax p in milliarcseconds, without extinction::

    M_G = G + 5 log10(p) - 10        for p > 0 and p / parallax_error > 10

where the inverse of the parallax is a fair distance (Bailer-Jones 2015, PASP 127, 994).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpscale.columns import G_ZERO_POINT
from xpscale.errors import InvalidInputError
from xpscale.magnitudes import G_MAGNITUDE, SYNTHETIC
from xpscale.query.catalog import Catalog
from xpscale.query.convert import array
from xpscale.query.selection import Selection

__all__ = ["ColourMagnitude", "colour_magnitude"]

ARCHIVES = ("phot_bp_mean_mag", "phot_rp_mean_mag")
OF_FLUX = f"{G_ZERO_POINT} - 2.5 * log10(greatest(phot_g_mean_flux, 1e-9))"
LEAST_PARALLAX_OVER_ERROR = 10
MANY_SOURCES = 1_000_000
CELLS = {False: (0.04, 0.1), True: (0.01, 0.025)}
"""Width of a cell in colour and in magnitude, for few and for many sources."""


@dataclass(frozen=True, slots=True, eq=False)
class ColourMagnitude:
    """Sources by colour and magnitude.

    Parameters
    ----------
    counts
        Sources in each cell, with shape (M, K): magnitudes, colours.
    colour_edges, magnitude_edges
        Borders of the cells in magnitudes, with shapes (K + 1,) and (M + 1,).
    colour, magnitude
        What they are, in words.
    n_rows
        Sources counted.
    n_left_out
        Sources without a colour, or for absolute magnitudes without a good parallax.
    """

    counts: NDArray[np.int64]
    colour_edges: NDArray[np.float64]
    magnitude_edges: NDArray[np.float64]
    colour: str
    magnitude: str
    n_rows: int
    n_left_out: int


def colour_magnitude(rows: Catalog | Selection, *, absolute: bool | None = None) -> ColourMagnitude:
    """Count sources by BP - RP and G.

    Parameters
    ----------
    rows
        A catalogue or a selection.
    absolute
        Absolute magnitudes; by default if the catalogue has parallaxes.

    Raises
    ------
    InvalidInputError
        The catalogue has no magnitudes in BP and RP, or no parallaxes where they are needed, or no
        source has both.
    """
    selection = rows.select() if isinstance(rows, Catalog) else rows
    known = {*selection.catalog.known_columns}
    bp, rp, whose = _bands(known, selection.catalog.storage.url)
    has_parallax = {"parallax", "parallax_error"} <= known
    if absolute and not has_parallax:
        raise InvalidInputError(
            f"{selection.catalog.storage.url} has no parallaxes for absolute magnitudes",
            "Draw apparent ones, or carry the companions parallax and parallax_error",
        )
    absolute = has_parallax if absolute is None else absolute
    magnitude = G_MAGNITUDE if G_MAGNITUDE in known else OF_FLUX
    usable = [f'isfinite("{bp}")', f'isfinite("{rp}")', f"isfinite({magnitude})"]
    if absolute:
        magnitude += " + 5 * log10(greatest(parallax, 1e-9)) - 10"
        usable.append(f"parallax > {LEAST_PARALLAX_OVER_ERROR} * parallax_error AND parallax > 0")
    n_all = selection.count()
    width, height = CELLS[n_all > MANY_SOURCES]
    table = selection.where(" AND ".join(usable)).aggregate(
        f'floor(("{bp}" - "{rp}") / {width})::INTEGER AS c,'
        f" floor(({magnitude}) / {height})::INTEGER AS m, count(*) AS n",
        "c, m",
    )
    if not table.num_rows:
        raise InvalidInputError(
            "no source has a colour and a magnitude", "Select others, or draw apparent magnitudes"
        )
    c, m, n = (array(table[name]) for name in ("c", "m", "n"))
    counts = np.zeros((np.ptp(m) + 1, np.ptp(c) + 1), np.int64)
    counts[m - m.min(), c - c.min()] = n
    return ColourMagnitude(
        counts,
        np.arange(c.min(), c.max() + 2) * width,
        np.arange(m.min(), m.max() + 2) * height,
        f"BP − RP ({whose})",
        "absolute magnitude in G, from parallax" if absolute else "G",
        int(n.sum()),
        n_all - int(n.sum()),
    )


def _bands(known: set[str], where: str) -> tuple[str, str, str]:
    """The columns of BP and RP, and whose magnitudes they are: the archive's if they are there."""
    for names, whose in ((ARCHIVES, "archive"), (tuple(SYNTHETIC), "synthesized from spectra")):
        if {*names} <= known:
            return names[0], names[1], whose
    raise InvalidInputError(
        f"{where} has no magnitudes in BP and RP",
        "Make it with --outputs latents,magnitudes, or carry the companions"
        " phot_bp_mean_mag,phot_rp_mean_mag",
    )
