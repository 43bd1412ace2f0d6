"""Files of identifiers: text, CSV, Parquet, FITS, VOTable and ECSV, by their content, not their
names.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xpscale.errors import InvalidInputError
from xpscale.gaia_ids import AROUND, letters
from xpscale.query.user_table import content, decoded, table_in
from xpscale.release import Release

__all__ = ["chosen_column", "read_file"]

NUMBERED = re.compile(r"\d\d|[\s_-]\d+\W*$")
"""What an identifier has, and the name of a column has not."""


def read_file(path: str | Path, release: Release) -> Any:
    """What a file of identifiers holds: an Arrow table, or of a text the places and entries.

    Parameters
    ----------
    path
        The file, which may be compressed with gzip.
    release
        The release whose identifiers they are; its name may be that of the column.

    Raises
    ------
    NotFoundError
        There is no such file.
    InvalidInputError
        It is neither text nor a table.
    """
    data = content(path)
    table = table_in(data, path)
    if table is not None:
        return table
    text = decoded(data, path)
    return [*_lines(text, path, release)]


def _lines(text: str, path: str | Path, release: Release) -> Iterator[tuple[str, str | None]]:
    """Places and entries of a text: one a line, or a column of CSV; a header is no entry."""
    lines = [line.partition("#")[0].rstrip() for line in text.splitlines()]
    first = next((line for line in lines if line.strip(AROUND)), "")
    separator = next((each for each in ",;\t|" if each in first.rstrip(",;\t|")), "")
    if not separator:
        for i, line in enumerate(lines, 1):
            is_header = line is first and re.search(r"[^\W\d]", line) and not NUMBERED.search(line)
            yield f"{path}, line {i}", "" if is_header else line.rstrip(",;|")
        return
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    column = -1
    for row in rows:
        if not any(field.strip(AROUND) for field in row):
            continue
        if column < 0:
            names = [field.strip(AROUND) for field in row]
            if not any(re.match(r"[^\W\d]", name) for name in names):
                raise InvalidInputError(
                    f"{path}, line {rows.line_num} has {len(row)} fields, and no header says which"
                    " is the source_id",
                    "Give one source_id a line, or a header",
                )
            column = names.index(chosen_column(names, str(path), release))
        else:
            yield (
                f"{path}, line {rows.line_num}",
                (row[column] if column < len(row) else "") or None,
            )


def chosen_column(names: Sequence[str], where: str, release: Release) -> str:
    """The column of identifiers.

    Parameters
    ----------
    names
        Of all columns.
    where
        What to call the table in the message.
    release
        The release that may be part of the name.

    Raises
    ------
    InvalidInputError
        None has a name for identifiers of this release.
    """
    its = letters(release.name)
    known = {letters(name): name for name in reversed(names)}
    wanted = ("sourceid", "gaiasourceid", f"{its}sourceid", f"{its.removeprefix('gaia')}sourceid")
    for name in (*wanted, "source", its, "designation", "gaiaid", "objectid"):
        if name in known:
            return known[name]
    if len(names) == 1:
        return names[0]
    raise InvalidInputError(
        f"{where} has no column source_id; its columns are {', '.join(map(str, names[:12]))}",
        "Call the column of identifiers source_id",
    )
