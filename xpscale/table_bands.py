"""How many of a table's coefficients are BP, and how many RP: one rule for tables of any format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xpscale.bands import Bands
from xpscale.columns import XpColumns
from xpscale.errors import InvalidInputError
from xpscale.release import DR3, Release

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["StatedBands", "bands_of", "bands_of_numbers"]


@dataclass(frozen=True, slots=True)
class StatedBands:
    """What is said about the bands of a table besides the widths of its columns.

    Parameters
    ----------
    by_user
        What the user says.
    by_columns
        What its columns ``bp_n_parameters`` and ``rp_n_parameters`` say.
    n_bp
        What its metadata say of BP.
    release
        Its release, as far as it is known.
    """

    by_user: Bands | None = None
    by_columns: Bands | None = None
    n_bp: int | None = None
    release: Release | None = None


def bands_of(
    columns: XpColumns, widths: tuple[int, ...], where: str, stated: StatedBands | None = None
) -> Bands:
    """How many of a table's coefficients are BP, and how many RP.

    Two groups of columns say it themselves.  Of one group the first of these decides: the user,
    columns of numbers of parameters, metadata, and the fixed bands of the release (DR3, if none is
    known) where they fit.

    Parameters
    ----------
    columns
        The columns of the spectra.
    widths
        Coefficients in each group of columns: of both bands, or of all together; 0 of a band that
        no row has, whose number the user or the release says.
    where
        What to call the table in errors.
    stated
        What else is said about them.

    Raises
    ------
    InvalidInputError
        The table does not tell, or says something else than was stated.
    """
    stated, total = stated or StatedBands(), sum(widths)
    if len(widths) == 2 and all(widths):
        found: Bands | None = Bands(*widths)
    elif len(widths) == 2:
        return _with_unseen_band(widths, where, stated)
    else:
        metadata = None if stated.n_bp is None else Bands(stated.n_bp, total - stated.n_bp)
        fixed = (stated.release or DR3).bands
        fits = fixed is not None and fixed.n_coefficients == total
        found = stated.by_user or stated.by_columns or metadata or (fixed if fits else None)
    if found is None:
        raise InvalidInputError(
            f"{where} does not tell how many of its {total} coefficients in"
            f" {columns.coefficients[0][0]} are BP",
            "Say so: --bands N_BP,N_RP; or give bp_ and rp_coefficients apart",
        )
    if found.n_coefficients != total or stated.by_user not in (None, found):
        raise InvalidInputError(
            f"{where} has {' + '.join(map(str, widths))} coefficients, not"
            f" {stated.by_user or found}",
            "Correct --bands, or say which release it is: --release",
        )
    return found


def _with_unseen_band(widths: tuple[int, ...], where: str, stated: StatedBands) -> Bands:
    known = stated.by_user or (stated.release or DR3).bands
    band = "BP" if not widths[0] else "RP"
    if known and any(widths) and widths in ((0, known.n_rp), (known.n_bp, 0)):
        return known
    raise InvalidInputError(
        f"{where} has no row with {band} coefficients, and nothing says how many there would be",
        "Say so: --bands N_BP,N_RP",
    )


def bands_of_numbers(columns: Sequence[NDArray[np.float64]]) -> Bands | None:
    """The bands that columns of numbers of parameters tell; ``None`` if no row has both.

    Parameters
    ----------
    columns
        ``bp_n_parameters`` and ``rp_n_parameters``, each with shape (N,), NaN where missing.
    """
    largest = [int(np.nanmax(column, initial=0)) for column in columns]
    return Bands(*largest) if all(largest) else None
