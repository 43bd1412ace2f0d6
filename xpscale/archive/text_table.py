"""CSV and ECSV tables, read as text.

The archive writes ``null`` where ECSV readers expect a number, and arrays as text: see
`xpscale.printed_arrays`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.formatting import first_line
from xpscale.gaia_ids import ids_or_zero
from xpscale.printed_arrays import is_missing, printed_numbers
from xpscale.release import DR3, Release

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["TextTable", "stack", "text_batches", "text_head", "text_table"]

MAX_LINE = 1 << 24
"""Characters of a line: a row, with all correlations, has a tenth of it."""

BLOCK_BYTES = 1 << 24
"""Of text that is parsed at once by `text_batches`."""


@dataclass(frozen=True, slots=True, eq=False)
class TextTable:
    """Rows of text fields: a `xpscale.archive.tables.Table`.

    Parameters
    ----------
    names
        All columns.
    columns
        Fields by column.
    where
        What to call the file in errors.
    """

    names: Sequence[str]
    columns: dict[str, list[str]]
    where: str

    def identifiers(self, name: str, release: Release = DR3) -> NDArray[np.int64]:
        """The column of identifiers, with shape (N,); 0 where missing.

        Parameters
        ----------
        name
            Of the column.
        release
            The release whose identifiers they are.
        """
        return ids_or_zero(self.columns[name], f"{self.where}: {name}", release)

    def floats(self, name: str) -> NDArray[np.float64]:
        """A scalar column, with shape (N,); NaN where missing."""
        texts = enumerate(self.columns[name])
        return np.array([self._value(name, i, _number(text)) for i, text in texts], np.float64)

    def texts(self, name: str) -> list[str]:
        """A column of text."""
        return self.columns[name]

    def vectors(self, name: str) -> NDArray[np.float32]:
        """An array column, with shape (N, W); NaN where missing, W = 0 if no row has any."""
        where = f"{self.where}: {name}"
        texts = enumerate(self.columns[name], 1)
        return stack([printed_numbers(text, f"{where}: row {i}") for i, text in texts], where)

    def _value(self, name: str, row: int, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise InvalidInputError(
                f"{self.where}: row {row + 1} has {text[:30]!r} in {name}, which is no number",
                "Correct it, or save the table as Parquet or FITS",
            ) from None


def _number(text: str) -> str:
    return "nan" if is_missing(text) else text


def text_table(stream: BinaryIO, where: str, *, correlations: bool = False) -> TextTable:
    """The table of a CSV or ECSV file.

    Parameters
    ----------
    stream
        The file.
    where
        What to call it in errors.
    correlations
        Whether to keep the text of correlations, most of the file.

    Raises
    ------
    InvalidInputError
        It is no table, or is cut off.
    """
    lines = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    try:
        return _parse_text(_lines(lines, where), where, correlations)
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{where} is no text in UTF-8 ({error.reason} at byte {error.start})",
            "Save it as CSV in UTF-8, or fetch it again if it should be",
        ) from error
    finally:
        lines.detach()  # the stream is the caller's to close


def text_head(lines: Iterable[str], where: str) -> tuple[list[str], str, int]:
    """Names of columns, the delimiter, and how many lines stand before the rows.

    Parameters
    ----------
    lines
        The lines of a CSV or ECSV file.
    where
        What to call it in errors.

    Raises
    ------
    InvalidInputError
        It has no header line.
    """
    delimiter, first, n_lines = ",", "", 0
    for first in lines:
        n_lines += 1
        if not first.startswith("#"):
            break
        if first.startswith("# %ECSV"):
            delimiter = " "  # ECSV's own default
        elif first.startswith("# delimiter:"):
            delimiter = first.partition(":")[2].strip().strip("'\"") or " "
    if delimiter == ",":  # as Excel and TOPCAT write it elsewhere
        delimiter = next((each for each in ",;\t|" if each in first), ",")
    names = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True), [])
    names = [name.strip() for name in names]
    again = next((name for name in names if names.count(name) > 1), "")
    if again:
        raise InvalidInputError(f"{where} has two columns {again}", "Remove or rename one of them")
    if len(names) < 2:
        raise InvalidInputError(
            f"{where} is no table: its first line is {first[:60]!r}", "It needs a header line"
        )
    return names, delimiter, n_lines


def text_batches(
    stream: BinaryIO, where: str, choose: Callable[[list[str]], tuple[str, Sequence[str]]]
) -> Iterator[pa.RecordBatch]:
    """Some scalar columns of a CSV or ECSV file, block by block.

    Parameters
    ----------
    stream
        The file, seekable.
    where
        What to call it in errors.
    choose
        Of all names, that of the identifier (text) and those of others to read (float64).

    Raises
    ------
    InvalidInputError
        It is no table, or a value is no number.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    lines = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    names, delimiter, n_lines = text_head(_lines(lines, where), where)
    lines.detach()
    stream.seek(0)
    source_id, others = choose(names)
    wanted = list(dict.fromkeys((source_id, *others)))
    try:
        yield from arrow_csv.open_csv(
            stream,
            arrow_csv.ReadOptions(skip_rows=n_lines, column_names=names, block_size=BLOCK_BYTES),
            arrow_csv.ParseOptions(delimiter=delimiter),
            arrow_csv.ConvertOptions(
                include_columns=wanted,
                column_types={n: pa.string() if n == source_id else pa.float64() for n in wanted},
                strings_can_be_null=True,
                null_values=["", "null", "NULL", "nan", "NaN", "--", "None", "none", "masked"],
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        raise InvalidInputError(
            f"{where} cannot be read ({first_line(error)})", "Correct that value or row"
        ) from error


def _lines(text: io.TextIOWrapper, where: str) -> Iterator[str]:
    while line := text.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise InvalidInputError(
                f"{where} has a line of more than {MAX_LINE:,} characters", "It is no table"
            )
        yield line


def _parse_text(lines: Iterator[str], where: str, correlations: bool) -> TextTable:
    names, delimiter, _ = text_head(lines, where)
    columns: dict[str, list[str]] = {name: [] for name in names}
    kept = [
        (i, columns[name])
        for i, name in enumerate(names)
        if correlations or not name.lower().endswith("_correlations")
    ]
    for number, row in enumerate(csv.reader(lines, delimiter=delimiter, skipinitialspace=True)):
        if not row or row[0].startswith("#"):
            continue
        if len(row) != len(names):
            raise InvalidInputError(
                f"{where}: row {number + 1} has {len(row)} of {len(names)} fields; the file may be"
                " cut off",
                "Fetch it again",
            )
        for i, column in kept:
            column.append(row[i])
    return TextTable(names, columns, where)


def stack(rows: Sequence[NDArray[Any]], where: str) -> NDArray[np.float32]:
    """Arrays of one length as rows of one array, float32, with shape (N, W); empty ones are NaN.

    Parameters
    ----------
    rows
        N arrays of W values or none.
    where
        What to call them in errors.

    Raises
    ------
    InvalidInputError
        Their lengths differ.
    """
    lengths = np.array([len(row) for row in rows], np.int64)
    width = int(lengths.max(initial=0))
    wrong = np.flatnonzero((lengths != width) & (lengths > 0))
    if len(wrong):
        raise InvalidInputError(
            f"{where}: row {wrong[0] + 1} has {lengths[wrong[0]]} values, others have {width}",
            "Fetch it again",
        )
    out = np.full((len(rows), width), np.nan, np.float32)
    with np.errstate(over="ignore"):
        for i in np.flatnonzero(lengths).tolist():
            out[i] = rows[i]
    return out
