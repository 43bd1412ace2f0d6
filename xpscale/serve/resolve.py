"""Which column of which table every name in a query means, and where each column of its result
comes from.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pyarrow as pa
from sqlglot import exp
from sqlglot.errors import OptimizeError, SchemaError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope
from sqlglot.schema import MappingSchema

from xpscale.errors import InvalidInputError
from xpscale.query.engine import unknown_column
from xpscale.schema import Column
from xpscale.serve.adql import ADQL
from xpscale.serve.served_tables import CATALOG, ServedTable

__all__ = ["origins", "resolve"]

Tables = dict[tuple[str, str], ServedTable]
"""By schema and name, both in small letters."""


def resolve(tree: exp.Query, served: Iterable[ServedTable]) -> tuple[exp.Query, Tables]:
    """The query with every column named by its table, stars spelled out, and the tables by name.

    Parameters
    ----------
    tree
        A query that `xpscale.serve.adql.parse` has approved.
    served
        The tables that it can name.

    Raises
    ------
    InvalidInputError
        A table or column is not there (with the nearest that is), or is in several tables.
    """
    tables = {(table.schema.lower(), table.name.lower()): table for table in served}
    tree = _in_small_letters(tree.copy())
    common = {cte.alias for cte in tree.find_all(exp.CTE)}
    for named in tree.find_all(exp.Table):
        if named.db or named.name not in common:
            _require_table(named, tables)
    schema: dict[str, Any] = {}
    for (owner, name), table in tables.items():
        schema.setdefault(owner, {})[name] = dict.fromkeys(table.columns, "unknown")
    try:
        found = qualify(
            tree,
            dialect=ADQL,
            schema=MappingSchema(schema, dialect=ADQL, normalize=False),
            db=CATALOG,
        )
    except (OptimizeError, SchemaError) as error:
        raise _explained(str(error), tree, tables) from error
    assert isinstance(found, exp.Query)
    return found, tables


def _in_small_letters(tree: exp.Query) -> exp.Query:
    for node in tree.find_all(exp.Identifier):
        node.set("this", node.name.lower())
        node.set("quoted", False)
    return tree


def _require_table(table: exp.Table, tables: Tables) -> None:
    key = (table.db or CATALOG, table.name)
    if key not in tables:
        names = [known.full_name for known in tables.values()]
        asked = ".".join(filter(None, (table.db, table.name)))
        near = difflib.get_close_matches(asked.lower(), [name.lower() for name in names], 1)
        guess = f"Did you mean {near[0]}? " if near else ""
        raise InvalidInputError(
            f"no table is called {asked!r}", f"{guess}The tables are {', '.join(names)}"
        )


def _explained(said: str, tree: exp.Query, tables: Tables) -> InvalidInputError:
    """What is wrong with a name, from the words of sqlglot."""
    match = re.search(r"'([^']*)'", said) or re.search(r": (\S+)", said)
    name = (match[1] if match else said).strip('"').split(".")[-1]
    named = [tables[key] for table in tree.find_all(exp.Table) if (key := _key(table)) in tables]
    holders = [table.full_name for table in named if name in table.columns]
    if len(holders) > 1:
        return InvalidInputError(
            f"{name!r} is a column of {' and '.join(holders)}",
            f"Say of which: {holders[0].split('.')[-1]}.{name}",
        )
    if "Unknown table" in said or "Alias already used" in said:
        return InvalidInputError(f"in the ADQL: {said[:1].lower()}{said[1:]}".split(". Line")[0])
    return unknown_column(
        name, dict.fromkeys(column for table in named for column in table.columns)
    )


def _key(table: exp.Table) -> tuple[str, str]:
    return (table.db.lower() or CATALOG, table.name.lower())


def origins(tree: exp.Query, names: list[str], tables: Tables) -> list[Column]:
    """The columns of a query's result, with unit, UCD and description of those that are a table's;
    the type of others is null.

    Parameters
    ----------
    tree
        A resolved query.
    names
        What the query calls its columns, empty for those without a name.
    tables
        From `resolve`.
    """
    scope = build_scope(tree)
    found: list[Column] = []
    used: Counter[str] = Counter()
    for i, select in enumerate(tree.selects):
        origin = _origin(select.unalias(), scope, tables)
        given = names[i] if len(names) == len(tree.selects) else ""
        is_named = not (select.alias.startswith("_col_") or select.alias.isdigit())
        ours = select.alias if is_named else _own_name(select)
        name = given or (origin.name if origin and origin.name.lower() == ours else ours)
        used[name.lower()] += 1
        if used[name.lower()] > 1:
            name = f"{name}_{used[name.lower()]}"
        base = origin or Column(name, pa.null(), "", "", "")
        found.append(replace(base, name=name))
    return found


def _origin(node: exp.Expr, scope: Scope | None, tables: Tables) -> Column | None:
    while isinstance(node, exp.Column) and scope is not None:
        if scope.set_operation_scopes:
            scope = scope.set_operation_scopes[0]
            continue
        source = scope.sources.get(node.table)
        if isinstance(source, exp.Table):
            known = tables.get((source.db, source.name)) if source.db else None
            return known.columns.get(node.name) if known else None
        if not isinstance(source, Scope):
            return None
        name = node.name
        selects: list[exp.Expr] = (
            source.expression.selects if isinstance(source.expression, exp.Query) else []
        )
        chosen = [select for select in selects if select.alias_or_name == name]
        if not chosen:
            return None
        node, scope = chosen[0].unalias(), source
    return None


def _own_name(select: exp.Expr) -> str:
    node = select.unalias()
    if isinstance(node, exp.Bracket):  # sqlglot counts from 0 and calls it by that number
        return f"{node.this.name}_{int(node.expressions[0].name) + 1}"
    return str(node.this).lower() if isinstance(node, exp.Anonymous) else "column"
