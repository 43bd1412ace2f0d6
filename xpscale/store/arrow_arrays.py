"""Coefficients in Arrow tables as numpy arrays, whether in lists or in scalar columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.nested import is_list, is_text
from xpscale.printed_arrays import is_missing, printed_numbers

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["arrow_numbers", "arrow_vectors", "list_width"]


def arrow_vectors(
    table: pa.Table, groups: Sequence[tuple[str, ...]], widths: Sequence[int], where: str
) -> NDArray[np.float32]:
    """Coefficients or errors of a table's rows, side by side, float32, with shape (N, C); NaN where
    missing.

    Parameters
    ----------
    table
        The rows.
    groups
        Column names, as in `xpscale.columns.XpColumns`.
    widths
        Values of each group a row.
    where
        What to call the rows' origin in errors.

    Raises
    ------
    InvalidInputError
        A row has another number of values, or a column does not hold lists of numbers.
    """
    out = np.full((table.num_rows, sum(widths)), np.nan, np.float32)
    start = 0
    # a float64 beyond float32 becomes infinite, and is rejected as such
    with np.errstate(over="ignore"):
        for group, width in zip(groups, widths, strict=True):
            if len(group) > 1:
                for i, name in enumerate(group):
                    out[:, start + i] = arrow_numbers(table[name], where, name)
            else:
                array = _lists(table[group[0]].combine_chunks(), where, group[0])
                _fill(out[:, start : start + width], array, where, group[0])
            start += width
    return out


def arrow_numbers(column: pa.ChunkedArray, where: str, name: str) -> NDArray[np.float64]:
    """A scalar column, float64, with shape (N,); NaN where missing.

    Parameters
    ----------
    column
        The column: numbers, or numbers in text.
    where, name
        What to call its place and itself in errors.

    Raises
    ------
    InvalidInputError
        A value is no number.
    """
    values = np.asarray(column.to_numpy())
    if values.dtype.kind in "fiu":
        return values.astype(np.float64, copy=False)
    numbers = np.full(len(values), np.nan)
    for row, value in enumerate(values.tolist(), 1):
        if value is None or (isinstance(value, str) and is_missing(value)):
            continue
        try:
            numbers[row - 1] = float(value)
        except (TypeError, ValueError):
            raise InvalidInputError(
                f"{where}, column {name}: row {row} has {str(value)[:30]!r}, which is no number",
                "Correct it: numbers, or nothing where there is none",
            ) from None
    return numbers


def _fill(out: NDArray[np.float32], array: Any, where: str, name: str) -> None:
    """Put a list array into rows of one width; null and empty lists leave NaN."""
    import pyarrow as pa
    import pyarrow.compute as pc

    _require_numbers(array.type, where, name)
    width = out.shape[1]
    present = np.asarray(pc.fill_null(pc.greater(pc.list_value_length(array), 0), False))
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0))[present]
    if np.any(lengths != width):
        row = int(np.flatnonzero(present)[np.flatnonzero(lengths != width)[0]])
        raise InvalidInputError(
            f"{where}, column {name}: row {row + 1} has"
            f" {int(lengths[lengths != width][0])} values, others have"
            f" {width}",
            "Every row must have all coefficients, or none",
        )
    values = pc.list_flatten(array)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    out[present] = np.asarray(values.to_numpy(zero_copy_only=False)).reshape(-1, width)


def list_width(array: Any, where: str, name: str) -> int:
    """Values in a row of a list array: the most there are; 0 if no row has any.

    Parameters
    ----------
    array
        The array, of one chunk.
    where, name
        What to call its file and column in errors.

    Raises
    ------
    InvalidInputError
        It does not hold lists of numbers.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = _lists(array, where, name)
    _require_numbers(array.type, where, name)
    if pa.types.is_fixed_size_list(array.type):
        return int(array.type.list_size)
    return int(pc.max(pc.list_value_length(array)).as_py() or 0)


def _lists(array: Any, where: str, name: str) -> Any:
    """An array of one of Arrow's kinds of lists, whatever stands for lists in the column: text,
    tensors and views become lists, decimal numbers float64; anything else stays.
    """
    import pyarrow as pa

    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if is_text(kind):
        rows = [
            None if text is None else printed_numbers(text, f"{where}, column {name}: row {row}")
            for row, text in enumerate(array.to_pylist(), 1)
        ]
        return pa.array(rows, pa.list_(pa.float64()))
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.list_(pa.float64()))
    is_view = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    if is_view or (is_list(kind) and pa.types.is_decimal(kind.value_type)):
        lists = [row and [x if x is None else float(x) for x in row] for row in array.to_pylist()]
        return pa.array(lists, pa.list_(pa.float64()))
    return array


def _require_numbers(kind: Any, where: str, name: str) -> None:
    import pyarrow as pa

    if not is_list(kind) or not (
        pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
    ):
        raise InvalidInputError(
            f"{where}: column {name} is {kind}",
            "Coefficients must be lists of numbers, or one column each",
        )
