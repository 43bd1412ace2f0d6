"""Parquet files of spectra: which there are, their footers, their columns as arrays."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpscale.errors import ConflictError, InvalidInputError, XpscaleError
from xpscale.nested import field_paths, flattened
from xpscale.sky import Pixel
from xpscale.storage.names import is_hidden
from xpscale.store.arrow_arrays import list_width

if TYPE_CHECKING:
    import pyarrow as pa

    from xpscale.storage import Storage

__all__ = [
    "ParquetFile",
    "content_digest",
    "first_rows",
    "footers",
    "hats_pixel",
    "is_parquet",
    "list_files",
    "read_file",
    "vector_widths",
]

THREADS = 16
FOOTER_BYTES = 1 << 16
BATCH_ROWS = 32_768
"""Rows decoded at once: 0.3 GB of memory for 110 coefficients and errors, however long row groups
are.
"""
_HATS = re.compile(
    r"(?:.*/)?Norder=(?P<order>\d+)/(?:Dir=\d+/)?Npix=(?P<number>\d+)(?:/[^/]+)?\.(?:parquet|pq)"
)


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """One data file, as its footer describes it.

    Parameters
    ----------
    key
        Key below the storage.
    n_bytes
        Its size.
    row_group_rows
        Rows of each row group.
    columns
        Names of its columns; of structs the paths of their fields, ``photometry.ra``.
    footer_sha256
        SHA-256 of the footer, in hex.
    release, n_bp
        Name of the data release and number of BP coefficients that its metadata state; empty if
        they do not.
    """

    key: str
    n_bytes: int
    row_group_rows: tuple[int, ...]
    columns: tuple[str, ...]
    footer_sha256: str
    release: str = ""
    n_bp: str = ""

    @property
    def n_rows(self) -> int:
        """Rows of all row groups."""
        return sum(self.row_group_rows)


def is_parquet(name: str) -> bool:
    """Whether a file of this name is taken for Parquet data; hidden ones, ``_metadata`` and the
    like, are not.
    """
    return name.endswith((".parquet", ".pq")) and not is_hidden(name)


def hats_pixel(key: str) -> Pixel | None:
    """The pixel in a HATS data file's path, ``.../Norder=5/Dir=0/Npix=1234.parquet``; ``None`` if
    it is no such path.
    """
    match = _HATS.fullmatch(key)
    return Pixel(int(match["order"]), int(match["number"])) if match else None


def list_files(storage: Storage, root: str) -> dict[str, int]:
    """Data files and their sizes.  Where some are HATS leaves, only those.

    Parameters
    ----------
    storage, root
        A place, and a folder or one file below it.
    """
    if is_parquet(root) and (size := storage.size(root)) is not None:
        return {root: size}
    found = {key: n_bytes for key, n_bytes in storage.list(root).items() if is_parquet(key)}
    return {key: n_bytes for key, n_bytes in found.items() if hats_pixel(key)} or found


def footers(storage: Storage, sizes: dict[str, int]) -> tuple[ParquetFile, ...]:
    """The files with what their footers say, one or two range requests each.

    Parameters
    ----------
    storage, sizes
        A place, and the bytes of each file below it.

    Raises
    ------
    InvalidInputError
        A file is not (whole) Parquet; the message names it.
    """
    with ThreadPoolExecutor(THREADS) as threads:
        return tuple(threads.map(lambda item: _footer(storage, *item), sorted(sizes.items())))


def _footer(storage: Storage, key: str, n_bytes: int) -> ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tail = storage.read_range(key, max(0, n_bytes - FOOTER_BYTES), min(n_bytes, FOOTER_BYTES))
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if tail[-4:] != b"PAR1" or length > n_bytes:
        raise _damaged(storage, key, "it does not end as a Parquet file does")
    if length > len(tail):
        tail = storage.read_range(key, n_bytes - length, length)
    footer = tail[-length:]
    try:
        metadata = pq.read_metadata(io.BytesIO(b"PAR1" + footer))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(storage, key, error) from error
    rows = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
    columns = field_paths(metadata.schema.to_arrow_schema())
    stated = (_stated(metadata.metadata or {}, name) for name in ("release", "n_bp"))
    return ParquetFile(key, n_bytes, rows, columns, hashlib.sha256(footer).hexdigest(), *stated)


def _stated(metadata: Mapping[bytes, bytes], name: str) -> str:
    """An entry of a file's metadata, which may begin with ``xpscale_``; else empty."""
    values = (metadata.get(f"{prefix}{name}".encode(), b"") for prefix in ("xpscale_", ""))
    return next(filter(None, values), b"").decode("utf-8", "replace")


def content_digest(files: Iterable[ParquetFile]) -> str:
    """SHA-256 over every file's name, size and footer."""
    lines = [f"{file.key} {file.n_bytes} {file.footer_sha256}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_file(
    storage: Storage, key: str, n_bytes: int, row_groups: Sequence[int], columns: Sequence[str]
) -> Iterator[tuple[int, pa.Table]]:
    """Some columns of some row groups of a file.

    Parameters
    ----------
    storage, key, n_bytes
        The file and the size it should have.
    row_groups
        Numbers of row groups.
    columns
        Names of columns, or paths of fields.

    Yields
    ------
    int, pyarrow.Table
        The number of a row group, and at most `BATCH_ROWS` of its rows.

    Raises
    ------
    ConflictError
        The file has no longer ``n_bytes`` bytes.
    InvalidInputError
        The file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if storage.size(key) != n_bytes:
        raise ConflictError(
            f"{storage.url}/{key} has changed while it was in use", "Start the run again"
        )
    try:
        with storage.open(key) as stream, pq.ParquetFile(stream, **storage.parquet_options) as file:
            for number in row_groups:
                for batch in file.iter_batches(
                    BATCH_ROWS, row_groups=[number], columns=list(columns)
                ):
                    yield number, flattened(pa.Table.from_batches([batch]))
    except XpscaleError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise _damaged(storage, key, error) from error


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
    that has any.

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
        for _, table in read_file(
            storage, file.key, file.n_bytes, range(len(file.row_group_rows)), missing
        ):
            for name in list(missing):
                where = f"{storage.url}/{file.key}"
                if width := list_width(table[name].combine_chunks(), where, name):
                    widths[name] = width
                    missing.remove(name)
            if not missing:
                return tuple(widths[group[0]] for group in groups)
    raise InvalidInputError(
        f"{storage.url} has no row with {' and '.join(missing)}", "Check the files"
    )


def _damaged(storage: Storage, key: str, why: object) -> InvalidInputError:
    line = str(why).strip().splitlines()[0][:200]
    return InvalidInputError(
        f"{storage.url}/{key} is not sound Parquet ({line})", "Fetch or write it again"
    )
