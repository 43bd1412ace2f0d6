"""Columns of ``gaia_source``, and of the spectra's own table, that travel with a spectrum to the
store and the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["COMPANIONS", "OF_SPECTRA", "Companion", "checked_companions", "filled"]


@dataclass(frozen=True, slots=True)
class Companion:
    """A column: name, numpy's type, VOUnit, UCD1+ and a sentence."""

    name: str
    dtype: str
    unit: str
    ucd: str
    description: str


_ALL = (
    Companion(
        "phot_g_mean_mag",
        "float32",
        "mag",
        "phot.mag;em.opt",
        "Mean magnitude in G",
    ),
    Companion(
        "phot_bp_mean_mag",
        "float32",
        "mag",
        "phot.mag;em.opt.B",
        "Mean magnitude in BP",
    ),
    Companion(
        "phot_rp_mean_mag",
        "float32",
        "mag",
        "phot.mag;em.opt.R",
        "Mean magnitude in RP",
    ),
    Companion("parallax", "float64", "mas", "pos.parallax.trig", "Parallax"),
    Companion(
        "parallax_error",
        "float32",
        "mas",
        "stat.error;pos.parallax",
        "Error of parallax",
    ),
    Companion("ruwe", "float32", "", "stat.error", "Renormalised unit weight error"),
    *(
        Companion(
            f"{band.lower()}_n_relevant_bases",
            "float32",
            "",
            "meta.number",
            f"Leading {band} coefficients that matter, as the archive says",
        )
        for band in ("BP", "RP")
    ),
)

OF_SPECTRA = ("bp_n_relevant_bases", "rp_n_relevant_bases")
"""Those that the table of spectra has, not ``gaia_source``."""

COMPANIONS = {companion.name: companion for companion in _ALL}
"""By name, in the order in which they are written; NaN where a source has none."""


def checked_companions(names: Iterable[str]) -> tuple[str, ...]:
    """A choice of `COMPANIONS` in their order.

    Raises
    ------
    InvalidInputError
        One is not known.
    """
    wanted = set(names)
    if unknown := sorted(wanted - {*COMPANIONS}):
        raise InvalidInputError(
            f"no companion column is called {unknown[0]!r}", f"Known are {', '.join(COMPANIONS)}"
        )
    return tuple(name for name in COMPANIONS if name in wanted)


def filled(
    companions: Mapping[str, NDArray[Any]], names: Iterable[str], n_rows: int
) -> dict[str, NDArray[Any]]:
    """Companions of these names; NaN for those that are not there.

    Parameters
    ----------
    companions
        Arrays by name, each with shape (N,).
    names
        Which are wanted, in order.
    n_rows
        N.
    """
    missing = np.full(n_rows, np.nan)
    return {name: companions.get(name, missing) for name in names}
