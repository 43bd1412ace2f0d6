"""Chosen columns of a bulk ECSV file (``.csv.gz``), at nearly the speed of decompressing it.

The archive's bulk files are gzip text: a block of ``#`` lines (counted, never assumed), a header
line, then comma-separated rows.  Arrays stand in double quotes, ``"[1.0,2.0]"``, and may have any
length.  Columns that were not asked for are skipped without being parsed; in a spectrum's row that
is 91 % of the text (the correlations).  That the bytes are those the archive packed is checked by
the decompressor: every gzip member ends with the CRC-32 and the length of its text.

Numbers of up to 19 digits, 22 of them at most behind the point, are read to the nearest float64:
every position and flux of the archive is written so.  Others are within 2 units of the last place,
which no float32 coefficient can tell.  ``null``, an empty field and ``nan`` are missing: NaN for
floats, 0 for integers (no Gaia identifier is 0), no elements for arrays.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from xpscale.archive.rows import RowBuffer, scan_rows
from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EcsvChunk", "EcsvReader"]

CHUNK_BYTES = 1 << 20  # of text: it stays in the cache between being decompressed and being read
ROWS_BYTES = 1 << 24
MAX_ROW_BYTES = 1 << 24  # of text; with all correlations a row has 60 kB
FIRST_WIDTH = 8
"""Elements of an array that there is room for at first; doubled when one is longer."""
MAX_ARRAY = 1 << 14
"""Elements of the longest array that is read: the correlations of 181 coefficients.  A longer one
(1,485 in DR3) is taken for damage, before it takes the memory.
"""


@dataclass(frozen=True, slots=True, eq=False)
class EcsvChunk:
    """Some consecutive rows of a file.

    Parameters
    ----------
    integers
        int64 columns in the order asked for, with shape (N, I); 0 where missing.
    floats
        float64 columns, with shape (N, F); NaN where missing.
    arrays
        float32 array columns, each with shape (N, W) for a W at least as large as the longest array
        here; NaN beyond a row's length.
    lengths
        Elements found in each array, with shape (N, A); 0 where missing.
    """

    integers: NDArray[np.int64]
    floats: NDArray[np.float64]
    arrays: tuple[NDArray[np.float32], ...]
    lengths: NDArray[np.int32]


class EcsvReader:
    """Reads chosen columns of one bulk file, in chunks of rows.

    Parameters
    ----------
    stream
        The compressed file, open for reading in binary.
    name
        What to call it in errors.
    integers, floats
        Names of scalar columns.
    arrays
        Names of array columns.
    optional
        Those of ``floats`` that the file may lack; they are NaN then.
    only
        Ascending values of the first integer column: other rows are passed over.  All rows if not
        given.

    Attributes
    ----------
    n_rows
        Rows seen so far, those passed over included.
    names
        All columns of the file, once rows were read.
    absent
        Optional columns that the file lacks, once rows were read.
    """

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        *,
        integers: Sequence[str] = (),
        floats: Sequence[str] = (),
        arrays: Sequence[str] = (),
        optional: Sequence[str] = (),
        only: NDArray[np.int64] | None = None,
    ) -> None:
        self.name = name
        self.n_rows = 0
        self.names: list[str] = []
        self._integers, self._floats, self._arrays = list(integers), list(floats), list(arrays)
        self._widths = [FIRST_WIDTH] * len(arrays)
        self._optional, self.absent = frozenset(optional), frozenset[str]()
        self._only = only
        self._stream = stream

    def chunks(self) -> Iterator[EcsvChunk]:
        """The rows, in order.

        Raises
        ------
        InvalidInputError
            The file is truncated, is not gzip, lacks a column, or has a row that cannot be read.
        """
        from isal import igzip, isal_zlib

        try:
            with igzip.IGzipFile(fileobj=self._stream, mode="rb") as text:
                yield from self._parse(text)
        except EOFError as error:
            raise InvalidInputError(
                f"{self.name} is truncated: its gzip stream ends too early", "Download it again"
            ) from error
        except (gzip.BadGzipFile, zlib.error, isal_zlib.error) as error:  # type: ignore[misc]  # stub: an instance
            raise InvalidInputError(
                f"{self.name} is not a sound gzip file ({error})", "Download it again"
            ) from error

    def _parse(self, text: Any) -> Iterator[EcsvChunk]:
        buffer, filled, roles, rows = bytearray(CHUNK_BYTES), 0, None, self._room()
        while True:
            if filled == len(buffer):  # one row longer than the buffer
                if filled >= MAX_ROW_BYTES:
                    raise InvalidInputError(
                        f"{self.name}: row {self.n_rows + 1:,} has more than {MAX_ROW_BYTES:,}"
                        " bytes",
                        "Download the file again, or report it",
                    )
                buffer = buffer + bytes(filled)
            n_read = text.readinto(memoryview(buffer)[filled:])
            filled += n_read
            if n_read == 0 and filled and buffer[filled - 1] != ord("\n"):
                buffer[filled] = ord("\n")
                filled += 1
            consumed = 0
            if roles is None:
                start = _header_start(buffer, filled)
                if start is not None:
                    end = buffer.index(b"\n", start)
                    roles, consumed = self._roles(bytes(buffer[start:end])), end + 1
            while roles is not None:
                consumed, is_done = self._scan(buffer, consumed, filled, roles, rows)
                if is_done:
                    break
                yield self._chunk(rows)
                rows = self._room()
            if n_read == 0:
                if roles is None:
                    raise InvalidInputError(
                        f"{self.name} has no header line", "Check that it is an archive bulk file"
                    )
                yield self._chunk(rows)
                return
            buffer[: filled - consumed] = buffer[consumed:filled]
            filled -= consumed

    def _roles(self, header: bytes) -> NDArray[np.int32]:
        names = [
            name.strip().strip('"') for name in header.decode("utf-8", "replace").strip().split(",")
        ]
        wanted = self._integers + self._floats + self._arrays
        self.absent = self._optional - {*names}
        missing = [name for name in wanted if name not in names and name not in self.absent]
        if missing:
            raise InvalidInputError(
                f"{self.name} has no column {', '.join(missing)}; it starts with"
                f" {', '.join(names[:4])}",
                "Check that the file is of the table its name says",
            )
        self.names = names
        slot = {name: i for i, name in enumerate(wanted)}
        return np.array([slot.get(name, -1) for name in names], np.int32)

    def _room(self) -> RowBuffer:
        return RowBuffer(len(self._integers), len(self._floats), self._widths, ROWS_BYTES)

    def _scan(
        self, buffer: bytearray, start: int, stop: int, roles: NDArray[np.int32], rows: RowBuffer
    ) -> tuple[int, bool]:
        """Add the complete rows of some text, as many as there is room for; the offset behind them,
        and whether they were all.
        """
        before = rows.n
        n_passed, consumed, fault, column = scan_rows(
            np.frombuffer(buffer, np.uint8), start, stop, roles, self._only, rows
        )
        self.n_rows += rows.n - before + n_passed
        if fault == "too long":
            slot = self._arrays.index(self.names[column])
            if self._widths[slot] < MAX_ARRAY:
                self._widths[slot] *= 2
                return consumed, False
        if fault:
            reason = (
                "has another number of columns than the header"
                if fault == "columns"
                else f"column {self.names[column]}, cannot be read"
            )
            raise InvalidInputError(
                f"{self.name}: row {self.n_rows + 1:,}"
                f"{' ' if fault == 'columns' else ', '}{reason}",
                "Download the file again, or report it",
            )
        return consumed, not rows.is_full

    def _chunk(self, rows: RowBuffer) -> EcsvChunk:
        """The rows so far; the buffer is not used again."""
        n = rows.n
        for slot, name in enumerate(self._floats):
            if name in self.absent:
                rows.floats[:n, slot] = np.nan
        arrays = tuple(rows.arrays[:n, low:high] for low, high in pairwise(rows.edges))
        return EcsvChunk(rows.integers[:n], rows.floats[:n], arrays, rows.lengths[:n])


def _header_start(buffer: bytearray, filled: int) -> int | None:
    """Offset of the first line that does not begin with ``#``, once that line is complete in the
    buffer.
    """
    position = 0
    while position < filled:
        end = buffer.find(b"\n", position, filled)
        if end < 0:
            return None
        if buffer[position] != ord("#"):
            return position
        position = end + 1
    return None
