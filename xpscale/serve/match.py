"""Matching an uploaded table with the catalogue by position, without comparing each with each.

Each uploaded row is joined with the numbers of the nine pixels that hold its circle
(`xpscale.query.region.pixels_around`), these with the pixel of each source, and only such pairs are
compared.  Parts without such a pixel stay closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlglot import exp

from xpscale.query.convert import array
from xpscale.query.region import pixels_around
from xpscale.serve.adql_shapes import constant, shape_of
from xpscale.serve.prune import compared, conjuncts, flat, is_position
from xpscale.serve.served_tables import CATALOG, UPLOAD
from xpscale.serve.uploads import Upload
from xpscale.sky import INDEX_ORDER
from xpscale.types import Part

__all__ = ["Match", "matches"]


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """A condition that joins a table of the catalogue with an uploaded one.

    Parameters
    ----------
    source, upload
        Names of the two in their SELECT.
    condition
        The condition in the tree.
    order
        HEALPix order of the pixels.
    pixels
        Columns ``cell`` and ``row``: the nine pixels of each uploaded row.
    """

    source: str
    upload: str
    condition: exp.Expr
    order: int
    pixels: pa.Table

    @property
    def shift(self) -> int:
        """Bits between ``_healpix_29`` and the pixels."""
        return 2 * (INDEX_ORDER - self.order)

    def opened(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """Those of some parts that have one of the pixels.

        Parameters
        ----------
        parts
            Of one product.
        """
        cells = np.unique(array(self.pixels["cell"]))
        spans = np.array([part.pixel.index_range for part in parts], np.int64).reshape(-1, 2)
        first = np.searchsorted(cells, spans[:, 0] >> self.shift)
        last = np.searchsorted(cells, (spans[:, 1] - 1) >> self.shift, side="right")
        return tuple(part for part, any_in in zip(parts, first < last, strict=True) if any_in)


def matches(select: exp.Select, uploads: Mapping[str, Upload]) -> dict[str, Match]:
    """What joins each table of the catalogue in a SELECT with an uploaded one, by its name there.

    Parameters
    ----------
    select
        A SELECT of a resolved query.
    uploads
        The uploaded tables, by name.
    """
    tables = {table.alias_or_name: table for table in select.find_all(exp.Table)}
    found: dict[str, Match] = {}
    for condition in _joining(select):
        pair = _pair(condition)
        if pair is None or pair[0] in found:
            continue
        source, circle = pair
        ra, dec, radius = (number.unnest() for number in circle)
        upload = ra.text("table")
        theirs = tables[upload].name if upload in tables else ""
        rows = {name.lower(): each.rows for name, each in uploads.items()}.get(theirs)
        radius_deg = constant(radius)
        is_ours = source in tables and tables[source].db == CATALOG
        if rows is None or not is_ours or tables[upload].db != UPLOAD.lower() or not radius_deg:
            continue
        by_name = {name.lower(): rows[name] for name in rows.column_names}
        at = _degrees(by_name[ra.name]), _degrees(by_name[dec.name])
        order, cells, number = pixels_around(*at, radius_deg)
        pixels = pa.table({"cell": cells, "row": number})
        found[source] = Match(source, upload, condition, order, pixels)
    return found


def _joining(select: exp.Select) -> Iterator[exp.Expr]:
    """Conditions of pairs: those of all rows, and those of LEFT JOINs that add sources."""
    yield from conjuncts(select)
    for join in select.args.get("joins") or ():
        if join.side == "LEFT" and join.args.get("on") and isinstance(join.this, exp.Table):
            for condition in flat([join.args["on"]]):
                pair = _pair(condition)
                if pair and pair[0] == join.this.alias_or_name:
                    yield condition


def _pair(condition: exp.Expr) -> tuple[str, tuple[exp.Expr, ...]] | None:
    """The table whose position lies in a circle around columns of another, and the circle."""
    found = compared(condition)
    if found is None:
        return None
    call, number = found
    name = str(call.this).upper()
    if name not in ("CONTAINS", "INTERSECTS") or not isinstance(condition, exp.EQ) or number != 1:
        return None
    shapes = [shape_of(argument) for argument in call.expressions]
    if [shape.kind for shape in shapes] != ["POINT", "CIRCLE"]:
        return None
    source, numbers = is_position(shapes[0].numbers), shapes[1].numbers
    centre = [number.unnest() for number in numbers[:2]]
    is_column = all(isinstance(number, exp.Column) for number in centre)
    one_table = centre[0].text("table") == centre[1].text("table") != source
    return (source, numbers) if source and is_column and one_table else None


def _degrees(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values = column.cast(pa.float64()).fill_null(np.nan)
    return np.asarray(values.to_numpy(zero_copy_only=False))
