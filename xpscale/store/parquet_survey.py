"""One pass over identifiers and positions of Parquet files: where rows lie, and which of them are
of a source that stands elsewhere, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpscale.row_rules import is_sound
from xpscale.spectra import SpectraBatch
from xpscale.store.footprints import Footprint, count_pixels
from xpscale.store.parquet_files import ParquetFile
from xpscale.store.parquet_rows import ParquetRows, RowGroups
from xpscale.store.partitions import COUNT_ORDER
from xpscale.store.repeated import Identifiers, repeated_rows

__all__ = ["Survey", "survey"]

THREADS = 8
PLACES = {"source_id": np.int64, "ra": np.float64, "dec": np.float64}
"""What tells where a row belongs, and its place among others of one position."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What one pass over the files finds.

    Parameters
    ----------
    counts
        Rows in each pixel of order `COUNT_ORDER`, with shape (786432,).
    footprints
        For every file those of its row groups.
    repeated
        Numbers of the rows of a row group whose source has an earlier usable row, maybe in another
        partition; by file key and row group.
    """

    counts: NDArray[np.int64]
    footprints: list[list[Footprint]]
    repeated: dict[tuple[str, int], NDArray[np.int64]]


def survey(rows: ParquetRows, files: Sequence[ParquetFile]) -> Survey:
    """Look through the files.  A row without position counts where its identifier says.

    Parameters
    ----------
    rows
        What the columns of the files are.
    files
        All files.

    Raises
    ------
    InvalidInputError
        A file is damaged, or an identifier is missing or no integer.
    """
    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(lambda file: _look_through(rows, file), files))
    counts = np.zeros(12 * 4**COUNT_ORDER, np.int64)
    for of_file in found:
        for pixels, n_rows, _ in of_file:
            counts[pixels] += n_rows
    groups = [(file, number) for file in files for number in range(len(file.row_group_rows))]

    def read(piece: int) -> NDArray[np.int64]:
        return _identifiers(rows, *groups[piece])

    def usable(piece: int, wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
        return _usable(rows, *groups[piece], wanted)

    identifiers = [its for of_file in found for *_, its in of_file]
    left_out = repeated_rows(identifiers, read, usable)
    return Survey(
        counts,
        [[Footprint.of(pixels) for pixels, *_ in of_file] for of_file in found],
        {(groups[i][0].key, groups[i][1]): numbers for i, numbers in left_out.items()},
    )


def _look_through(
    rows: ParquetRows, file: ParquetFile
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], Identifiers]]:
    """Of every row group its pixels, the rows in each, and what to remember of its identifiers."""
    found = []
    for number in range(len(file.row_group_rows)):
        pieces = [columns for _, columns in rows.read(_group(file, number), tuple(PLACES))]
        source_id, ra, dec = (
            np.concatenate([np.empty(0, kind), *(columns[name] for columns in pieces)])
            for name, kind in PLACES.items()
        )
        index = rows.index(source_id, ra, dec)
        pixels, n_rows = np.unique(count_pixels(index), return_counts=True)
        found.append((pixels, n_rows, Identifiers.of(source_id, index)))
    return found


def _group(file: ParquetFile, number: int) -> RowGroups:
    return RowGroups(file.key, file.n_bytes, (number,))


def _identifiers(rows: ParquetRows, file: ParquetFile, number: int) -> NDArray[np.int64]:
    pieces = rows.read(_group(file, number), ("source_id",))
    return np.concatenate([columns["source_id"] for _, columns in pieces])


def _usable(
    rows: ParquetRows, file: ParquetFile, number: int, wanted: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether some rows of a row group break no rule of their own, with shape (N,)."""
    start, found = 0, []
    for _, columns in rows.read(_group(file, number), rows.names(errors=True)):
        batch = SpectraBatch.of(columns, rows.bands)
        low, high = np.searchsorted(wanted, [start, start + len(batch)])
        some = batch.take(wanted[low:high] - start)
        found.append(is_sound(some))
        start += len(batch)
    return np.concatenate(found)
