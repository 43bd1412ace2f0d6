"""Arrow tables as numpy arrays and astropy tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from astropy.table import Table
    from numpy.typing import NDArray

__all__ = ["array", "to_astropy"]


def array(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column with shape (N,), or (N, C) for one of arrays of equal length."""
    import pyarrow as pa

    rows = column.combine_chunks()
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        return _values(rows.flatten()).reshape(len(column), -1 if len(column) else 0)
    return _values(rows)


def _values(rows: pa.Array) -> NDArray[Any]:
    import pyarrow as pa

    if rows.null_count or not (pa.types.is_integer(rows.type) or pa.types.is_floating(rows.type)):
        return np.asarray(rows.to_numpy(zero_copy_only=False))
    return np.from_dlpack(rows)  # to_numpy imports pandas, which takes longer than most queries


def to_astropy(table: pa.Table, provenance: Mapping[str, str]) -> Table:
    """An astropy table with units and descriptions from the fields' metadata, and provenance in
    ``meta``.

    Parameters
    ----------
    table
        Columns of numbers, or of arrays of one length.
    provenance
        Kept in ``meta``, in this order.
    """
    from astropy.table import Column, Table
    from astropy.units import Unit

    made = []
    for field in table.schema:
        meta = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        unit = Unit(meta["unit"]) if meta.get("unit") else None
        made.append(
            Column(
                array(table[field.name]), field.name, unit=unit, description=meta.get("description")
            )
        )
    return Table(made, meta=dict(provenance))
