"""Small files that would fill the memory: what a file says that it holds is compared with the bytes
that it has, before anything is allocated.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.formatting import format_bytes

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = [
    "bounded",
    "require_ecsv",
    "require_expansion",
    "require_fits",
    "require_parquet",
    "require_votable",
    "zip_member",
]

MAX_RATIO = 20
"""Bytes in memory for a byte in a file; spectra, which are noise, compress to a third."""

FREE_BYTES = 64_000_000
"""What any file may take."""

VALUE_BYTES = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
POINTER_BYTES = 8

BATCH_ROWS, LIST_ROWS = 1 << 16, 64
"""Rows of a Parquet file whose texts are added up together; of lists of texts."""

HEAD_BYTES = 1 << 20
"""Of a VOTable or ECSV file, which hold the descriptions of its columns."""


def require_expansion(where: str, n_bytes: int, n_stored: int) -> None:
    """Refuse content that is far larger than its file.

    Parameters
    ----------
    where
        What to call it in errors.
    n_bytes
        Bytes that it would take in memory.
    n_stored
        Bytes of the file that holds it.

    Raises
    ------
    InvalidInputError
        The message has both numbers.
    """
    if n_bytes > FREE_BYTES + MAX_RATIO * n_stored:
        raise InvalidInputError(
            f"{where} would take {format_bytes(n_bytes)} of memory for {format_bytes(n_stored)} in"
            " the file",
            "It is damaged, or made to fill the memory; if you trust it, write it again without"
            " compression",
        )


class _Bounded(io.RawIOBase):
    """A stream of decompressed bytes that ends in an error where there are too many."""

    def __init__(self, stream: BinaryIO, where: str, n_stored: int) -> None:
        self._stream, self._where, self._n_stored = stream, where, n_stored

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        require_expansion(self._where, self._stream.tell(), self._n_stored)
        buffer[: len(data)] = data
        return len(data)


def bounded(stream: BinaryIO, where: str, n_stored: int) -> BinaryIO:
    """A stream of decompressed bytes, as long as they are not far more than the file has.

    Parameters
    ----------
    stream
        What decompresses.
    where, n_stored
        As of `require_expansion`.
    """
    return cast(BinaryIO, io.BufferedReader(_Bounded(stream, where, n_stored), 1 << 20))


def zip_member(archive: zipfile.ZipFile, member: str, where: str) -> bytes:
    """The content of a member of a zip file.

    Parameters
    ----------
    archive
        The file.
    member
        The member's name.
    where
        What to call it in errors.

    Raises
    ------
    InvalidInputError
        It would take far more memory than the file has bytes, or is a link.
    """
    found = archive.getinfo(member)
    if found.external_attr >> 28 == 0o12:  # S_IFLNK
        raise InvalidInputError(f"{where} is a link", "Leave it out of the zip file")
    require_expansion(where, found.file_size, found.compress_size)
    with archive.open(found) as stream:  # which may hold more than its header says
        return bounded(cast(BinaryIO, stream), where, found.compress_size).read()


def require_parquet(file: pq.ParquetFile, source: BinaryIO, where: str, n_stored: int) -> None:
    """Refuse a Parquet file one column of which would take far more memory than the file has bytes.

    A text that many rows repeat is stored once, in a dictionary, and read as often as it is
    repeated: where that could be too much, it is added up without writing the texts out.

    Parameters
    ----------
    file, source
        The file, and the bytes that it reads.
    where, n_stored
        As of `require_expansion`.

    Raises
    ------
    InvalidInputError
        The message names the column.
    """
    metadata = file.metadata
    taken: dict[str, int] = {}
    texts: set[str] = set()
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for i in range(group.num_columns):
            column = group.column(i)
            path, kind = column.path_in_schema, column.physical_type
            width = metadata.schema.column(i).length if kind == "FIXED_LEN_BYTE_ARRAY" else 0
            n_values = max(column.num_values, group.num_rows)
            n_bytes = n_values * max(width, VALUE_BYTES.get(kind, POINTER_BYTES))
            is_shared = kind == "BYTE_ARRAY" and "DICTIONARY" in str(column.encodings)
            most = n_values * column.total_uncompressed_size
            if is_shared and most > FREE_BYTES + MAX_RATIO * n_stored:
                texts.add(path)
            taken[path] = taken.get(path, 0) + max(n_bytes, column.total_uncompressed_size)
    for path, n_bytes in taken.items():
        require_expansion(f"{where}: {path}", n_bytes, n_stored)
    for path in sorted(texts):
        n_bytes = 0
        for size in _sizes_of_texts(source, path):
            n_bytes += size
            require_expansion(f"{where}: {path}", n_bytes, n_stored)


def _sizes_of_texts(source: BinaryIO, path: str) -> Iterator[int]:
    """Bytes of some values of a column of text after the other."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    is_list = "." in path  # which the library writes out; so a few at a time
    file = pq.ParquetFile(source, read_dictionary=[] if is_list else [path])
    rows = LIST_ROWS if is_list else BATCH_ROWS
    for batch in file.iter_batches(rows, columns=[path], use_threads=False):
        values = batch.column(0)
        if pa.types.is_dictionary(values.type):
            lengths = pc.take(pc.binary_length(values.dictionary), values.indices)
            yield pc.sum(lengths).as_py() or 0
        else:
            yield values.nbytes


