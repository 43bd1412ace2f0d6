"""Text in columns, as people write it: CSV, or separated by ``;``, ``|``, tabulators or blanks."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa

from xpscale.errors import InvalidInputError
from xpscale.formatting import first_line

__all__ = ["require_distinct", "text_table", "unreadable"]

MISSING_TEXT = ["", "nan", "NaN", "NAN", "null", "NULL", "none", "None", "NA", "N/A", "--", "<NA>"]


def text_table(text: str, path: str | Path) -> pa.Table:
    """The table in a text in columns below a line of names, which may start with ``#``.

    Parameters
    ----------
    text
        The content of a file.
    path
        Where it comes from, for errors.

    Raises
    ------
    InvalidInputError
        No line names the columns, or a row has more or fewer.
    """
    import pyarrow.csv

    lines = text.splitlines()
    filled = [i for i, line in enumerate(lines) if line.strip()]
    body = next((i for i in filled if not lines[i].startswith("#")), len(lines))
    head = body
    separator = next((each for each in ",;\t|" if each in lines[body]), " ") if filled[-1:] else " "
    before = [i for i in filled if i < body]
    if before and not re.search(r"[^\W\d]", re.sub(r"(?i)nan|e[+-]?\d", "", lines[body])):
        head = before[-1]  # as numpy.savetxt writes it
    rows = [lines[head].lstrip("# ")] if filled else []
    rows += [line for line in lines[head + 1 :] if line.strip() and not line.startswith("#")]
    if len(rows[:1]) and rows[0].strip(" \"'").isdecimal():  # a list of identifiers
        rows.insert(0, "source_id")
    n_words = {len(line.split()) for line in rows[:2]}
    if separator == " " and len(n_words) == 1 and n_words != {1}:
        rows, separator = [",".join(line.split()) for line in rows], ","
    elif separator == " ":  # one column, whose entries may have blanks
        separator = "\t"
    elif rows and all(line.rstrip().endswith(separator) for line in rows):
        rows = [line.rstrip()[:-1] for line in rows]
    if not rows or not re.search(r"[^\W\d]", rows[0]):
        raise InvalidInputError(
            f"{path}: no line names the columns", "Start it with a line such as source_id,ra,dec"
        )
    names = [name.strip(" \"'") for name in rows[0].split(separator)]
    require_distinct(names, str(path))
    try:
        return pyarrow.csv.read_csv(
            io.BytesIO("\n".join(rows[1:] or [""]).encode()),
            pyarrow.csv.ReadOptions(column_names=names),
            pyarrow.csv.ParseOptions(delimiter=separator),
            pyarrow.csv.ConvertOptions(null_values=MISSING_TEXT, strings_can_be_null=True),
        )
    except pa.ArrowInvalid as error:
        if len(rows) == 1:
            return pa.table({name: pa.nulls(0) for name in names})
        raise unreadable(path, error) from error


def require_distinct(names: list[str], where: str) -> None:
    """Refuse columns that have no name of their own.

    Parameters
    ----------
    names
        Of all columns.
    where
        What to call the table in the message.

    Raises
    ------
    InvalidInputError
        One is empty, or there twice.
    """
    counts = Counter(names)
    for name in names:
        if counts[name] > 1 or not name:
            raise InvalidInputError(
                f"{where}: {counts[name]} column{'s are' if counts[name] > 1 else ' is'} called"
                f" {name!r}",
                "Name each differently",
            )


def unreadable(path: str | Path, error: Exception) -> InvalidInputError:
    """The error for a file that a library cannot read.

    Parameters
    ----------
    path
        The file.
    error
        What the library says.
    """
    return InvalidInputError(f"{path} cannot be read: {first_line(error)}", "Write it again")
