"""Something that is read in ranges of bytes, as a file that can seek."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

__all__ = ["RangeFile"]


class RangeFile(io.RawIOBase):
    """A file whose every read is one call.

    Parameters
    ----------
    read_range
        The bytes of an offset and a number of bytes.
    n_bytes
        Size of the whole.
    """

    def __init__(self, read_range: Callable[[int, int], bytes], n_bytes: int) -> None:
        self._read_range, self._n_bytes, self._offset = read_range, n_bytes, 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """The offset, in bytes."""
        return self._offset

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset, and return it.

        Parameters
        ----------
        offset
            Bytes from the place that ``whence`` says.
        whence
            Start, current offset or end, as `io.IOBase.seek` has it.
        """
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._n_bytes}[whence]
        self._offset = start + offset
        return self._offset

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as there are bytes, and return their number."""
        wanted = max(0, min(len(buffer), self._n_bytes - self._offset))
        data = self._read_range(self._offset, wanted)
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)