def require_fits(hdu: Any, where: str, n_stored: int) -> None:
    """Refuse a table of a FITS file whose rows, or arrays of variable length, would take far more
    memory than the file has bytes: rows may share the same bytes of the heap.

    Parameters
    ----------
    hdu
        Of astropy, a ``BinTableHDU`` or ``TableHDU``.
    where, n_stored
        As of `require_expansion`.

    Raises
    ------
    InvalidInputError
        The message names the column.
    """
    n_rows = hdu.header["NAXIS2"]
    require_expansion(where, n_rows * max(hdu.header["NAXIS1"], POINTER_BYTES), n_stored)
    for column in hdu.columns:
        if re.search(r"^\d*[PQ]", column.format):
            lengths = hdu.data.view(np.ndarray)[column.name][:, 0]
            most = int(lengths.max(initial=0))
            n_bytes = n_rows * most * POINTER_BYTES  # rows become as long as the longest
            require_expansion(f"{where}: {column.name}", n_bytes, n_stored)


def require_ecsv(data: bytes, where: str) -> None:
    """Refuse an ECSV file whose head, which is YAML, is too large or grows where it is written out:
    its nodes may stand for others, and these for others again.

    Parameters
    ----------
    data
        The file.
    where
        What to call it in errors.

    Raises
    ------
    InvalidInputError
        The head has too many bytes, nodes, or no end.
    """
    import yaml

    lines = itertools.takewhile(lambda line: line.startswith(b"#"), io.BytesIO(data))
    head = b"".join(line[2:] for line in lines)
    if len(head) > HEAD_BYTES:
        raise InvalidInputError(
            f"{where}: its head has {format_bytes(len(head))}", "Remove 'meta' from it"
        )
    n_nodes: dict[int, float] = {}

    def count(node: Any) -> float:
        if id(node) not in n_nodes:
            n_nodes[id(node)] = math.inf  # until it is known: a node may hold itself
            inside = node.value if isinstance(node, yaml.CollectionNode) else ()
            pairs = (one if isinstance(one, tuple) else (one,) for one in inside)
            n_nodes[id(node)] = 1 + sum(map(count, itertools.chain.from_iterable(pairs)))
        return n_nodes[id(node)]

    if count(yaml.compose(head.decode(), yaml.SafeLoader)) > HEAD_BYTES:
        raise InvalidInputError(f"{where}: its head has no end", "Remove 'meta' from it")


def require_votable(stream: BinaryIO, where: str, n_stored: int) -> None:
    """Refuse a VOTable whose head asks for far more memory than the file has bytes.

    Parameters
    ----------
    stream
        The file, at its beginning, where it is left.
    where, n_stored
        As of `require_expansion`.

    Raises
    ------
    InvalidInputError
        The number of rows or the length of an array is too large.
    """
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    for words in re.findall(rb"\b(?:nrows|arraysize)\s*=\s*[\"']([\dx*\s]+)[\"']", head):
        n_values = math.prod(map(int, re.findall(rb"\d+", words)))
        require_expansion(where, n_values * 8, n_stored)
