"""Which columns of a user's table are its positions and its identifiers, and what they hold."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError
from xpscale.gaia_ids import ids_of_rows, letters
from xpscale.nested import is_text
from xpscale.query.coordinates import angle_deg
from xpscale.query.engine import unknown_column
from xpscale.query.identifier_files import chosen_column
from xpscale.release import Release

__all__ = ["identifiers", "positions"]

NAMES = {
    "ra": "ra radeg raicrs rightascension raj2000 sra alpha alphaj2000 alphawinj2000 meanra",
    "dec": (
        "dec de decdeg dedeg decicrs deicrs declination dej2000 decj2000 sdec decl delta deltaj2000"
        " deltawinj2000 meandec"
    ),
}
"""What positions are called, in letters and digits, in the order in which they are looked for."""

LIMITS = {"ra": (-180.0, 360.0), "dec": (-90.0, 90.0)}
MOST_SHOWN = 5
log = logging.getLogger("xpscale")


def positions(
    table: pa.Table, where: str, columns: Mapping[str, str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right ascension (0 to 360) and declination of each row in degrees, NaN where missing, each
    with shape (N,).

    Parameters
    ----------
    table
        The user's table.
    where
        What messages call it.
    columns
        What the user says that ``ra`` and ``dec`` are called.

    Raises
    ------
    InvalidInputError
        There is no such column, or a row holds no position on the sky.
    """
    ra, dec = (
        _angles(table, _column(table, where, axis, columns.get(axis, "")), where, axis)
        for axis in ("ra", "dec")
    )
    lacking = np.flatnonzero(np.isnan(ra) | np.isnan(dec))
    if len(lacking):
        rows = ", ".join(map(str, lacking[:MOST_SHOWN] + 1)) + ", ..." * (len(lacking) > MOST_SHOWN)
        log.warning(
            "%s: %s of %s rows have no position, and match nothing: row %s",
            where,
            len(lacking),
            len(ra),
            rows,
        )
        ra[lacking] = dec[lacking] = np.nan
    return ra % 360, dec


def _column(table: pa.Table, where: str, axis: str, stated: str) -> str:
    if stated:
        if stated not in table.column_names:
            raise unknown_column(stated, table.column_names)
        return stated
    fields = {letters(name.rpartition(".")[2]): name for name in reversed(table.column_names)}
    known = fields | {letters(name): name for name in reversed(table.column_names)}
    found = next((known[name] for name in NAMES[axis].split() if name in known), "")
    if not found:
        raise InvalidInputError(
            f"{where} has no column {axis}; its columns are {_listed(table.column_names)}",
            f"Say which it is (--{axis} NAME, {axis}='NAME'); without a radius, rows are matched by"
            " source_id",
        )
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + ", ..." * (len(names) > 12)


def _angles(table: pa.Table, name: str, where: str, axis: str) -> NDArray[np.float64]:
    """A column as degrees: numbers in its unit, or text as `xpscale.query.coordinates` reads it."""
    rows, kind = table[name], table[name].type
    if is_text(kind):
        values = np.array(
            [_of_text(text, where, i, axis) for i, text in enumerate(rows.to_pylist(), 1)], float
        )
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = rows.cast(pa.float64()).fill_null(np.nan).to_numpy().copy()
        values *= _degrees_per_unit(table.schema.field(name), where)
    elif pa.types.is_null(kind):
        values = np.full(len(rows), np.nan)
    else:
        raise InvalidInputError(
            f"{where}: column {name!r} is {kind}, which is no angle", f"Say which is: --{axis} NAME"
        )
    low, high = LIMITS[axis]
    wrong = np.flatnonzero((values < low) | (values > high))
    if len(wrong):
        others = f", and so are {len(wrong) - 1:,} others" if len(wrong) > 1 else ""
        raise InvalidInputError(
            f"{where}, row {wrong[0] + 1}: {name} is {values[wrong[0]]:g}, outside {low:g} to"
            f" {high:g} degrees{others}",
            "Correct the rows, or leave the positions empty",
        )
    return values


def _of_text(text: str | None, where: str, row: int, axis: str) -> float:
    if text is None or not text.strip():
        return np.nan
    return angle_deg(text, is_ra=axis == "ra", name=f"{where}, row {row}: {axis}")


def _degrees_per_unit(field: pa.Field, where: str) -> float:
    unit = (field.metadata or {}).get(b"unit", b"").decode()
    if unit in ("", "deg"):
        return 1.0
    from astropy.units import Unit, UnitConversionError

    try:
        return float(Unit(unit).to("deg"))
    except (ValueError, UnitConversionError) as error:
        raise InvalidInputError(
            f"{where}: column {field.name!r} is in {unit}, which is no angle", "Give degrees"
        ) from error


def identifiers(
    table: pa.Table, where: str, stated: str, release: Release
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The identifier of each row, and whether it has one, each with shape (N,).

    Parameters
    ----------
    table, where
        The user's table, and what messages call it.
    stated
        What the user says that the column is called.
    release
        The release whose identifiers they are.

    Raises
    ------
    InvalidInputError
        There is no such column, or an entry is no identifier.
    """
    if stated and stated not in table.column_names:
        raise unknown_column(stated, table.column_names)
    name = stated or chosen_column(table.column_names, where, release)
    return ids_of_rows(table[name].combine_chunks(), where, f"{where}, row", release)
