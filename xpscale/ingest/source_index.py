"""Which row groups of a table of sources hold which identifiers; sources looked up by them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from xpscale.archive.sources import NEEDED, MatchedSources, SourceMatcher
from xpscale.columns import SourceColumns
from xpscale.ingest.source_rows import parquet_rows
from xpscale.json_files import parse_json
from xpscale.sky import MAX_ORDER, SOURCE_ID_SHIFT
from xpscale.storage import Storage
from xpscale.store.hats_listing import hats_pixel
from xpscale.store.parquet_files import ParquetFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["JoinedSources", "SourceIndex"]


@dataclass(frozen=True)
class SourceIndex:
    """Where the rows of a source are.

    Parameters
    ----------
    storage
        Where the files are.
    columns
        What their columns are.
    files
        The files, with the ranges of identifiers of their row groups.
    """

    storage: Storage
    columns: SourceColumns
    files: tuple[ParquetFile, ...]

    def to_json(self) -> bytes:
        """The index as JSON."""
        files = [asdict(replace(file, columns=())) for file in self.files]
        content = {"url": self.storage.url, "columns": asdict(self.columns), "files": files}
        return json.dumps(content).encode()

    @staticmethod
    def from_json(text: bytes) -> SourceIndex:
        """The index that `to_json` wrote."""
        content = parse_json(text)
        columns, files = content["columns"], content["files"]
        columns["companions"] = tuple(tuple(pair) for pair in columns["companions"])
        for file in files:
            file["ranges"] = tuple(tuple(span) for span in file["ranges"])
        found = tuple(ParquetFile(**file) for file in files)
        return SourceIndex(Storage(content["url"]), SourceColumns(**columns), found)

    @cached_property
    def _groups(self) -> NDArray[np.int64]:
        """Of each row group: file, number in it, range of its pixel, range of its identifiers."""
        rows = []
        for i, file in enumerate(self.files):
            pixel = hats_pixel(file.key)
            for number, (low, high) in enumerate(file.ranges):
                first, stop = pixel.range_at(MAX_ORDER) if pixel else (0, 0)
                own = (first << SOURCE_ID_SHIFT, (stop << SOURCE_ID_SHIFT) - 1)
                rows.append((i, number, *(own if pixel else (low, high)), low, high))
        return np.array(rows, np.int64).reshape(-1, 6)

    def match(self, source_id: NDArray[np.int64]) -> MatchedSources:
        """The sources with these identifiers.

        Parameters
        ----------
        source_id
            With shape (N,), in any order.

        Raises
        ------
        InvalidInputError
            A file is damaged.
        ConflictError
            A file has changed.
        """
        matcher = SourceMatcher(source_id, (*NEEDED, *dict(self.columns.companions)))
        _, _, first, last, low, high = self._groups.T
        is_read = np.zeros(len(low), bool)
        own = (np.maximum(first, low), np.minimum(last, high))
        for starts, ends in (own, (low, high)):
            wanted = matcher.missing
            n_within = np.searchsorted(wanted, ends, "right") - np.searchsorted(wanted, starts)
            chosen = (n_within > 0) & ~is_read
            for i in np.unique(self._groups[chosen, 0]):
                numbers = self._groups[chosen & (self._groups[:, 0] == i), 1].tolist()
                for rows in parquet_rows(self.storage, self.files[i], numbers, self.columns):
                    matcher.add(*rows)
            is_read |= chosen
        return matcher.result()


@dataclass(frozen=True)
class JoinedSources:
    """Looks up sources in the index that an ingest has staged.  Pickles small.

    Parameters
    ----------
    store
        The store being made.
    key
        `SourceInput.key`.
    """

    store: Storage
    key: str

    def __call__(self, source_id: NDArray[np.int64]) -> MatchedSources:
        """As `SourceIndex.match`."""
        return _index(self.store, self.key).match(source_id)


@lru_cache(maxsize=2)
def _index(store: Storage, key: str) -> SourceIndex:
    """An index, read once in a worker process."""
    return SourceIndex.from_json(store.read(f"{key}.json"))
