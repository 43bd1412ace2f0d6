"""The parts of a catalogue as files whose sizes and footers need not be asked for."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from xpscale.catalog.footer import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xpscale.storage import Storage
    from xpscale.types import Part

__all__ = ["PartFiles"]

MOST_TAILS = 64
"""Ends of parts that are kept, each up to a megabyte."""


class PartFiles:
    """The parts of a catalogue, read in ranges; see `xpscale.catalog.footer`.

    Parameters
    ----------
    storage
        The catalogue.
    parts
        Its parts.
    """

    def __init__(self, storage: Storage, parts: Iterable[Part]) -> None:
        self._storage, self._parts = storage, {part.key: part for part in parts}
        self._tail = lru_cache(MOST_TAILS)(self._read_tail)

    def include(self, parts: Iterable[Part]) -> None:
        """Read these, too.

        Parameters
        ----------
        parts
            Of a table that is made of the catalogue.
        """
        self._parts |= {part.key: part for part in parts}

    def size(self, key: str) -> int | None:
        """Size of a part in bytes, as the manifest has it."""
        return self._parts[key].n_bytes

    def read_range(self, key: str, start: int, n_bytes: int) -> bytes:
        """Bytes of a part; its footer is read once, and packed.

        Parameters
        ----------
        key, start, n_bytes
            The part, an offset, and a number of bytes.
        """
        part = self._parts[key]
        footer_at = part.n_bytes - part.footer_bytes
        if start + n_bytes <= footer_at or not part.packed_footer_bytes:
            return self._storage.read_range(key, start, n_bytes)
        tail_at = min(start, footer_at - part.packed_footer_bytes)
        return self._tail(key, tail_at)[start - tail_at :][:n_bytes]

    def _read_tail(self, key: str, start: int) -> bytes:
        """A part from an offset on, which is that of its packed footer or lies before."""
        part = self._parts[key]
        n_bytes = part.n_bytes - part.footer_bytes - start
        data = self._storage.read_range(key, start, n_bytes)
        return data + unpacked(data[-part.packed_footer_bytes :], f"{self._storage}/{key}")
