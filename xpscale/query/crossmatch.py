"""A user's list of stars against the catalogue, by position or by identifier.

By position: rows r of the list and sources s with a great-circle distance of at most the radius.
Every row is entered under the pixel that it lies in and under the eight about it
(`xpscale.query.region.pixels_around`); a source within the radius lies in one of the nine.  The
database joins on pixel numbers and then computes distances (haversine formula, Sinnott 1984, Sky &
Telescope 68, 159)::

    h = sin^2((dec_s - dec_r) / 2) + cos(dec_s) cos(dec_r) sin^2((ra_s - ra_r) / 2)
    separation = 2 arcsin(sqrt(h))

Parts of the catalogue are read group by group, and only those that a row may lie in; a match across
the border of two parts is one like any other.  Positions are compared as they stand: no proper
motion is applied, so a list of another epoch should be brought to the catalogue's first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError
from xpscale.query.catalog_rows import CatalogRows
from xpscale.query.coordinates import is_number, radius_deg
from xpscale.query.frames import Result
from xpscale.query.joined import Joined
from xpscale.query.region import Ranges, merged, pixels_around, within
from xpscale.query.user_positions import identifiers, positions
from xpscale.query.user_table import name_of, read_table
from xpscale.query.version import PREFIX
from xpscale.sky import INDEX_ORDER
from xpscale.types import Part

__all__ = ["FIND", "SEPARATION", "crossmatch"]

FIND = ("best", "all")
SEPARATION = "separation_arcsec"
MINE = "_mine"
"""What is put behind the name of a user's column if the catalogue has one of that name."""

WIDEST_DEG = 30
GROUP_PARTS = 32
TABLE_META = f"{PREFIX}table_meta".encode()

HAVERSINE = (
    "pow(sin(radians(dec - _dec) / 2), 2)"
    " + cos(radians(dec)) * cos(radians(_dec)) * pow(sin(radians(ra - _ra) / 2), 2)"
)


def crossmatch(
    rows: CatalogRows,
    table: Any,
    radius: Any = None,
    columns: Mapping[str, str] | None = None,
    *,
    find: str = "best",
    unmatched: bool = False,
    track: Callable[[Sequence[Any]], Iterable[Any]] | None = None,
) -> Result:
    """The rows of a user's table with what the catalogue has of them.

    Parameters
    ----------
    rows
        Which rows of the catalogue may match, and the columns that are wanted of them.
    table
        A file (FITS, VOTable, ECSV, Parquet, CSV), a table of astropy, pandas, polars or Arrow, or
        positions as ``SkyCoord``: see `xpscale.query.user_table.read_table`.
    radius
        The largest separation: a number in arcsec, a quantity, or text with a unit.  Without it,
        rows are matched by ``source_id``.
    columns
        What the user's columns ``ra``, ``dec`` and ``source_id`` are called; else they are found by
        their usual names.  Positions are ICRS.
    find
        ``"best"``: the nearest source of each row; ``"all"``: every one within the radius.
    unmatched
        Keep the rows of the table that match nothing, with NULL in the catalogue's columns.
    track
        Shows progress: gives back the groups of parts that it is given, one by one.

    Returns
    -------
    Result
        All columns of the user, in the order of the table; a name that the catalogue has, too, ends
        on ``_mine``.  Then ``separation_arcsec``, if matched by position, and the catalogue's
        columns.

    Raises
    ------
    InvalidInputError
        The table lacks a column, a row has no position on the sky or no identifier, or the radius
        is none.
    NotFoundError
        There is no such file.
    """
    if find not in FIND:
        raise InvalidInputError(f"find is {find!r}", f"Choose one of {', '.join(FIND)}")
    if rows.most is not None:
        raise InvalidInputError(
            "a selection with a limit cannot be matched", "Take .head(n) of the result"
        )
    mine, where, names = read_table(table), name_of(table), dict(columns or {})
    if radius is None:
        number, found = _by_identifier(rows, mine, where, names.get("source_id", ""))
        how = "by source_id"
    else:
        limit = float(radius) / 3600 if is_number(radius) else radius_deg(radius)
        if not 0 < limit <= WIDEST_DEG:
            raise InvalidInputError(
                f"the radius is {radius}, which is not above 0 and at most {WIDEST_DEG} degrees",
                "Give arcsec, or a unit: 1, 0.5arcmin",
            )
        number, found = _by_position(rows, positions(mine, where, names), limit, find, track)
        how = f"{limit * 3600:g} arcsec, {find}"
    result = _joined_rows(rows, mine, number, found, unmatched=unmatched)
    words = {**rows.provenance, "query": f"{rows.query}.crossmatch({where}, {how})"}
    meta = (mine.schema.metadata or {}).get(TABLE_META)
    return Result(result, {**words, **({"table_meta": meta.decode()} if meta else {})})


