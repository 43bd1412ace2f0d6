"""The tables that are served, with what is known of their columns: the catalogue's products, its
labels, and ``TAP_SCHEMA``, which describes all of them to clients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from xpscale.catalog.votable import DATATYPES, describe
from xpscale.schema import Column

if TYPE_CHECKING:
    import duckdb

    from xpscale.query.version import CatalogVersion


CATALOG, TAP_SCHEMA, UPLOAD = "default", "TAP_SCHEMA", "TAP_UPLOAD"
"""Schemas: the catalogue's tables have names without one, as TAP wants of ``default``."""

PRINCIPAL = ("source_id", "ra", "dec", "phot_g_mean_flux", "reduced_chi2", "flags")
INDEXED = ("source_id", "ra", "dec", "_healpix_29")


@dataclass(frozen=True, slots=True)
class ServedColumn(Column):
    """A column with what VOTable says of it besides.

    Parameters
    ----------
    name, type, unit, ucd, description
        As of `xpscale.schema.Column`.
    xtype
        What a text or an array means, as in DALI.
    datatype
        The datatype of VOTable, empty for that of the type.
    """

    xtype: str = ""
    datatype: str = ""


@dataclass(frozen=True)
class ServedTable:
    """A table that queries can name.

    Parameters
    ----------
    schema
        `CATALOG`, `TAP_SCHEMA` or `UPLOAD`.
    name
        Its name without the schema.
    description
        What it holds.
    known
        Its columns.
    """

    schema: str
    name: str
    description: str
    known: tuple[Column, ...]

    @property
    def full_name(self) -> str:
        """What a query calls it."""
        return self.name if self.schema == CATALOG else f"{self.schema}.{self.name}"

    @property
    def keys(self) -> tuple[tuple[str, str, str], ...]:
        """What joins it to others: its column, the other table, and that one's column."""
        if self.schema == TAP_SCHEMA:
            return tuple(key[1:] for key in _TAP_SCHEMA_KEYS if key[0] == self.name)
        is_extension = self.schema == CATALOG and self.name != "latents"
        return (("source_id", "latents", "source_id"),) if is_extension else ()

    @cached_property
    def columns(self) -> dict[str, Column]:
        """Its columns by name in small letters."""
        return {column.name.lower(): column for column in self.known}


def served(version: CatalogVersion) -> tuple[ServedTable, ...]:
    """The catalogue's tables and those of ``TAP_SCHEMA``.

    Parameters
    ----------
    version
        The catalogue.
    """
    ours = (
        ServedTable(CATALOG, name, describe(name, version.release), version.product_columns(name))
        for name in version.tables
    )
    return (*ours, *(_tap_schema(*row) for row in _TAP_SCHEMA))


