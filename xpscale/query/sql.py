"""SQL over the catalogue: one SELECT, read only, over the tables ``latents`` and ``spectra``, and
those of the user's that are named.  Labels that somebody has published are the table ``labels``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from xpscale.catalog.layout import LABELS
from xpscale.errors import InvalidInputError
from xpscale.formatting import first_line
from xpscale.query.engine import connected, scan
from xpscale.query.user_table import read_table

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

    from xpscale.query.version import CatalogVersion

__all__ = ["sql"]

INEXACT = {
    "uhugeint",  # above 2^127 it turns negative
    "time with time zone",  # the zone is dropped
    *("bit", "bignum", "variant", "geometry"),  # internal codes of DuckDB
}
"""Types of DuckDB that Arrow cannot say, by their names."""

PRODUCTS = ("latents", "spectra")

REMEDY = (
    'Give one SELECT, such as "SELECT count(*), median(kl) FROM latents"; "SHOW TABLES" and'
    ' "DESCRIBE latents" say what there is'
)


def sql(catalog: CatalogVersion, query: str, tables: Mapping[str, Any] | None = None) -> pa.Table:
    """The result of one SELECT statement, in DuckDB's dialect.

    Parameters
    ----------
    catalog
        The catalogue; its products are the tables ``latents`` and ``spectra``.
    query
        One statement that only reads.
    tables
        Tables of the user's by the name that the query calls them, in any form: see
        `xpscale.query.user_table.read_table`.

    Raises
    ------
    InvalidInputError
        If it is not one statement that only reads, or DuckDB refuses it; nothing outside the
        catalogue's parts can be opened.  Or a table has no usable name, or is none.
    NotFoundError
        If a file of the user's is not there.
    """
    import duckdb

    mine = {name: read_table(table) for name, table in _checked_names(tables or {}).items()}
    # opening a view reads a footer, so only the tables that are spoken of are made
    ours = [name for name in (*catalog.identity.products, LABELS) if name not in mine]
    named = [name for name in (*ours, *mine) if _is_named(name, query)] or ours  # SHOW TABLES
    parts = {name: catalog.parts_of(name) for name in ours if name in named}
    if not parts.get(LABELS, True):
        del parts[LABELS]  # nobody has published any
    with connected(catalog, itertools.chain(*parts.values()), "in the SQL", REMEDY) as connection:
        statements = connection.extract_statements(query)
        if len(statements) != 1:
            raise InvalidInputError(f"the SQL holds {len(statements)} statements, not one", REMEDY)
        # The lock on files would let COPY write over a part, since parts may be opened, and EXPLAIN
        # ANALYZE runs what it explains: only SELECT passes.
        if statements[0].type != duckdb.StatementType.SELECT:
            raise InvalidInputError(
                f"{statements[0].type.name} is not allowed: the catalogue is read only", REMEDY
            )
        for product, found in parts.items():
            rows = scan(catalog, found, product)
            connection.execute(f"CREATE VIEW {product} AS SELECT * FROM {rows}")
        for name, table in mine.items():
            connection.register(name, table)
        result: Any = connection.sql(query)
        for name, kind in zip(result.columns, result.types, strict=True):
            _require_exact(name, kind)
        answer: pa.Table = result.to_arrow_table()
        try:
            answer.validate(full=True)  # a HUGEINT may have more digits than Arrow's decimals
        except pa.ArrowInvalid as error:
            raise InvalidInputError(
                f"in the result: {first_line(error)}", "Cast it, such as ::VARCHAR or ::DOUBLE"
            ) from error
        return answer


def _is_named(table: str, query: str) -> bool:
    return bool(re.search(rf"\b{table}\b", query, re.IGNORECASE))


def _checked_names(tables: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tables of the user's, if a query can call them by these names."""
    for name in tables:
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or name.lower() in PRODUCTS:
            raise InvalidInputError(
                f"no table of yours can be called {name!r}",
                "Choose a name of letters, such as mine, and none of latents, spectra",
            )
    return tables


def _require_exact(name: str, kind: DuckDBPyType) -> None:
    """Refuse a column that DuckDB changes or encodes on its way to Arrow."""
    if kind.id in INEXACT:
        raise InvalidInputError(
            f"column {name!r} is {kind}, which cannot leave DuckDB exactly",
            "Cast it, such as ::VARCHAR or ::BIGINT",
        )
    if kind.id in ("list", "array", "struct", "map", "union"):
        for _, part in kind.children:
            if not isinstance(part, int | list):  # an array's size, the values of an enum
                _require_exact(name, part)
