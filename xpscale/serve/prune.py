"""Which parts of the catalogue a query can need: what its constant shapes and identifiers leave.

A condition counts if every row of the result satisfies it: one that WHERE, or the ON of an inner
join, requires.  Tables that are joined by ``source_id`` lie in the same pixels, so what holds for
one holds for the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from sqlglot import exp

from xpscale.query.lookup import locate
from xpscale.query.region import Cone, within
from xpscale.query.version import CatalogVersion
from xpscale.serve.adql_shapes import constant, shape_of
from xpscale.serve.served_tables import CATALOG
from xpscale.types import Part

__all__ = ["Wanted", "compared", "conjuncts", "flat", "is_position", "wanted_by_table"]


@dataclass(slots=True)
class Wanted:
    """What is wanted of one table in one SELECT.

    Parameters
    ----------
    cones
        Cones that hold its rows, all of them.
    source_ids
        Identifiers of its rows, ``None`` for any.
    """

    cones: list[Cone] = field(default_factory=list)
    source_ids: list[int] | None = None

    def parts(self, version: CatalogVersion, product: str) -> tuple[tuple[Part, ...], list[str]]:
        """The parts that can hold the rows, and conditions that skip row groups of these.

        Parameters
        ----------
        version
            The catalogue.
        product
            Which product, or the labels.
        """
        parts, bounds = version.parts_of(product), []
        if self.source_ids is not None:
            found = locate(version, np.unique(np.array(self.source_ids, np.int64))).parts
            pixels = {part.pixel for part in found}
            parts = tuple(part for part in parts if part.pixel in pixels)
        for cone in self.cones:
            ranges = cone.index_ranges()
            parts = within(parts, ranges)
            each = (f"_healpix_29 BETWEEN {start} AND {stop - 1}" for start, stop in ranges)
            bounds.append(f"({' OR '.join(each)})")
        return parts, bounds


def wanted_by_table(select: exp.Select) -> dict[str, Wanted]:
    """What is wanted of each of the catalogue's tables of a SELECT, by its name there.

    Parameters
    ----------
    select
        A SELECT of a resolved query.
    """
    tables = {table.alias_or_name for table in _tables(select) if table.db == CATALOG}
    found = {name: Wanted() for name in tables}
    for condition in conjuncts(select):
        if (cone := _cone(condition)) is not None:
            found[cone[0]].cones.append(cone[1]) if cone[0] in found else None
        elif (ids := _source_ids(condition)) is not None and ids[0] in found:
            found[ids[0]].source_ids = ids[1]
    for first, second in _joined(select):
        if first in found and second in found:
            one, other = found[first], found[second]
            one.cones = other.cones = list({id(c): c for c in one.cones + other.cones}.values())
            if one.source_ids is None or other.source_ids is None:
                one.source_ids = other.source_ids = one.source_ids or other.source_ids
    return found


def conjuncts(select: exp.Select) -> Iterator[exp.Expr]:
    """The conditions that every row of a SELECT's result satisfies.

    Parameters
    ----------
    select
        The SELECT.
    """
    where, joins = select.args.get("where"), select.args.get("joins") or []
    yield from flat([where.this] if where else [])
    if not any(join.side for join in joins):  # an outer join keeps rows that no ON holds for
        yield from flat(join.args["on"] for join in joins if join.args.get("on"))


def flat(conditions: Iterable[exp.Expr]) -> Iterator[exp.Expr]:
    """Conditions taken apart at AND."""
    for condition in conditions:
        inner = condition.unnest()
        if isinstance(inner, exp.And):
            yield from flat([inner.left, inner.right])
        else:
            yield inner


def _tables(select: exp.Select) -> Iterator[exp.Table]:
    joins = select.args.get("joins") or []
    for source in [select.args.get("from_"), *joins]:
        if source is not None and isinstance(source.this, exp.Table):
            yield source.this


def _joined(select: exp.Select) -> Iterator[tuple[str, str]]:
    """Names of tables whose rows are joined by ``source_id``, in whatever kind of join."""
    joins = select.args.get("joins") or []
    where = select.args.get("where")
    conditions = [join.args["on"] for join in joins if join.args.get("on")]
    for condition in flat(conditions + ([where.this] if where else [])):
        if isinstance(condition, exp.EQ):
            columns = [
                side.unnest()
                for side in (condition.left, condition.right)
                if isinstance(side.unnest(), exp.Column) and side.unnest().name == "source_id"
            ]
            if len(columns) == 2:
                yield columns[0].text("table"), columns[1].text("table")


def is_position(numbers: tuple[exp.Expr, ...]) -> str:
    """The name of the table whose position two numbers are, empty if they are something else.

    Parameters
    ----------
    numbers
        Of a POINT.
    """
    ra, dec = (number.unnest() for number in numbers)
    if not (isinstance(ra, exp.Column) and isinstance(dec, exp.Column)):
        return ""
    return ra.table if (ra.name, dec.name, ra.table) == ("ra", "dec", dec.table) else ""


def compared(condition: exp.Expr) -> tuple[exp.Anonymous, float] | None:
    """The function and the number of ``f(..) = 1``, ``1 = f(..)``, ``f(..) < 2``, ``2 > f(..)``."""
    if not isinstance(condition, exp.EQ | exp.LT | exp.LTE | exp.GT | exp.GTE):
        return None
    left, right = condition.left.unnest(), condition.right.unnest()
    if isinstance(condition, exp.GT | exp.GTE) or isinstance(right, exp.Anonymous):
        left, right = right, left
    number = constant(right)
    return (left, number) if isinstance(left, exp.Anonymous) and number is not None else None


def _cone(condition: exp.Expr) -> tuple[str, Cone] | None:
    """The table and the cone that a condition says its positions are in."""
    found = compared(condition)
    if found is None:
        return None
    call, number = found
    name = str(call.this).upper()
    if name in ("CONTAINS", "INTERSECTS") and isinstance(condition, exp.EQ) and number == 1:
        shapes = [shape_of(argument) for argument in call.expressions]
        for point, other in (shapes, shapes[::-1]):
            if point.kind == "POINT" and (table := is_position(point.numbers)):
                cone = other.bounding_cone()
                return (table, cone) if cone else None
    return None


def _source_ids(condition: exp.Expr) -> tuple[str, list[int]] | None:
    """The table and the identifiers that a condition says its rows have."""
    column = condition.this.unnest() if isinstance(condition, exp.EQ | exp.In) else None
    if not isinstance(column, exp.Column) or column.name != "source_id":
        return None
    values = [condition.expression] if isinstance(condition, exp.EQ) else condition.expressions
    if not values or not all(
        isinstance(value, exp.Literal)
        and not value.is_string
        and value.this.isdigit()
        and int(value.this) < 2**63
        for value in values
    ):
        return None
    return column.table, [int(value.this) for value in values]
