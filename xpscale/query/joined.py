"""Tables that rows of a catalogue are joined with while they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

    from xpscale.query.region import Ranges

__all__ = ["Joined"]


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

    prepare: Callable[[duckdb.DuckDBPyConnection], None]
    join: str
    conditions: tuple[str, ...]
    ranges: Ranges
