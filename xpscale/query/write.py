"""Rows of a catalogue as a file that says where it comes from: Parquet, CSV, FITS, VOTable or ECSV.

A file appears whole or not at all, and holds exactly the rows: what its format cannot hold is
refused.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from xpscale.catalog.votable import CONTENT_KEY, VERSION_KEY, votable
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.formatting import first_line
from xpscale.local_files import local_path
from xpscale.query.csv_text import csv_text
from xpscale.query.frames import BATCH_ROWS, Rows
from xpscale.query.table_files import TABLE_FORMATS, write_table
from xpscale.query.version import PREFIX, stated_origin, words_of
from xpscale.schema import Column
from xpscale.storage.single_file import new_file, require_free

__all__ = ["FORMATS", "require_writable", "write", "write_csv"]


def write(
    rows: Rows | pa.Table | pa.RecordBatchReader,
    out: str | Path,
    provenance: Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
) -> int:
    """Write rows to a file, in the format its name ends on, and return their number.

    ``.parquet`` carries units and provenance as VOParquet and as key-value metadata, streamed, so
    it may be larger than memory.  ``.csv`` is plain (streamed as well, see
    `xpscale.query.csv_text.csv_text`), with the provenance next to it in
    ``NAME.csv.provenance.json``.  ``.fits``, ``.vot`` (VOTable) and ``.ecsv`` carry units and
    provenance in their heads; see `xpscale.query.table_files`.

    Parameters
    ----------
    rows
        A selection, a result, a table, or batches as they come.
    out
        A local path.
    provenance
        Words to keep with the rows; a selection and a result know their own.
    overwrite
        Replace what is there.

    Raises
    ------
    InvalidInputError
        If the ending is none of these, the path is no local one, or the format cannot hold the
        rows exactly.
    ConflictError
        If the file is there and ``overwrite`` is false.
    NotFoundError
        If its folder does not exist.
    """
    path = require_writable(out, overwrite=overwrite)
    if isinstance(rows, Rows):
        known, batches = rows.provenance, rows.batches()
    else:
        known = words_of(rows.schema)
        batches = iter(rows.to_batches(BATCH_ROWS) if hasattr(rows, "to_batches") else rows)
    words = {**known, **(provenance or {})}
    _require_distinct(rows.schema.names)
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(new_file(path, overwrite=overwrite))
        n_rows = _writer(path)(temporary, rows.schema, batches, words)
        if path.suffix.lower() == ".csv":
            note = stack.enter_context(new_file(_note_of(path), overwrite=overwrite))
            note.write_text(json.dumps({**words, "n_rows": n_rows}, indent=1) + "\n")
    return n_rows


def require_writable(out: str | Path, *, overwrite: bool) -> Path:
    """The absolute path of a file that `write` can write, before the work for it starts.

    Parameters
    ----------
    out
        A local path.
    overwrite
        Whether to replace what is there.

    Raises
    ------
    InvalidInputError, ConflictError, NotFoundError
        As `write`.
    """
    if "://" in str(out):
        raise InvalidInputError(
            f"{out} is no local path", "Write to a local file and copy it from there"
        )
    path = local_path(out).absolute()
    if path.suffix.lower() not in FORMATS:
        raise InvalidInputError(
            f"{out} ends on {path.suffix or 'nothing'}", f"Choose one of {', '.join(FORMATS)}"
        )
    if not path.parent.is_dir():
        raise NotFoundError(f"there is no folder {path.parent}", "Make it first")
    for place in (path, _note_of(path)) if path.suffix.lower() == ".csv" else (path,):
        require_free(place, overwrite=overwrite)
    return path


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + ".provenance.json")


def _require_distinct(names: list[str]) -> None:
    """Refuse names that readers take for one: DuckDB and FITS do not look at the case."""
    counts = Counter(name.casefold() for name in names)
    repeated = [name for name in names if counts[name.casefold()] > 1 or not name.strip(" \0")]
    if repeated:
        raise InvalidInputError(
            f"columns are called {', '.join(map(repr, repeated[:5]))}",
            "Name each differently, such as AS a",
        )


def _parquet(
    path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch], words: Mapping[str, str]
) -> int:
    import pyarrow.parquet as pq

    schema = schema.with_metadata(
        {**_votable(schema, words), **{f"{PREFIX}{key}": text for key, text in words.items()}}
    )
    n_rows = 0
    with (
        _explained("Parquet"),
        pq.ParquetWriter(path, schema, compression="zstd", compression_level=3) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))
            n_rows += len(batch)
    return n_rows


def _votable(schema: pa.Schema, words: Mapping[str, str]) -> dict[Any, Any]:
    """VOParquet metadata, if all columns are the catalogue's (those of an SQL result may have no
    unit) and their release is known.
    """
    columns, origin = [_column(field) for field in schema], stated_origin(words)
    if origin is None or not all(columns):
        return {}
    content = votable("latents", tuple(column for column in columns if column), origin[1])
    return {VERSION_KEY: b"1.0", CONTENT_KEY: content}


def _column(field: pa.Field) -> Column | None:
    words = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    if not {"unit", "ucd", "description"} <= {*words}:
        return None
    return Column(field.name, field.type, words["unit"], words["ucd"], words["description"])


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidInputError(
            f"{name} cannot hold this: {first_line(error)}",
            "Cast the column, such as ::VARCHAR",
        ) from error


def _csv(
    path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch], words: Mapping[str, str]
) -> int:
    with path.open("wb") as file:
        return write_csv(file, schema, batches)


def write_csv(
    file: IO[bytes], schema: pa.Schema, batches: Iterator[pa.RecordBatch], delimiter: str = ","
) -> int:
    """Write rows as CSV and return their number.

    Parameters
    ----------
    file
        Where to, in bytes.
    schema
        Of the rows; names and texts are quoted, and a quote in them is doubled.
    batches
        The rows.
    delimiter
        What stands between columns.

    Raises
    ------
    InvalidInputError
        CSV cannot hold a column; see `xpscale.query.csv_text.csv_text`.
    """
    import pyarrow.csv

    n_rows, options = 0, pyarrow.csv.WriteOptions(include_header=False, delimiter=delimiter)
    names = pa.schema([(name, pa.string()) for name in schema.names])
    # names.empty_table() would import pandas, which takes longer than most queries
    empty = pa.Table.from_batches([], names)
    pyarrow.csv.write_csv(empty, file, pyarrow.csv.WriteOptions(delimiter=delimiter))
    for batch in batches:
        columns = map(csv_text, batch.columns, schema.names)
        with _explained("CSV"):
            pyarrow.csv.write_csv(
                pa.RecordBatch.from_arrays([*columns], schema.names), file, options
            )
        n_rows += len(batch)
    return n_rows


def _writer(
    path: Path,
) -> Callable[[Path, pa.Schema, Iterator[pa.RecordBatch], Mapping[str, str]], int]:
    if path.suffix.lower() == ".parquet":
        return _parquet
    return _csv if path.suffix.lower() == ".csv" else _table


def _table(
    path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch], words: Mapping[str, str]
) -> int:
    table = pa.Table.from_batches(batches, schema)
    write_table(table, path, words, TABLE_FORMATS[path.suffix.lower()])
    return int(table.num_rows)


FORMATS = (".parquet", ".csv", *TABLE_FORMATS)
"""Extensions that `write` knows."""
