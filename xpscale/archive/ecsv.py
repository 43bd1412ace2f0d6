"""Chosen columns of a bulk ECSV file (``.csv.gz``), at nearly the speed of decompressing it.

The archive's bulk files are gzip text: a block of ``#`` lines (counted, never assumed), a header line, then comma-separated
rows.  Arrays stand in double quotes, ``"[1.0,2.0]"``.  Columns nobody asked for are skipped eight bytes at a time without
being parsed; in a spectrum's row that is 91 % of the text (the correlations).

Numbers are read as an integer mantissa of up to 19 digits times a power of ten: exact to the last bit of float64 for
up to 15 digits, within 1.5 units of the last place beyond.  ``null``, an empty field and ``nan`` are missing: NaN for
floats, 0 for integers (no Gaia identifier is 0), no elements for arrays.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
        self._integers, self._floats, self._arrays = list(integers), list(floats), list(arrays)
        self._hashed = _HashingReader(stream)

    @property
    def md5(self) -> str:
        """MD5 of the compressed bytes; complete once all chunks were read."""
        return self._hashed.digest.hexdigest()

    def chunks(self) -> Iterator[EcsvChunk]:
        """The rows, in order.

        Raises
        ------
        InvalidInputError
            The file is truncated, is not gzip, lacks a column, or has a row that cannot be read.
        """
        from isal import igzip, isal_zlib

        try:
            with igzip.IGzipFile(fileobj=self._hashed, mode="rb") as text:
                yield from self._parse(text)
        except EOFError as error:
            raise InvalidInputError(
                f"{self.name} is truncated: its gzip stream ends after row {self.n_rows:,}", "Download it again"
            ) from error
        except (igzip.BadGzipFile, zlib.error, isal_zlib.error) as error:
            raise InvalidInputError(f"{self.name} is not a sound gzip file ({error})", "Download it again") from error
        self._hashed.drain()

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
                start = _header_start(buffer, filled, final=n_read == 0)
                if start is not None:
                    end = buffer.index(b"\n", start)
                    roles, consumed = self._roles(bytes(buffer[start:end])), end + 1
            if roles is not None:
                chunk, consumed = self._scan(buffer, consumed, filled, roles)
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
        slot = {name: i for i, name in enumerate(wanted)}
        return np.array([slot.get(name, -1) for name in names], np.int32)

    def _scan(self, buffer: bytearray, start: int, stop: int, roles: NDArray[np.int32]) -> tuple[EcsvChunk, int]:
        data = np.frombuffer(buffer, np.uint8)
        n_lines = buffer.count(b"\n", start, stop)
        n_integers, n_floats, n_arrays = len(self._integers), len(self._floats), len(self._arrays)
        integers = np.zeros((n_lines, n_integers), np.int64)
        floats = np.full((n_lines, n_floats), np.nan)
        widths = np.array([width for _, width in self._arrays], np.int64)
        arrays = np.full((n_lines, int(widths.sum())), np.nan, np.float32)
        lengths = np.zeros((n_lines, n_arrays), np.int32)
        n, consumed, bad = scan_rows(data, start, stop, roles, integers, floats, arrays, widths, lengths)
        if bad >= 0:
            reason = "has another number of columns than the header" if bad == len(roles) else "cannot be read"
            column = "" if bad == len(roles) else f", column {bad + 1},"
            raise InvalidInputError(
                f"{self.name}: row {self.n_rows + n + 1:,}{column} {reason}", "Download the file again, or report it"
            )
        self.n_rows += n
        edges = np.concatenate([[0], np.cumsum(widths)])
        split = tuple(arrays[:n, edges[i] : edges[i + 1]] for i in range(n_arrays))
        return EcsvChunk(integers[:n], floats[:n], split, lengths[:n]), consumed


def _header_start(buffer: bytearray, filled: int, *, final: bool) -> int | None:
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
    """A stream that takes the MD5 of all that is read through it."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.digest = hashlib.md5(usedforsecurity=False)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.digest.update(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def drain(self) -> None:
        """Read to the end, so that the MD5 covers the whole file."""
        while self.read(1 << 20):
            pass
