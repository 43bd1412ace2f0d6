"""Which column of somebody else's table is what: names of XP coefficients as they occur.

===============================================  ================================================
``bp_coefficients``, ``bp_coefficient_errors``   Gaia archive, DataLink; Flatiron's and
(and ``rp_``)                                    MyGaiaDB's HDF5
``coefficients``, ``coefficient_errors``         both bands in one array: spectra stores
``coeff``, ``coeff_error``                       the same: MultimodalUniverse
``bp_coeff_0`` ..., ``e_bp_coeff_0`` ...         one scalar column a coefficient, from 0
``bp_coefficients_1`` ...,                       one scalar column a coefficient, from 1
``bp_coefficient_errors_1`` ...
``bp_1`` ..., ``bpe_1`` ...                      the same, short
===============================================  ================================================

Names are compared without regard to case (FITS tables of the archive are in capitals); a field of a
struct is named by its path; see `xpscale.column_names`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xpscale.column_names import (
    COEFFICIENTS,
    G_BAND,
    N_PARAMETERS,
    SOURCE_IDS,
    ColumnChoice,
    candidates,
    known_columns,
    require_mean_spectra,
)
from xpscale.companions import OF_SPECTRA
from xpscale.errors import InvalidInputError
from xpscale.positions import positive_ra
from xpscale.release import DR3, Release
from xpscale.sky import source_id_position

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "G_ZERO_POINT",
    "SourceColumns",
    "XpColumns",
    "find_source_columns",
    "find_xp_columns",
    "flux_of_magnitude",
]

G_ZERO_POINT = 25.6873668671
"""Vega zero point of the G band, magnitudes for a flux of 1 electron/s (Gaia EDR3, Riello et al.
2021, A&A 649, A3).
"""

_LONG = re.compile(
    r"(?P<e>e_)?(?:(?P<band>bp|rp|xp)_)?(?:coefficient|coeff|coef)s?(?P<error>_errors?|_err)?(?:_(?P<index>\d+))?"
)
_SHORT = re.compile(
    r"(?P<e>)(?P<band>bp|rp)(?P<error>e(?=_\d)|_errors?|_err|(?=_\d))(?:_(?P<index>\d+))?"
)


def flux_of_magnitude(g_mag: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean G flux in electron/s of ``phot_g_mean_mag``: 10^((25.6873668671 - G) / 2.5)."""
    return np.asarray(10 ** ((G_ZERO_POINT - g_mag.astype(np.float64)) / 2.5))


