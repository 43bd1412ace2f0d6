"""Tables that rows of a catalogue are joined with while they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpscale.query.engine import scan

if TYPE_CHECKING:
    import duckdb

    from xpscale.query.region import Ranges
    from xpscale.query.version import CatalogVersion
    from xpscale.types import Part

__all__ = ["Joined", "columns_of"]


@dataclass(frozen=True, eq=False)
class Joined:
    """A table that rows of a catalogue are joined with while they are read.

    Parameters
    ----------
    prepare
        Makes the table on a connection.
    join
        What follows ``JOIN``.
    conditions
        On the joined rows.
    ranges
        Ranges of ``_healpix_29`` that hold all rows that can be joined.
    """

    prepare: Callable[[duckdb.DuckDBPyConnection], object]
    join: str
    conditions: tuple[str, ...]
    ranges: Ranges


def columns_of(
    version: CatalogVersion, table: str, columns: Iterable[str], parts: Sequence[Part], where: str
) -> tuple[str, list[Part]]:
    """A SELECT of columns that another table has of the pixels of some parts, and the parts that it
    opens.

    Parameters
    ----------
    version
        The catalogue.
    table
        ``"spectra"`` or ``"labels"``.
    columns
        Their names; ``source_id`` comes first.
    parts
        Of the latents.
    where
        What its rows satisfy.
    """
    pixels = {part.pixel for part in parts}
    found = [part for part in version.parts_of(table) if part.pixel in pixels]
    names = ", ".join(f'"{name}"' for name in ("source_id", *columns))
    return f"SELECT {names} FROM {scan(version, found, table)} WHERE {where}", found