def _by_identifier(
    rows: CatalogRows, mine: pa.Table, where: str, stated: str
) -> tuple[NDArray[np.int64], pa.Table]:
    """Numbers of the user's rows that are found, with shape (M,), and the M sources."""
    wanted, known = identifiers(mine, where, stated, rows.catalog.release)
    ids = np.unique(wanted[known])
    if rows.source_ids is not None:
        ids = ids[np.isin(ids, rows.source_ids)]
    names = dict.fromkeys(("source_id", *rows.column_names))
    found = replace(rows, source_ids=ids).columns(*names).to_table()
    order = np.argsort(found["source_id"].to_numpy())
    there = found["source_id"].to_numpy()[order]
    place = np.searchsorted(there, wanted)
    hit = known & (place < len(there))
    hit[hit] = there[place[hit]] == wanted[hit]
    return np.flatnonzero(hit), found.take(pa.array(order[place[hit]])).select(rows.column_names)


def _by_position(
    rows: CatalogRows,
    at: tuple[NDArray[np.float64], NDArray[np.float64]],
    limit_deg: float,
    find: str,
    track: Callable[[Sequence[Any]], Iterable[Any]] | None,
) -> tuple[NDArray[np.int64], pa.Table]:
    """Numbers of the user's rows, with shape (M,), and the M sources, with their separations."""
    order, cell, row = pixels_around(*at, limit_deg)
    shift, cells = 2 * (INDEX_ORDER - order), np.unique(cell)
    near = pa.table({"_cell": cell, "_row": row, "_ra": at[0][row], "_dec": at[1][row]})
    ranges = merged(zip((cells << shift).tolist(), (cells + 1 << shift).tolist(), strict=True))
    separation = f"degrees(2 * asin(sqrt(least({HAVERSINE}, 1)))) * 3600"
    names = ", ".join(f'"{name}"' for name in rows.column_names)
    expressions = f"_row, {separation} AS {SEPARATION}, source_id AS _id, {names}"
    window = f"PARTITION BY _row ORDER BY {separation}, source_id"
    tail = f"QUALIFY row_number() OVER ({window}) = 1" if find == "best" else ""
    conditions = (f"{HAVERSINE} <= {math.sin(math.radians(limit_deg) / 2) ** 2!r}",)
    parts = within(rows.parts, ranges)
    groups = [parts[i : i + GROUP_PARTS] for i in range(0, len(parts), GROUP_PARTS)] or [()]
    found = []
    for group in groups if track is None else track(groups):
        joined = Joined(
            lambda connection: connection.register("_near", near),
            f"_near ON _healpix_29 >> {shift} = _cell",
            conditions,
            _clipped(ranges, group),
        )
        with rows.run(expressions, tail, joined=joined) as relation:
            found.append(relation.to_arrow_table())
    table = pa.concat_tables(found)
    keys = [table[name].to_numpy() for name in ("_id", SEPARATION, "_row")]
    number = np.lexsort(keys)
    if find == "best":
        number = number[np.diff(keys[-1][number], prepend=-1) > 0]  # the first of each row
    return keys[-1][number], table.take(pa.array(number)).drop(["_row", "_id"])


def _clipped(ranges: Ranges, parts: Sequence[Part]) -> Ranges:
    """What some sorted ranges have in common with the span of sorted parts."""
    if not parts:
        return []
    first, last = parts[0].pixel.index_range[0], parts[-1].pixel.index_range[1]
    starts, stops = np.array(ranges, np.int64).reshape(-1, 2).T
    held = ranges[np.searchsorted(stops, first, "right") : np.searchsorted(starts, last, "left")]
    return [(max(start, first), min(stop, last)) for start, stop in held]


def _joined_rows(
    rows: CatalogRows,
    mine: pa.Table,
    number: NDArray[np.int64],
    found: pa.Table,
    *,
    unmatched: bool,
) -> pa.Table:
    """Rows of the user's table, each followed by what was found for it."""
    place = pa.array(np.arange(len(number)))
    if unmatched:
        lacking = np.setdiff1d(np.arange(mine.num_rows), number)
        all_numbers = np.concatenate([number, lacking])
        order = np.argsort(all_numbers, kind="stable")
        number, is_lacking = all_numbers[order], order >= len(place)
        place = pa.array(np.where(is_lacking, 0, order), mask=is_lacking)
    fields = [_separation_field()] if SEPARATION in found.column_names else []
    fields += [rows.schema.field(name).with_nullable(True) for name in rows.column_names]
    theirs = found.cast(pa.schema(fields)).take(place)
    ours = mine.take(pa.array(number))
    taken = {name.casefold() for name in theirs.column_names}
    names = _free_names(mine.column_names, taken)
    fields = [field.with_name(name) for field, name in zip(mine.schema, names, strict=True)]
    return pa.Table.from_arrays(
        [*ours.columns, *theirs.columns],
        schema=pa.schema([*fields, *theirs.schema], rows.schema.metadata),
    )


def _separation_field() -> pa.Field:
    words = {"unit": "arcsec", "ucd": "pos.angDistance", "description": "Distance of the two"}
    return pa.field(SEPARATION, pa.float64(), metadata=words)


def _free_names(names: Sequence[str], taken: set[str]) -> list[str]:
    """Names of the user's columns, each different from those of the catalogue and of each other."""
    used, found = {*taken}, []
    for name in names:
        free = name if name.casefold() not in used else f"{name}{MINE}"
        while free.casefold() in used:
            free += MINE
        used.add(free.casefold())
        found.append(free)
    return found
