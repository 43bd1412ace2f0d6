"""From ADQL to what DuckDB runs: one SELECT over the parts that can hold its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from xpscale.query.engine import scan
from xpscale.query.version import CatalogVersion
from xpscale.schema import Column
from xpscale.serve import functions, geometry
from xpscale.serve.adql import parse
from xpscale.serve.adql_shapes import constant, shape_of
from xpscale.serve.functions import GEOMETRY
from xpscale.serve.match import matches
from xpscale.serve.prune import Wanted, compared, wanted_by_table
from xpscale.serve.resolve import origins, resolve
from xpscale.serve.served_tables import CATALOG, UPLOAD, ServedTable
from xpscale.serve.uploads import Upload

__all__ = ["Plan", "plan", "upload_name"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Parameters
    ----------
    sql
        One SELECT of DuckDB.
    columns
        The columns of its result; the type of a computed one is null.
    tables
        Tables that it needs, by name.
    """

    sql: str
    columns: tuple[Column, ...]
    tables: Mapping[str, pa.Table]


def plan(
    query: str,
    version: CatalogVersion,
    tables: Sequence[ServedTable],
    uploads: Mapping[str, Upload],
    max_rows: int,
) -> Plan:
    """What to run for a query.

    Parameters
    ----------
    query
        ADQL.
    version
        The catalogue.
    tables
        The tables of the service.
    uploads
        The user's tables, by name.
    max_rows
        The most rows to give; one more is asked for, which tells that there are more.

    Raises
    ------
    InvalidInputError
        The query cannot be read or names what is not there.
    """
    tree = parse(query)
    names = [select.alias if isinstance(select, exp.Alias) else "" for select in tree.selects]
    tree, known = resolve(tree, (*tables, *(upload.table for upload in uploads.values())))
    columns = origins(tree, names, known)
    _limit(tree, max_rows + 1)
    scans, needed = _scans(tree, version, uploads)
    _translate(tree)
    for table, sql in scans:
        table.replace(exp.Subquery(this=exp.Var(this=sql), alias=table.args["alias"]))
    for table in list(tree.find_all(exp.Table)):
        if table.db == UPLOAD.lower():
            table.set("this", exp.to_identifier(upload_name(table.name), quoted=True))
            table.set("db", None)
    needed |= {upload_name(name): upload.rows for name, upload in uploads.items()}
    return Plan(tree.sql(dialect="duckdb", identify=True), tuple(columns), needed)


def upload_name(name: str) -> str:
    """What an uploaded table is called in DuckDB."""
    return f"upload_{name.lower()}"


def _limit(tree: exp.Query, most: int) -> None:
    limit = tree.args.get("limit")
    given = constant(limit.expression) if limit else None
    if given is None or given > most:
        tree.limit(most, copy=False)


def _scans(
    tree: exp.Query, version: CatalogVersion, uploads: Mapping[str, Upload]
) -> tuple[list[tuple[exp.Table, str]], dict[str, pa.Table]]:
    """The catalogue's tables in a query, each with the SELECT that reads it, and tables that these
    need.
    """
    found: list[tuple[exp.Table, str]] = []
    needed: dict[str, pa.Table] = {}
    for select in list(tree.find_all(exp.Select)):
        wanted, near = wanted_by_table(select), matches(select, uploads)
        for table in select.find_all(exp.Table):
            if table.db != CATALOG or table.find_ancestor(exp.Select) is not select:
                continue
            name = table.alias_or_name
            parts, bounds = wanted.get(name, Wanted()).parts(version, table.name)
            match = near.get(name)
            parts = match.opened(parts) if match else parts
            where = " AND ".join(bounds) or "true"
            sql = f"SELECT * FROM {scan(version, parts, table.name)} WHERE {where}"
            if match:
                cells = f"cells_{len(needed)}"
                needed[cells] = match.pixels
                pairs = f'"{cells}" AS c ON c.cell = s._healpix_29 >> {match.shift}'
                sql = f"SELECT s.*, c.row AS _row FROM ({sql}) AS s JOIN {pairs}"
                same = exp.EQ(
                    this=exp.column("_row", name), expression=exp.column("rowid", match.upload)
                )
                match.condition.replace(exp.and_(match.condition.copy(), same))
            found.append((table, sql))
    return found, needed


def _translate(tree: exp.Query) -> None:
    """Replace ADQL's functions and numbers by DuckDB's."""
    for number in list(tree.find_all(exp.Literal)):
        if not number.is_string and "." in number.this and "e" not in number.this.lower():
            number.set("this", f"{number.this}e0")  # a double, not a decimal number
    for call in reversed(list(tree.find_all(exp.Anonymous))):
        if str(call.this).upper() not in GEOMETRY:
            call.replace(functions.in_duckdb(call))
    for equation in list(tree.find_all(exp.EQ)):
        _unfold(equation)
    while shape := next(
        (call for call in tree.find_all(exp.Anonymous) if str(call.this).upper() in GEOMETRY), None
    ):
        shape.replace(geometry.in_duckdb(shape))


def _unfold(equation: exp.EQ) -> None:
    """``1 = CONTAINS(..)`` as the condition that it is, which is quicker than a number for it."""
    found = compared(equation)
    name = str(found[0].this).upper() if found else ""
    if found and name in ("CONTAINS", "INTERSECTS") and found[1] in (0, 1):
        shapes = [shape_of(argument) for argument in found[0].expressions]
        holds = exp.Paren(this=geometry.relation(name, *shapes))
        equation.replace(holds if found[1] else exp.Not(this=holds))