@dataclass(frozen=True, slots=True)
class SourceColumns:
    """The columns of position and brightness, and what comes along.

    Parameters
    ----------
    source_id, ra, dec, g
        Their names; of ``ra`` and ``dec`` none where the pixels in identifiers are the positions.
    g_is_magnitude
        Whether ``g`` is ``phot_g_mean_mag``: there is no ``phot_g_mean_flux``.
    companions
        Pairs of a companion's name and its column.
    """

    source_id: str
    ra: str
    dec: str
    g: str
    g_is_magnitude: bool
    companions: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        each = (self.source_id, self.ra, self.dec, self.g, *dict(self.companions).values())
        return tuple(dict.fromkeys(filter(None, each)))

    def values(
        self, column: Callable[[str], NDArray[np.float64]], source_id: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        """``ra``, ``dec``, ``phot_g_mean_flux`` in electron/s and companions of N rows.

        Parameters
        ----------
        column
            Gives the values of a column, float64, with shape (N,), NaN where missing.
        source_id
            The rows' identifiers, with shape (N,).
        """
        if self.ra:
            ra, dec = positive_ra(column(self.ra)), column(self.dec)
        else:
            ra, dec = source_id_position(source_id)
        g = column(self.g)
        flux = flux_of_magnitude(g) if self.g_is_magnitude else g
        companions = {name: column(its) for name, its in self.companions}
        return {"ra": ra, "dec": dec, "phot_g_mean_flux": flux, **companions}


@dataclass(frozen=True, slots=True)
class XpColumns:
    """The columns of the spectra.

    Parameters
    ----------
    source_id
        Identifier.
    coefficients, errors
        One group for BP and one for RP, or one for both side by side.  A group is the name of one
        array column, or the names of scalar columns in order.  ``errors`` is empty if the table has
        none.
    is_scalar
        Whether groups are of scalar columns.
    n_parameters
        The columns ``bp_n_parameters`` and ``rp_n_parameters``, which hold the numbers of
        coefficients; empty if the table has none.
    companions
        Pairs of the name and the column of what comes along from this table.
    """

    source_id: str
    coefficients: tuple[tuple[str, ...], ...]
    errors: tuple[tuple[str, ...], ...]
    is_scalar: bool
    n_parameters: tuple[str, ...] = ()
    companions: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (
            self.source_id,
            *(name for group in (*self.coefficients, *self.errors) for name in group),
        )

    def __str__(self) -> str:
        groups = [
            group[0] if len(group) == 1 else f"{group[0]}..{group[-1]}"
            for group in self.coefficients
        ]
        return ", ".join(groups) + ("" if self.errors else ", without errors")


def find_source_columns(
    names: Iterable[str],
    where: str,
    release: Release = DR3,
    choice: ColumnChoice | None = None,
) -> SourceColumns | None:
    """The position and brightness columns among ``names``; ``None`` if the table lacks any of them.

    Parameters
    ----------
    names
        The table's columns, and the paths of fields of structs.
    where
        What to call the table in errors.
    release
        The release that may have other names for columns.
    choice
        What the user says of columns: `xpscale.column_names.ColumnChoice`.

    Raises
    ------
    InvalidInputError
        Two columns have one name, or one that the user names is not there.
    """
    choice = choice or ColumnChoice()
    stated = choice.spectra
    known = known_columns(names, where, release, stated)
    of_flux = G_BAND[0] in known and (G_BAND[0] in stated or G_BAND[1] not in stated)
    g = known.get(G_BAND[0] if of_flux else G_BAND[1])
    at = choice.pixel_positions
    source_id = _source_id(known)
    ra, dec = ("", "") if at else (known.get("ra", ""), known.get("dec", ""))
    if not (source_id and g and (at or (ra and dec))):
        return None
    companions = tuple((name, known[name]) for name in choice.companions if name in known)
    return SourceColumns(source_id, ra, dec, g, not of_flux, companions)


def find_xp_columns(
    names: Iterable[str],
    where: str,
    release: Release = DR3,
    choice: ColumnChoice | None = None,
) -> XpColumns:
    """The columns of identifier, coefficients and errors among ``names``.

    Parameters
    ----------
    names, where, release, choice
        As of `find_source_columns`.

    Raises
    ------
    InvalidInputError
        There are none, or they cannot be told apart; the message says which columns there are.
    """
    choice = choice or ColumnChoice()
    stated = choice.spectra
    known = known_columns(names, where, release, stated)
    given = {name: known[name] for name in COEFFICIENTS if name in stated}
    groups = _groups(given or known, where)
    bands = ("bp", "rp") if (False, "bp") in groups and (False, "rp") in groups else ("",)
    coefficients = [groups.get((False, band)) for band in bands]
    source_id = _source_id(known)
    if not source_id or None in coefficients:
        lacking = "coefficients" if source_id else "source_id"
        raise InvalidInputError(
            f"{where} has no {'XP ' * bool(source_id)}{lacking};"
            f" {candidates(known.values(), [lacking])}",
            "It needs source_id and bp_coefficients with rp_coefficients, or coefficients, or one"
            " column a coefficient; others can be named: --columns-map FILE",
        )
    require_mean_spectra(known.values(), where)
    found_errors = [groups.get((True, band)) for band in bands]
    chosen = tuple(group for group in coefficients if group is not None)
    errors = tuple(group for group in found_errors if group is not None)
    if errors and [len(group) for group in errors] != [len(group) for group in chosen]:
        raise InvalidInputError(
            f"{where} has {len(chosen)} groups of coefficients, and errors for some of them only"
        )
    numbers = tuple(known[name] for name in N_PARAMETERS if name in known)
    both = numbers if len(numbers) == len(N_PARAMETERS) else ()
    wanted = (name for name in OF_SPECTRA if name in known and name in choice.companions)
    companions = tuple((name, known[name]) for name in wanted)
    return XpColumns(source_id, chosen, errors, len(chosen[0]) > 1, both, companions)


def _groups(known: Mapping[str, str], where: str) -> dict[tuple[bool, str], tuple[str, ...]]:
    """Columns of coefficients, by whether they are errors and by band, which is empty for both
    together.
    """
    arrays: dict[tuple[bool, str], list[str]] = {}
    scalars: dict[tuple[bool, str], dict[int, str]] = {}
    for lower, name in known.items():
        match = _LONG.fullmatch(lower) or _SHORT.fullmatch(lower)
        if match is None:
            continue
        kind = (bool(match["e"] or match["error"]), (match["band"] or "").replace("xp", ""))
        if match["index"] is None:
            arrays.setdefault(kind, []).append(name)
        else:
            scalars.setdefault(kind, {})[int(match["index"])] = name
    groups: dict[tuple[bool, str], tuple[str, ...]] = {
        kind: _one(found, where) for kind, found in arrays.items()
    }
    for kind, found in scalars.items():
        if kind not in groups:
            groups[kind] = _in_order(found, where)
    return groups


def _source_id(known: Mapping[str, str]) -> str:
    return next((known[name] for name in SOURCE_IDS if name in known), "")


def _one(names: list[str], where: str) -> tuple[str]:
    if len(names) > 1:
        raise InvalidInputError(
            f"{where} has {' and '.join(names)}, which mean the same",
            "Remove one of them, or say which it is: --columns-map FILE",
        )
    return (names[0],)


def _in_order(names: Mapping[int, str], where: str) -> tuple[str, ...]:
    first = min(names)
    missing = set(range(first, first + len(names))) - set(names)
    if missing or first > 1:
        raise InvalidInputError(
            f"{where} has {len(names)} columns like {names[first]}, but not number"
            f" {min(missing, default=0)}",
            "Scalar coefficient columns must be numbered without a gap from 0 or 1",
        )
    return tuple(names[index] for index in sorted(names))
