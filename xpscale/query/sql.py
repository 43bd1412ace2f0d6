"""SQL over the catalogue: one SELECT, read only, over the tables ``latents`` and ``spectra``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xpscale.errors import InvalidInputError
from xpscale.query.engine import connected, scan

if TYPE_CHECKING:
    import pyarrow as pa

    from xpscale.query.version import CatalogVersion

__all__ = ["sql"]

REMEDY = 'Give one SELECT, such as "SELECT count(*), median(reduced_chi2) FROM latents"'


def sql(catalog: CatalogVersion, query: str) -> pa.Table:
    """The result of one SELECT statement, in DuckDB's dialect.

    Parameters
    ----------
    catalog
        The catalogue; its products are the tables ``latents`` and ``spectra``.
    query
        One statement that only reads.

    Raises
    ------
    InvalidInputError
        If it is not one statement that only reads, or DuckDB refuses it; nothing outside the
        catalogue's parts can be opened.
    """
    import duckdb

    # opening a view reads a footer, so only the tables that are spoken of are made
    named = [
        product
        for product in catalog.identity.products
        if re.search(rf"\b{product}\b", query, re.IGNORECASE)
    ]
    parts = {product: catalog.manifest.of(product) for product in named}
    opened = [part for product in named for part in parts[product]]
    with connected(catalog, opened, "in the SQL", REMEDY) as connection:
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
        return connection.sql(query).to_arrow_table()
