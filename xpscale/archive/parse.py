"""One spectrum file: coefficients and errors of its sources.

Their correlations, 91 % of the text, are skipped unless they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from xpscale.archive.ecsv import EcsvChunk, EcsvReader
from xpscale.bands import Bands
from xpscale.column_names import require_mean_spectra
from xpscale.errors import InvalidInputError
from xpscale.release import DR3, Release

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ParsedSpectra", "parse_spectra"]

_BANDS = ("bp", "rp")


@dataclass(frozen=True, slots=True, eq=False)
class ParsedSpectra:
    """All rows of one file, as they stand there.

    Parameters
    ----------
    source_id
        int64, with shape (N,).
    coefficients, coefficient_errors
        BP then RP, float32, with shape (N, C); NaN where the archive has none.
    bands
        The numbers of BP and RP coefficients.
    correlations
        BP and RP, float32, each with shape (N, n (n - 1) / 2) for the n coefficients of its band,
        in the archive's order; NaN where there are none.  ``None`` if they were not asked for.
    companions
        What the file has of the columns that may come along, by name, each with shape (N,).
    """

    source_id: NDArray[np.int64]
    coefficients: NDArray[np.float32]
    coefficient_errors: NDArray[np.float32]
    bands: Bands
    correlations: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    companions: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def parse_spectra(
    stream: BinaryIO,
    name: str,
    *,
    correlations: bool = False,
    companions: Sequence[str] = (),
    release: Release = DR3,
) -> ParsedSpectra:
    """Read one spectrum file.

    Parameters
    ----------
    stream
        The ``.csv.gz`` file, open for reading.
    name
        What to call it in errors.
    correlations
        Whether to read the correlations, too: 12 kB of memory for a source of 55 + 55 coefficients.
    companions
        Columns of numbers to take along, where the file has them.
    release
        What the columns are called.

    Raises
    ------
    InvalidInputError
        The file is damaged or of another table, or a row's arrays have an unexpected length.
    """
    columns = ["coefficients", "coefficient_errors"]
    columns += ["coefficient_correlations"] * correlations
    more = {release.column(companion): companion for companion in companions}
    reader = EcsvReader(
        stream,
        name,
        integers=[release.column("source_id")],
        floats=list(more),
        optional=list(more),
        arrays=[release.column(f"{band}_{what}") for what in columns for band in _BANDS],
    )
    source_id, lengths, floats, arrays = _all_rows(reader)
    require_mean_spectra(reader.names, name)
    n_bp, n_rp = (_band_length(lengths[:, i:4:2], band, name) for i, band in enumerate(_BANDS))
    bands = Bands(max(n_bp, 1), max(n_rp, 1))  # a band that no row has: its width is not known
    for i, n in enumerate(bands.n_correlations if correlations else ()):
        _check_correlations(lengths[:, 4 + i], n, _BANDS[i], name)
    values, errors, *both = (
        np.full((len(source_id), n), np.nan, np.float32)
        for n in (*[bands.n_coefficients] * 2, *bands.n_correlations[: 2 * correlations])
    )
    parts = (values[:, bands.bp], values[:, bands.rp], errors[:, bands.bp], errors[:, bands.rp])
    for slot, part in enumerate((*parts, *both)):
        _fill(part, arrays, slot)
    return ParsedSpectra(
        source_id,
        values,
        errors,
        bands,
        (both[0], both[1]) if correlations else None,
        {its: floats[:, i] for i, (c, its) in enumerate(more.items()) if c not in reader.absent},
    )


def _all_rows(
    reader: EcsvReader,
) -> tuple[
    NDArray[np.int64], NDArray[np.int32], NDArray[np.float64], list[list[NDArray[np.float32]]]
]:
    """Identifiers, lengths of arrays, numbers, and the arrays of each chunk."""
    chunks, arrays = [], []
    for chunk in reader.chunks():
        chunks.append((chunk.integers[:, 0], chunk.lengths, chunk.floats))
        arrays.append(_trimmed(chunk))
    source_id, lengths, floats = (np.concatenate(column) for column in zip(*chunks, strict=True))
    if not len(source_id):
        raise InvalidInputError(
            f"{reader.name} has no rows", "Check the file; an archive file is never empty"
        )
    return source_id, lengths, floats, arrays


def _trimmed(chunk: EcsvChunk) -> list[NDArray[np.float32]]:
    """The arrays of a chunk without the room that is left in them."""
    longest = chunk.lengths.max(axis=0, initial=0)
    return [array[:, :n].copy() for array, n in zip(chunk.arrays, longest, strict=True)]


def _fill(target: NDArray[np.float32], chunks: list[list[NDArray[np.float32]]], slot: int) -> None:
    """Copy one column of all chunks, and give them up: memory never holds it twice."""
    row = 0
    for arrays in chunks:
        array, arrays[slot] = arrays[slot], np.empty((0, 0), np.float32)
        target[row : row + len(array), : array.shape[1]] = array
        row += len(array)


def _band_length(lengths: NDArray[np.int32], band: str, name: str) -> int:
    """The one length that all present arrays of a band have; ``lengths`` (N, 2) are those of values
    and errors.
    """
    n = int(lengths[:, 0].max())
    wrong = np.flatnonzero(((lengths != n) & (lengths > 0)).any(axis=1))
    if len(wrong):
        values, errors = lengths[wrong[0]]
        raise InvalidInputError(
            f"{name}: row {wrong[0] + 1:,} has {values} {band}_coefficients and {errors}"
            f" errors, others have {n}",
            "Download the file again, or report it",
        )
    return n


def _check_correlations(found: NDArray[np.int32], expected: int, band: str, name: str) -> None:
    wrong = np.flatnonzero((found != expected) & (found > 0))
    if len(wrong):
        row = wrong[0]
        raise InvalidInputError(
            f"{name}: row {row + 1:,} has {found[row]} {band}_coefficient_correlations, not"
            f" {expected}",
            "Download the file again, or report it",
        )
