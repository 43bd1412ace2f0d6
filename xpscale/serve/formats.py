"""The formats of results, by the names that clients ask for them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv

from xpscale.errors import InvalidInputError
from xpscale.formatting import format_bytes
from xpscale.query.write import write, write_csv
from xpscale.serve.votable_rows import write_votable

__all__ = ["FORMATS", "Format", "format_of", "write_result"]


@dataclass(frozen=True, slots=True)
class Format:
    """A format of results.

    Parameters
    ----------
    names
        What clients call it; the first is its media type.
    write
        Writes rows to a file.
    """

    names: tuple[str, ...]
    write: Callable[[IO[bytes], pa.Schema, _Rows, Mapping[str, str]], None]

    @property
    def media_type(self) -> str:
        """What a reply says it is."""
        return self.names[0]


class _Rows(Iterable[pa.RecordBatch]):
    """Batches up to a number of rows and bytes of the file; `overflow` says if there were more."""

    def __init__(
        self, batches: Iterator[pa.RecordBatch], max_rows: int, file: IO[bytes], max_bytes: int
    ) -> None:
        self._batches, self._left = batches, max_rows
        self._file, self._max_bytes = file, max_bytes
        self.overflow = False
        self.n_rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        n_bytes = 0
        for batch in self._batches:
            n_bytes += batch.nbytes
            if max(n_bytes, self._file.tell()) > self._max_bytes:
                raise InvalidInputError(
                    f"the result is larger than {format_bytes(self._max_bytes)}",
                    "Ask for fewer rows or columns",
                )
            kept = batch.slice(0, self._left)
            self._left -= len(kept)
            self.n_rows += len(kept)
            yield kept
            if len(kept) < len(batch):
                self.overflow = True
                return


def write_result(
    form: Format,
    file: IO[bytes],
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    words: Mapping[str, str],
    max_rows: int,
    max_bytes: int,
) -> int:
    """Write a result and return its number of rows.

    Parameters
    ----------
    form
        The format.
    file
        Where to.
    schema, batches
        The rows; one more than ``max_rows`` where there are more.
    words
        Where they come from.
    max_rows, max_bytes
        The most to write.

    Raises
    ------
    InvalidInputError
        It is too large, or the format cannot hold it.
    """
    rows = _Rows(batches, max_rows, file, max_bytes)
    form.write(file, schema, rows, words)
    return rows.n_rows


def _votable(is_text: bool) -> Callable[[IO[bytes], pa.Schema, _Rows, Mapping[str, str]], None]:
    def write_it(file: IO[bytes], schema: pa.Schema, rows: _Rows, words: Mapping[str, str]) -> None:
        write_votable(file, schema, rows, words, is_text=is_text, overflow=lambda: rows.overflow)

    return write_it


def _csv(file: IO[bytes], schema: pa.Schema, rows: _Rows, words: Mapping[str, str]) -> None:
    write_csv(file, schema, iter(rows))


def _tsv(file: IO[bytes], schema: pa.Schema, rows: _Rows, words: Mapping[str, str]) -> None:
    write_csv(file, schema, iter(rows), "\t")


def _json(file: IO[bytes], schema: pa.Schema, rows: _Rows, words: Mapping[str, str]) -> None:
    """As the Gaia archive: ``{"metadata": [..], "data": [[..], ..]}``."""
    columns = [
        {"name": field.name, "datatype": str(field.type)}
        | {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
        for field in schema
    ]
    file.write(f'{{"metadata": {json.dumps(columns)},\n"data": ['.encode())
    separator = "\n"
    for batch in rows:
        for row in zip(*(map(_plain, column.to_pylist()) for column in batch.columns), strict=True):
            file.write(f"{separator}{json.dumps(row)}".encode())
            separator = ",\n"
    file.write(f'\n],\n"overflow": {json.dumps(rows.overflow)}}}\n'.encode())


def _plain(value: object) -> object:
    """A value that JSON has: it knows no NaN."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value


def _file(ending: str) -> Callable[[IO[bytes], pa.Schema, _Rows, Mapping[str, str]], None]:
    def write_it(file: IO[bytes], schema: pa.Schema, rows: _Rows, words: Mapping[str, str]) -> None:
        table = pa.Table.from_batches(list(rows), schema)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"result{ending}"
            write(table, path, {**words, "overflow": str(rows.overflow)})
            with path.open("rb") as made:
                while piece := made.read(1 << 20):
                    file.write(piece)

    return write_it


FORMATS = (
    Format(
        ("application/x-votable+xml", "votable", "text/xml", "votable/b2", "votableb2",
         "application/x-votable+xml;serialization=binary2"),
        _votable(False),
    ),
    Format(
        ("application/x-votable+xml;serialization=tabledata", "votable/td", "votabletd"),
        _votable(True),
    ),
    Format(("text/csv", "csv", "text/csv;header=present"), _csv),
    Format(("text/tab-separated-values", "tsv"), _tsv),
    Format(("application/vnd.apache.parquet", "parquet", "application/x-parquet",
            "application/parquet"), _file(".parquet")),
    Format(("application/fits", "fits"), _file(".fits")),
    Format(("application/json", "json"), _json),
)  # fmt: skip


def format_of(name: str) -> Format:
    """The format that a client asks for.

    Parameters
    ----------
    name
        As in ``RESPONSEFORMAT``; empty for VOTable.

    Raises
    ------
    InvalidInputError
        It is not known.
    """
    wanted = name.lower().replace(" ", "").replace('"', "") or "votable"
    for form in FORMATS:
        if wanted in form.names:
            return form
    known = ", ".join(form.names[1] for form in FORMATS)
    raise InvalidInputError(f"there is no format {name!r}", f"Formats are {known}")
