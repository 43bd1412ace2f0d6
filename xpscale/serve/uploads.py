"""The tables that users send with their queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from xpscale.serve.served_tables import ServedTable

__all__ = ["Upload"]


@dataclass(frozen=True, slots=True)
class Upload:
    """A table that came with a query.

    Parameters
    ----------
    table
        Its name and columns.
    rows
        Its rows.
    """

    table: ServedTable
    rows: pa.Table
