"""Source identifiers as people have them: numbers and text, columns of tables, files of them.

An identifier has up to 19 digits, and a float64 holds 15: whatever went through one is refused.
Missing values, such as the rows of a crossmatch without a counterpart, are passed over with a
warning.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError
from xpscale.gaia_ids import AROUND, ids_of_rows, numbered, parse_id, tell_missing
from xpscale.query.identifier_files import chosen_column, read_file
from xpscale.release import Release

__all__ = ["parse_ids", "read_ids"]


def parse_ids(text: str, release: Release) -> NDArray[np.int64]:
    """The identifiers that ``ID[,ID..]`` or ``@FILE`` spells, int64, with shape (N,), repeats
    removed.

    Blanks may stand in place of commas, and the name of the release before a number:
    ``Gaia DR3 4295806720``.  A file is text with one identifier a line (blank lines and what
    follows a ``#`` are ignored), or a table: CSV, Parquet, FITS, VOTable or ECSV with a column
    ``source_id``, also compressed with gzip.

    Parameters
    ----------
    text
        Identifiers, or ``@`` and the path of a file of them.
    release
        The release whose identifiers they are.

    Raises
    ------
    InvalidInputError
        If an entry is no identifier or one of another release (the message names the line or the
        field), or there is none at all.
    NotFoundError
        If the file does not exist.
    """
    if text.startswith("@"):
        ids = _of_file(text[1:], release)
    else:
        fields = re.split(r"[,;\n]", text)
        entries = [f.split() if re.fullmatch(r"[\d\s]+", f) else [f] for f in fields]
        ids = _parsed(numbered("entry", [*itertools.chain(*entries)]), "the list", release)
    if not len(ids):
        raise InvalidInputError(
            f"{text!r} holds no source_id", "Give ID[,ID..] or @FILE with one source_id a line"
        )
    return ids


def read_ids(values: Any, release: Release) -> NDArray[np.int64]:
    """Identifiers from any object that holds them, int64, with shape (N,), repeats removed.

    Parameters
    ----------
    values
        A number or a text; an iterable of these; a column of numpy, Arrow, pandas, polars or
        astropy, or a table with the column ``source_id``; a path, or the text ``@FILE``.
    release
        The release whose identifiers they are.

    Raises
    ------
    InvalidInputError
        If an entry is no identifier; the message names it and says why.
    NotFoundError
        If a file does not exist.
    """
    if isinstance(values, str):
        return parse_ids(values, release)
    if isinstance(values, Path):
        return _of_file(values, release)
    return _of_column(_column(values, "the table", release), "source_ids", "entry", release)


def _of_file(path: str | Path, release: Release) -> NDArray[np.int64]:
    """The identifiers in a text or table."""
    found = read_file(path, release)
    if isinstance(found, list):
        return _parsed(found, str(path), release)
    column = _column(found, str(path), release)
    return _of_column(column, str(path), f"{path}, row", release)


def _of_column(
    column: pa.Array | list[Any], where: str, entry: str, release: Release
) -> NDArray[np.int64]:
    if isinstance(column, list):
        return _parsed(numbered(entry, column), where, release)
    ids, known = ids_of_rows(column, where, entry, release)
    return _unique(ids[known])


def _unique(ids: Any) -> NDArray[np.int64]:
    found, first = np.unique(np.asarray(ids, np.int64), return_index=True)
    return found[np.argsort(first, kind="stable")]


def _parsed(entries: Sequence[tuple[str, Any]], where: str, release: Release) -> NDArray[np.int64]:
    """Identifiers from places and what stands there."""
    found = [parse_id(place, entry, release) for place, entry in entries]
    ids = [number for number in found if number is not None]
    blank = sum(isinstance(entry, str) and not entry.strip(AROUND) for _, entry in entries)
    tell_missing(len(found) - len(ids) - blank, len(found), where)
    return _unique(ids)


def _column(values: Any, where: str, release: Release) -> pa.Array | list[Any]:
    """The identifiers among a column or a table of any library, as Arrow array or as a list."""
    if hasattr(values, "colnames"):  # astropy
        values = values[chosen_column(values.colnames, where, release)]
    if np.ma.isMaskedArray(values):
        values, mask = np.ma.getdata(values), np.ma.getmaskarray(values)
        return [None if gone else item for item, gone in zip(values.tolist(), mask, strict=True)]
    if isinstance(values, np.ndarray):
        if values.ndim > 1 or values.dtype.names:
            raise InvalidInputError(
                f"source_ids have shape {values.shape} and type {values.dtype}",
                "Give one column, with shape (N,)",
            )
        values = np.atleast_1d(np.asarray(values))
        if values.dtype.kind not in "iuf":
            return values.tolist()
        return pa.array(values.astype(values.dtype.newbyteorder("=")))
    if hasattr(values, "__arrow_c_stream__") or hasattr(values, "__arrow_c_array__"):
        chunks = (
            pa.chunked_array(values) if hasattr(values, "__arrow_c_stream__") else pa.array(values)
        )
        if pa.types.is_struct(chunks.type):
            table = pa.table(values)
            chunks = table[chosen_column(table.column_names, where, release)]
        return chunks.combine_chunks() if isinstance(chunks, pa.ChunkedArray) else chunks
    if hasattr(values, "to_numpy"):  # pandas before 3
        return pa.array(values, from_pandas=True)
    return [*values] if isinstance(values, Iterable) else [values]
