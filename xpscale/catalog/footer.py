"""The end of a part: its footer, kept twice, as Parquet has it and compressed just before that; and
before both, how many of its rows lie where on the sky (`xpscale.catalog.cell_counts`).

::

    PAR1 | row groups | page index | packed cell counts, their length, XPSC
         | packed footer, its length, XPSF | footer, its length, PAR1

A part has a row group for every thousand rows or so, in order that one source costs little.  So its
footer is long, as long as the row groups of several sources, but it repeats itself: packed it takes
a fifth.  The manifest says where a packed footer lies, and one range request brings it.  Parquet's
readers begin at the end of a file and go only where the footer sends them: they pass over it.
"""

from __future__ import annotations

import io
import zlib

from xpscale.errors import PermanentError

__all__ = ["COUNTS_MARK", "add_packed", "block_in", "footer_sizes", "unpacked"]

TAIL_BYTES = 8  # a length in four bytes, and a mark
MARK = b"XPSF"
COUNTS_MARK = b"XPSC"


def add_packed(file: io.BytesIO, counts: bytes) -> None:
    """Put the cell counts and the packed footer before the footer of a finished Parquet file.

    Parameters
    ----------
    file
        The file; changed in place.
    counts
        From `xpscale.catalog.cell_counts.CellCounts`.
    """
    with file.getbuffer() as data:
        n_footer = _length(data)
        start = len(data) - n_footer
        footer = bytes(data[start:])
    file.seek(start)
    file.write(_block(zlib.compress(counts), COUNTS_MARK))
    file.write(_block(zlib.compress(footer), MARK) + footer)


def _block(packed: bytes, mark: bytes) -> bytes:
    return packed + len(packed).to_bytes(4, "little") + mark


def block_in(data: bytes, mark: bytes) -> tuple[int, bytes]:
    """The block that ends some bytes: its length, marks included, and what was packed in it.

    Parameters
    ----------
    data
        Bytes of a part up to the end of the block.
    mark
        Of the block.

    Returns
    -------
    n_bytes, content
        0 bytes if there is no such block; no content if it begins before ``data``.

    Raises
    ------
    zlib.error
        It is damaged.
    """
    if data[-4:] != mark:
        return 0, b""
    n_bytes = _length(data)
    whole = data[-n_bytes:-TAIL_BYTES] if n_bytes <= len(data) else b""
    return n_bytes, zlib.decompress(whole) if whole else b""


def footer_sizes(data: bytes) -> tuple[int, int]:
    """Bytes of the footer of a part and of the packed footer before it, marks included.

    Parameters
    ----------
    data
        The part, whole; both are 0 if it has no packed footer.
    """
    n_footer = _length(data)
    packed = memoryview(data)[: len(data) - n_footer]
    return (n_footer, _length(packed)) if packed[-4:] == MARK else (0, 0)


def _length(data: bytes | memoryview) -> int:
    return int.from_bytes(data[-TAIL_BYTES:-4], "little") + TAIL_BYTES


def unpacked(packed: bytes, where: str) -> bytes:
    """A footer, its length and ``PAR1``.

    Parameters
    ----------
    packed
        What `add_packed` put there; it holds a checksum.
    where
        The part, for the message.

    Raises
    ------
    PermanentError
        It is not what was written.
    """
    try:
        return zlib.decompress(packed[:-TAIL_BYTES])
    except zlib.error as error:
        raise PermanentError(
            f"{where} is damaged: its packed footer cannot be read ({error})",
            "Restore it from a copy; 'xpscale catalog check' finds all that are damaged",
        ) from error
