"""Chosen columns of a bulk ECSV file (``.csv.gz``), at nearly the speed of decompressing it.

The archive's bulk files are gzip text: a block of ``#`` lines (counted, never assumed), a header line, then comma-separated
rows.  Arrays stand in double quotes, ``"[1.0,2.0]"``.  Columns nobody asked for are skipped eight bytes at a time without
being parsed; in a spectrum's row that is 91 % of the text (the correlations).

Numbers of up to 19 digits, 22 of them at most behind the point, are read to the nearest float64: every position and flux
of the archive is written so.  Others are within 2 units of the last place, which no float32 coefficient can tell.  ``null``,
an empty field and ``nan`` are missing: NaN for floats, 0 for integers (no Gaia identifier is 0), no elements for arrays.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from xpscale.archive._scan import scan_rows
from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EcsvChunk", "EcsvReader"]

CHUNK_BYTES = 1 << 23
MAX_ARRAY = 1536
"""Longest array a column may hold (correlations of 55 coefficients are 1485)."""


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
        float32 array columns, one with shape (N, width) each; NaN beyond a row's length.
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
        Names of array columns, with the most elements each may have.
    """

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        *,
        integers: Sequence[str] = (),
        floats: Sequence[str] = (),
        arrays: Sequence[tuple[str, int]] = (),
    ) -> None:
        self.name = name
        self.n_rows = 0
        self._names: list[str] = []
        self._integers, self._floats, self._arrays = list(integers), list(floats), list(arrays)
        self._stream = stream
        self.md5 = ""
        """Of the compressed bytes, once all chunks were read."""

    def chunks(self) -> Iterator[EcsvChunk]:
        """The rows, in order.

        Raises
        ------
        InvalidInputError
            The file is truncated, is not gzip, lacks a column, or has a row that cannot be read.
        """
        from isal import igzip, isal_zlib

        try:
            with closing(_HashingReader(self._stream)) as hashed, igzip.IGzipFile(fileobj=hashed, mode="rb") as text:
                yield from self._parse(text)
                self.md5 = hashed.finish()
        except EOFError as error:
            raise InvalidInputError(
                f"{self.name} is truncated: its gzip stream ends too early", "Download it again"
            ) from error
        except (gzip.BadGzipFile, zlib.error, isal_zlib.error) as error:  # type: ignore[misc]  # stub: an instance
            raise InvalidInputError(f"{self.name} is not a sound gzip file ({error})", "Download it again") from error

    def _parse(self, text: Any) -> Iterator[EcsvChunk]:
        buffer = bytearray(CHUNK_BYTES + 64)
        view = memoryview(buffer)
        filled, roles = 0, None
        while True:
            if filled == len(buffer) - 64:  # one row longer than the buffer
                buffer, view = _doubled(buffer, filled)
            n_read = text.readinto(view[filled : len(buffer) - 64])
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
            is_full = roles is not None
            while is_full and roles is not None:
                chunk, consumed, is_full = self._scan(buffer, consumed, filled, roles)
                if len(chunk.integers):
                    yield chunk
            if n_read == 0:
                if roles is None:
                    raise InvalidInputError(f"{self.name} has no header line", "Check that it is an archive bulk file")
                return
            buffer[: filled - consumed] = buffer[consumed:filled]
            filled -= consumed

    def _roles(self, header: bytes) -> NDArray[np.int32]:
        names = [name.strip().strip('"') for name in header.decode("utf-8", "replace").strip().split(",")]
        wanted = self._integers + self._floats + [name for name, _ in self._arrays]
        missing = [name for name in wanted if name not in names]
        if missing:
            raise InvalidInputError(
                f"{self.name} has no column {', '.join(missing)}; it starts with {', '.join(names[:4])}",
                "Check that the file is of the table its name says",
            )
        self._names = names
        slot = {name: i for i, name in enumerate(wanted)}
        return np.array([slot.get(name, -1) for name in names], np.int32)

    def _scan(self, buffer: bytearray, start: int, stop: int, roles: NDArray[np.int32]) -> tuple[EcsvChunk, int, bool]:
        """The complete rows of a piece of text, the offset behind them, and whether there was no room for more rows."""
        first_row = buffer.find(b"\n", start, stop) + 1 - start
        room = 2 * (stop - start) // max(first_row, 1) + 16 if first_row > 0 else 1
        widths = np.array([width for _, width in self._arrays], np.int64)
        integers = np.zeros((room, len(self._integers)), np.int64)
        floats = np.full((room, len(self._floats)), np.nan)
        arrays = np.full((room, int(widths.sum())), np.nan, np.float32)
        lengths = np.zeros((room, len(widths)), np.int32)
        data = np.frombuffer(buffer, np.uint8)
        n, consumed, bad = scan_rows(data, start, stop, roles, integers, floats, arrays, widths, lengths)
        if bad >= 0:
            reason = "has another number of columns than the header" if bad == len(roles) else "cannot be read"
            column = "" if bad == len(roles) else f", column {self._names[bad]},"
            raise InvalidInputError(
                f"{self.name}: row {self.n_rows + n + 1:,}{column} {reason}", "Download the file again, or report it"
            )
        self.n_rows += n
        edges = np.cumsum([0, *widths])
        split = tuple(arrays[:n, low:high] for low, high in pairwise(edges))
        return EcsvChunk(integers[:n], floats[:n], split, lengths[:n]), consumed, n == room


def _header_start(buffer: bytearray, filled: int) -> int | None:
    """Offset of the first line that does not begin with ``#``, once that line is complete in the buffer."""
    position = 0
    while position < filled:
        end = buffer.find(b"\n", position, filled)
        if end < 0:
            return None
        if buffer[position] != ord("#"):
            return position
        position = end + 1
    return None


def _doubled(buffer: bytearray, filled: int) -> tuple[bytearray, memoryview]:
    larger = bytearray(2 * len(buffer))
    larger[:filled] = buffer[:filled]
    return larger, memoryview(larger)


class _HashingReader(io.RawIOBase):
    """A stream that takes the MD5 of all that is read through it, in a thread beside the decompression."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._digest = hashlib.md5(usedforsecurity=False)
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self._wait()
        self._pending = self._thread.submit(self._digest.update, data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def finish(self) -> str:
        """Read to the end, so that the MD5 covers the whole file, and return it."""
        while self.read(1 << 20):
            pass
        self._wait()
        return self._digest.hexdigest()

    def close(self) -> None:
        self._thread.shutdown()
        super().close()

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