def votype(kind: pa.DataType) -> tuple[str, str | None]:
    """Datatype and arraysize of VOTable for an Arrow type.

    Parameters
    ----------
    kind
        The type.
    """
    if pa.types.is_fixed_size_list(kind):
        return votype(kind.value_type)[0], str(kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return votype(kind.value_type)[0], "*"
    if pa.types.is_boolean(kind):
        return "boolean", None
    if pa.types.is_string(kind) or kind not in DATATYPES:
        return "unicodeChar", "*"
    return DATATYPES[kind], None


_TEXT, _INT = pa.string(), pa.int32()
_TAP_SCHEMA: tuple[tuple[str, str, str], ...] = (
    ("schemas", "Schemas of this service", "schema_name utype description schema_index:int"),
    (
        "tables",
        "Tables of this service",
        "schema_name table_name table_type utype description table_index:int",
    ),
    (
        "columns",
        "Columns of the tables of this service",
        "table_name column_name datatype arraysize xtype size:int description utype unit ucd"
        " indexed:int principal:int std:int column_index:int",
    ),
    ("keys", "Columns that join tables", "key_id from_table target_table utype description"),
    ("key_columns", "Columns of a key", "key_id from_column target_column"),
)
_TAP_SCHEMA_KEYS = (
    ("tables", "schema_name", "TAP_SCHEMA.schemas", "schema_name"),
    ("columns", "table_name", "TAP_SCHEMA.tables", "table_name"),
    ("keys", "from_table", "TAP_SCHEMA.tables", "table_name"),
    ("keys", "target_table", "TAP_SCHEMA.tables", "table_name"),
    ("key_columns", "key_id", "TAP_SCHEMA.keys", "key_id"),
)
_MEANINGS = {
    "schema_name": "Name of the schema",
    "table_name": "Name of the table, as in queries",
    "table_type": "table or view",
    "column_name": "Name of the column",
    "datatype": "Type of the column, as in VOTable",
    "arraysize": "Length of an array, as in VOTable",
    "xtype": "What an array means, as in DALI",
    "size": "Length of an array, where it is fixed",
    "description": "What it is",
    "utype": "Its place in a data model",
    "unit": "Its unit",
    "ucd": "Its UCD",
    "indexed": "1 if a condition on it reads little",
    "principal": "1 if it is among the most useful",
    "std": "1 if a standard defines it",
    "key_id": "Name of the key",
    "from_table": "Table that refers to another",
    "target_table": "Table that is referred to",
    "from_column": "Column of the first table",
    "target_column": "Column of the second table",
}


def _tap_schema(name: str, description: str, columns: str) -> ServedTable:
    known = []
    for text in columns.split():
        column, _, kind = text.partition(":")
        meaning = _MEANINGS.get(column, "Place in the list")
        known.append(Column(column, _INT if kind else _TEXT, "", "meta", meaning))
    return ServedTable(TAP_SCHEMA, name, description, tuple(known))


def declared_name(name: str) -> str:
    """A column's name as a query writes it: in quotes where ADQL's grammar wants them."""
    is_plain = name[:1].isalpha() and name.isascii() and name.lower() != "size"  # a reserved word
    return name if is_plain else f'"{name}"'


def fill_tap_schema(connection: duckdb.DuckDBPyConnection, tables: tuple[ServedTable, ...]) -> None:
    """Make the tables of ``TAP_SCHEMA``.

    Parameters
    ----------
    connection
        Where.
    tables
        What they describe.
    """
    connection.execute("CREATE SCHEMA tap_schema")
    rows = _rows(tables)
    for table in tables:
        if table.schema == TAP_SCHEMA:
            kinds = ("INTEGER" if column.type == _INT else "VARCHAR" for column in table.known)
            columns = ", ".join(
                f'"{column.name}" {kind}' for column, kind in zip(table.known, kinds, strict=True)
            )
            connection.execute(f'CREATE TABLE tap_schema."{table.name}" ({columns})')
            if rows[table.name]:
                marks = ", ".join("?" * len(table.known))
                connection.executemany(
                    f'INSERT INTO tap_schema."{table.name}" VALUES ({marks})', rows[table.name]
                )


def _rows(tables: tuple[ServedTable, ...]) -> dict[str, list[list[Any]]]:
    keys = [(table.full_name, *key) for table in tables for key in table.keys]
    about = {CATALOG: "The derived catalogue", TAP_SCHEMA: "What this service has"}
    return {
        "schemas": [[name, None, text, i] for i, (name, text) in enumerate(about.items())],
        "tables": [
            [table.schema, table.full_name, "table", None, table.description, i]
            for i, table in enumerate(tables)
        ],
        "columns": [
            [table.full_name, *_described(table, column), i]
            for table in tables
            for i, column in enumerate(table.known)
        ],
        "keys": [[f"{i}", name, other, None, None] for i, (name, _, other, _) in enumerate(keys)],
        "key_columns": [[f"{i}", its, theirs] for i, (_, its, _, theirs) in enumerate(keys)],
    }


def _described(table: ServedTable, column: Column) -> list[Any]:
    datatype, arraysize = votype(column.type)
    size = int(arraysize) if arraysize and arraysize.isdigit() else None
    is_ours = table.schema == CATALOG
    return [
        *(declared_name(column.name), datatype, arraysize, None, size),
        *(column.description, None, column.unit or None, column.ucd or None),
        *(int(is_ours and column.name in INDEXED), int(column.name in PRINCIPAL or not is_ours)),
        int(not is_ours),
    ]
