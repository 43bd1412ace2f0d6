"""What Arrow calls by several names: lists, texts; tables with structs, as tables whose columns are
the fields: ``photometry.ra``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["field_paths", "flattened", "is_list", "is_text"]


def field_paths(schema: pa.Schema) -> tuple[str, ...]:
    """The columns that `flattened` gives a table of this schema."""
    return tuple(flattened(schema.empty_table()).column_names)


def flattened(table: pa.Table) -> pa.Table:
    """A column for each field of a struct, of structs in structs too; null where the struct is."""
    import pyarrow as pa

    while any(pa.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    return table


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is text."""
    import pyarrow as pa

    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is lists."""
    import pyarrow as pa

    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
