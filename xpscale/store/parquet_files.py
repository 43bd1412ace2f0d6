"""Parquet files of spectra: which there are, their footers, their columns as arrays."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpscale.errors import ConflictError, InvalidInputError, XpscaleError
from xpscale.expansion import require_parquet
from xpscale.nested import field_paths, flattened
from xpscale.storage.names import is_hidden
from xpscale.store.hats_listing import hats_pixel, leaf_key, listed_pixels, listed_sizes

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from xpscale.storage import Storage

__all__ = [
    "ParquetFile",
    "content_digest",
    "footers",
    "is_parquet",
    "list_files",
    "read_file",
    "require_all_rows",
]

THREADS = 16
ANY_INTEGER = (-(1 << 63), (1 << 63) - 1)
FOOTER_BYTES = 1 << 16
BATCH_ROWS = 32_768
"""Rows decoded at once: 0.3 GB of memory for 110 coefficients and errors, however long row groups
are.
"""


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
    ranges
        Least and largest value of a column of integers in each row group, if `footers` was asked
        for them; all of int64 where the file has no statistics.
    damage
        Why its footer cannot be read; empty if it can.
    """

    key: str
    n_bytes: int
    row_group_rows: tuple[int, ...]
    columns: tuple[str, ...]
    footer_sha256: str
    release: str = ""
    n_bp: str = ""
    ranges: tuple[tuple[int, int], ...] = ()
    damage: str = ""

    @property
    def n_rows(self) -> int:
        """Rows of all row groups."""
        return sum(self.row_group_rows)


def is_parquet(name: str) -> bool:
    """Whether a file of this name is taken for Parquet data; hidden ones, ``_metadata`` and the
    like, are not.
    """
    return name.lower().endswith((".parquet", ".parq", ".pq")) and not is_hidden(name)


def list_files(storage: Storage, root: str) -> dict[str, int]:
    """Data files and their sizes.  Where some are HATS leaves, only those; leaves that the
    catalogue lists and that are missing have no bytes.

    Parameters
    ----------
    storage, root
        A place, and a folder or one file below it; of a HATS catalogue the folder ``dataset``.
    """
    if is_parquet(root) and (size := storage.size(root)) is not None:
        return {root: size}
    is_hats = root.endswith("dataset")
    listed = listed_pixels(storage, root) if is_hats else set()
    if not storage.can_list:
        return listed_sizes(storage, root, listed)
    found = {key: n_bytes for key, n_bytes in storage.list(root).items() if is_parquet(key)}
    leaves = {pixel: key for key in found if (pixel := hats_pixel(key))}
    missing = {leaf_key(root, pixel): 0 for pixel in listed - leaves.keys()}
    return {key: n for key, n in found.items() if not leaves or hats_pixel(key)} | missing


def footers(
    storage: Storage,
    sizes: dict[str, int],
    ranges_of: Callable[[tuple[str, ...]], str] | None = None,
    *,
    skip_damaged: bool = False,
) -> tuple[ParquetFile, ...]:
    """The files with what their footers say, one or two range requests each.

    Parameters
    ----------
    storage, sizes
        A place, and the bytes of each file below it.
    ranges_of
        Of all columns of a file, the one whose ranges are wanted.
    skip_damaged
        Whether a file that is not (whole) Parquet, among others that are, has no rows and says
        why.

    Raises
    ------
    InvalidInputError
        A file is not (whole) Parquet; the message names it.
    """
    refused: dict[str, InvalidInputError] = {}

    def read(key: str) -> ParquetFile:
        try:
            return _footer(storage, key, sizes[key], ranges_of)
        except InvalidInputError as error:
            refused[key] = error
            return ParquetFile(key, sizes[key], (), (), "", damage=error.message)

    with ThreadPoolExecutor(THREADS) as threads:
        files = tuple(threads.map(read, sorted(sizes)))
    if refused and not (skip_damaged and len(refused) < len(files)):
        first = refused[min(refused)]
        more = f" (and {len(refused) - 1:,} more)" if len(refused) > 1 else ""
        raise InvalidInputError(f"{first.message}{more}", first.remedy)
    return files


