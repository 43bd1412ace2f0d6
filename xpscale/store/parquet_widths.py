"""How many coefficients the columns of Parquet files hold: from their rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from xpscale.errors import InvalidInputError
from xpscale.store.arrow_arrays import list_width
from xpscale.store.parquet_files import ParquetFile, read_file

if TYPE_CHECKING:
    import pyarrow as pa

    from xpscale.storage import Storage

__all__ = ["first_rows", "vector_widths"]


def first_rows(
    storage: Storage, files: Iterable[ParquetFile], columns: Sequence[str]
) -> pa.Table | None:
    """The first rows there are, at most `BATCH_ROWS`; ``None`` if there are none.

    Parameters
    ----------
    storage, files
        The files, in order.
    columns
        What to read of the rows.
    """
    for file in files:
        groups = range(len(file.row_group_rows))
        for _, table in read_file(storage, file.key, file.n_bytes, groups, columns):
            return table
    return None


def vector_widths(
    storage: Storage, files: Sequence[ParquetFile], groups: Sequence[tuple[str, ...]]
) -> tuple[int, ...]:
    """How many coefficients each group of columns holds: from names or types, else the first row
    that has any; 0 of one that no row has.

    Parameters
    ----------
    storage, files
        The files.
    groups
        Names of columns, as in `xpscale.columns.XpColumns`.

    Raises
    ------
    InvalidInputError
        A column is no array of numbers, or no row has any coefficient.
    """
    if len(groups[0]) > 1:
        return tuple(len(group) for group in groups)
    missing = [group[0] for group in groups]
    widths: dict[str, int] = {}
    for file in files:
        if not missing:
            break
        for _, table in read_file(
            storage, file.key, file.n_bytes, range(len(file.row_group_rows)), missing
        ):
            for name in list(missing):
                where = f"{storage.url}/{file.key}"
                if width := list_width(table[name].combine_chunks(), where, name):
                    widths[name] = width
                    missing.remove(name)
            if not missing:
                break
    if not widths:
        raise InvalidInputError(
            f"{storage.url} has no row with {' and '.join(missing)}", "Check the files"
        )
    return tuple(widths.get(group[0], 0) for group in groups)
