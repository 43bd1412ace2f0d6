"""Rows of a catalogue as a file that says where it comes from: Parquet, CSV or FITS.

A file appears whole or not at all: it is written under a temporary name next to its place and then
linked there.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpscale.catalog.votable import CONTENT_KEY, VERSION_KEY, votable
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.query.selection import Selection
from xpscale.query.version import PREFIX, stated_origin, words_of
from xpscale.schema import Column

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FORMATS", "write"]

FORMATS = (".parquet", ".csv", ".fits")
"""Extensions that `write` knows."""


def write(
    rows: Selection | pa.Table,
    out: str | Path,
    provenance: Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
) -> int:
    """Write rows to a file, in the format its name ends on, and return their number.

    ``.parquet`` carries units and provenance as VOParquet and as key-value metadata, streamed, so
    it may be larger than memory.  ``.fits`` is a binary table with units, provenance in the header.
    ``.csv`` is plain (streamed as well, arrays as ``[a,b,..]`` like the Gaia archive's), with the
    provenance next to it in ``NAME.csv.provenance.json``.

    Parameters
    ----------
    rows
        A selection, or a table.
    out
        A local path.
    provenance
        Words to keep with the rows; a selection knows its own.
    overwrite
        Replace what is there.

    Raises
    ------
    InvalidInputError
        If the ending is none of these, or the path is no local one.
    ConflictError
        If the file is there and ``overwrite`` is false.
    NotFoundError
        If its folder does not exist.
    """
    path = _destination(out, overwrite=overwrite)
    if isinstance(rows, Selection):
        known, batches = rows.provenance, rows.batches()
    else:
        known, batches = words_of(rows.schema), iter(rows.to_batches())
    words = {**known, **(provenance or {})}
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(_published(path, overwrite=overwrite))
        n_rows = WRITERS[path.suffix](temporary, rows.schema, batches, words)
        if path.suffix == ".csv":
            note = stack.enter_context(_published(_note_of(path), overwrite=overwrite))
            note.write_text(json.dumps({**words, "n_rows": n_rows}, indent=1) + "\n")
    return n_rows


def _destination(out: str | Path, *, overwrite: bool) -> Path:
    if "://" in str(out):
        raise InvalidInputError(
            f"{out} is no local path", "Write to a local file and copy it from there"
        )
    path = Path(out).expanduser().absolute()
    if path.suffix not in FORMATS:
        raise InvalidInputError(
            f"{out} ends on {path.suffix or 'nothing'}", f"Choose one of {', '.join(FORMATS)}"
        )
    if not path.parent.is_dir():
        raise NotFoundError(f"there is no folder {path.parent}", "Make it first")
    for place in (path, _note_of(path)) if path.suffix == ".csv" else (path,):
        if place.exists() and (not overwrite or place.is_dir()):
            raise ConflictError(
                f"{place} is already there", "Choose another name, or allow overwriting"
            )
    return path


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + ".provenance.json")


@contextlib.contextmanager
def _published(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary file that becomes ``path`` if the block succeeds and vanishes if it does not."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        temporary = Path(folder, path.name)
        yield temporary
        if overwrite:
            os.replace(temporary, path)
            return
        try:
            os.link(temporary, path)  # unlike a rename, refuses what appeared there in the meantime
        except FileExistsError as error:
            raise ConflictError(
                f"{path} is already there", "Choose another name, or allow overwriting"
            ) from error


def _parquet(
    path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch], words: Mapping[str, str]
) -> int:
    import pyarrow.parquet as pq

    schema = schema.with_metadata(
        {**_votable(schema, words), **{f"{PREFIX}{key}": text for key, text in words.items()}}
    )
    n_rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3) as writer:
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
    if "unit" not in words:
        return None
    return Column(field.name, field.type, words["unit"], words["ucd"], words["description"])


def _csv(
    path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch], words: Mapping[str, str]
) -> int:
    import pyarrow.csv as csv

    n_rows = 0
    with path.open("wb") as file:
        # names and numbers need no quotes; arrays hold commas and do
        file.write((",".join(schema.names) + "\n").encode())
        for batch in batches:
            csv.write_csv(_flat(batch), file, csv.WriteOptions(include_header=False))
            n_rows += len(batch)
    return n_rows


def _flat(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with arrays spelt as ``[a,b,..]``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    for column in batch.columns:
        if pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type):
            texts = column.cast(pa.list_(pa.float32())).cast(pa.list_(pa.string()))
            column = pc.binary_join_element_wise("[", pc.binary_join(texts, ","), "]", "")
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _fits(
    path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch], words: Mapping[str, str]
) -> int:
    import pyarrow as pa
    from astropy.io.fits import HDUList, PrimaryHDU, table_to_hdu

    from xpscale.query.convert import to_astropy

    # keywords have at most eight letters; header text is ASCII
    header = {
        key.upper()[:8]: text.encode("ascii", "replace").decode() for key, text in words.items()
    }
    table = to_astropy(pa.Table.from_batches(batches, schema), header)
    units = {name: table[name].unit for name in table.colnames}
    for name in table.colnames:
        table[
            name
        ].unit = None  # FITS has no electron, and astropy would drop the unit with a warning
    hdu = table_to_hdu(table)
    for column in hdu.columns:
        if units[column.name] is not None:
            column.unit = units[column.name].to_string().replace(" ", "")
    HDUList([PrimaryHDU(), hdu]).writeto(path)
    return len(table)


WRITERS: dict[
    str, Callable[[Path, pa.Schema, Iterator[pa.RecordBatch], Mapping[str, str]], int]
] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".fits": _fits,
}