def _footer(
    storage: Storage,
    key: str,
    n_bytes: int,
    ranges_of: Callable[[tuple[str, ...]], str] | None = None,
) -> ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not n_bytes:
        raise _nothing(storage, key)
    tail = storage.read_range(key, max(0, n_bytes - FOOTER_BYTES), min(n_bytes, FOOTER_BYTES))
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if tail[-4:] != b"PAR1" or length > n_bytes:
        raise _damaged(storage, key, "it does not end as a Parquet file does")
    if length > len(tail):
        tail = storage.read_range(key, n_bytes - length, length - len(tail)) + tail
    footer = tail[-length:]
    try:
        metadata = pq.read_metadata(io.BytesIO(b"PAR1" + footer))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(storage, key, error) from error
    rows = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
    columns = field_paths(metadata.schema.to_arrow_schema())
    release, n_bp = (_stated(metadata.metadata or {}, name) for name in ("release", "n_bp"))
    digest = hashlib.sha256(footer).hexdigest()
    ranges = _ranges(metadata, ranges_of(columns)) if ranges_of else ()
    return ParquetFile(key, n_bytes, rows, columns, digest, release, n_bp, ranges)


def _ranges(metadata: pq.FileMetaData, column: str) -> tuple[tuple[int, int], ...]:
    """Least and largest value of a column in each row group, as far as statistics tell."""
    paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    found = []
    for number in range(metadata.num_row_groups):
        known = metadata.row_group(number).column(paths.index(column)).statistics
        is_known = known is not None and known.has_min_max and isinstance(known.min, int)
        found.append((known.min, known.max) if is_known else ANY_INTEGER)
    return tuple(found)


def _stated(metadata: Mapping[bytes, bytes], name: str) -> str:
    """An entry of a file's metadata, which may begin with ``xpscale_``; else empty."""
    values = (metadata.get(f"{prefix}{name}".encode(), b"") for prefix in ("xpscale_", ""))
    return next(filter(None, values), b"").decode("utf-8", "replace")


def content_digest(files: Iterable[ParquetFile]) -> str:
    """SHA-256 over every file's name, size and footer."""
    lines = [f"{file.key} {file.n_bytes} {file.footer_sha256}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def require_all_rows(
    where: str, properties: Mapping[str, str], files: Sequence[ParquetFile]
) -> None:
    """Refuse a catalogue whose files have another number of rows than it says.

    Parameters
    ----------
    where
        Its address.
    properties
        Of the catalogue.
    files
        All its data files.  Where one is damaged, nobody knows the number.

    Raises
    ------
    InvalidInputError
        The numbers differ; the message has both.
    """
    stated, found = properties.get("hats_nrows", ""), sum(file.n_rows for file in files)
    if stated.isdigit() and int(stated) != found and not any(file.damage for file in files):
        raise InvalidInputError(
            f"{where} has {found:,} rows, its hats_nrows says {int(stated):,}",
            "Fetch it again; or give its folder 'dataset', to read what is there",
        )


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

    if not n_bytes:
        raise _nothing(storage, key)
    if storage.size(key) != n_bytes:
        raise ConflictError(
            f"{storage.url}/{key} has changed while it was in use", "Start the run again"
        )
    try:
        with storage.open(key) as stream, pq.ParquetFile(stream, **storage.parquet_options) as file:
            require_parquet(file, stream, f"{storage.url}/{key}", n_bytes)
            for number in row_groups:
                for batch in file.iter_batches(
                    BATCH_ROWS, row_groups=[number], columns=list(columns)
                ):
                    yield number, flattened(pa.Table.from_batches([batch]))
    except XpscaleError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise _damaged(storage, key, error) from error


def _nothing(storage: Storage, key: str) -> InvalidInputError:
    if storage.exists(key):
        return _damaged(storage, key, "it is empty")
    return InvalidInputError(
        f"{storage.url}/{key} is missing, though its catalogue lists it", "Fetch it again"
    )


def _damaged(storage: Storage, key: str, why: object) -> InvalidInputError:
    line = str(why).strip().splitlines()[0][:200]
    return InvalidInputError(
        f"{storage.url}/{key} is not sound Parquet ({line})", "Fetch or write it again"
    )
