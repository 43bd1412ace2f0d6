"""One ``xp_continuous_mean_spectrum`` file: coefficients and errors of its sources.

Their correlations, 91 % of the text, are skipped unread unless asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from xpscale.archive.ecsv import EcsvChunk, EcsvReader
from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.release import DR3, Release

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ParsedSpectra", "parse_spectra"]

MAX_BAND = 64
"""Most coefficients a band may have: 55 in DR3, 51 BP in DR4."""

_BANDS = ("bp", "rp")
_ARRAYS = [
    (f"{band}_{what}", MAX_BAND)
    for what in ("coefficients", "coefficient_errors")
    for band in _BANDS
]
_CORRELATIONS = [
    (f"{band}_coefficient_correlations", MAX_BAND * (MAX_BAND - 1) // 2) for band in _BANDS
]


@dataclass(frozen=True, slots=True, eq=False)
class ParsedSpectra:
    """All rows of one file, as they stand there.

    Parameters
    ----------
    source_id
        int64, with shape (N,).
    coefficients, coefficient_errors
        BP then RP, float32, with shape (N, C); NaN where the archive has none.
    has_bp, has_rp
        Whether the band has coefficients at all, with shape (N,).
    bands
        The numbers of BP and RP coefficients.
    correlations
        BP and RP, float32, each with shape (N, n (n - 1) / 2) for the n coefficients of its band,
        in the archive's order; NaN where there are none.  ``None`` if they were not asked for.
    """

    source_id: NDArray[np.int64]
    coefficients: NDArray[np.float32]
    coefficient_errors: NDArray[np.float32]
    has_bp: NDArray[np.bool_]
    has_rp: NDArray[np.bool_]
    bands: Bands
    correlations: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None


def parse_spectra(
    stream: BinaryIO, name: str, *, correlations: bool = False, release: Release = DR3
) -> ParsedSpectra:
    """Read one spectrum file.

    Parameters
    ----------
    stream
        The ``.csv.gz`` file, open for reading.
    name
        What to call it in errors.
    correlations
        Whether to read the correlations, too: 12 kB a source in memory.
    release
        What the columns are called.

    Raises
    ------
    InvalidInputError
        The file is damaged or of another table, or a row's arrays have an unexpected length.
    """
    arrays = _ARRAYS + _CORRELATIONS * correlations
    reader = EcsvReader(
        stream,
        name,
        integers=[release.column("source_id")],
        arrays=[(release.column(column), width) for column, width in arrays],
    )
    chunks, of_chunks = [], []
    for chunk in reader.chunks():
        of_chunks.append([_trimmed(chunk, slot) for slot in (4, 5)] if correlations else [])
        # the chunk's arrays are views of one that is padded to the widest correlations
        chunks.append(
            replace(chunk, arrays=tuple(a.copy() for a in chunk.arrays[:4]))
            if correlations
            else chunk
        )
    if not chunks:
        raise InvalidInputError(
            f"{name} has no rows", "Check the file; an archive file is never empty"
        )
    lengths = np.concatenate([chunk.lengths for chunk in chunks])
    n_bp, n_rp = (
        _band_length(lengths[:, i], lengths[:, i + 2], band, name) for i, band in enumerate(_BANDS)
    )
    for i, n in enumerate((n_bp, n_rp) if correlations else ()):
        _check_correlations(lengths[:, 4 + i], n * (n - 1) // 2, _BANDS[i], name)
    return ParsedSpectra(
        np.concatenate([chunk.integers[:, 0] for chunk in chunks]),
        _side_by_side(chunks, 0, n_bp, n_rp),
        _side_by_side(chunks, 2, n_bp, n_rp),
        lengths[:, 0] > 0,
        lengths[:, 1] > 0,
        Bands(n_bp, n_rp),
        _joined(of_chunks, (n_bp, n_rp), len(lengths)) if correlations else None,
    )


def _trimmed(chunk: EcsvChunk, slot: int) -> NDArray[np.float32]:
    return chunk.arrays[slot][:, : chunk.lengths[:, slot].max(initial=0)].copy()


def _joined(
    chunks: list[list[NDArray[np.float32]]], sizes: tuple[int, int], n_rows: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both bands' correlations, whole; the chunks are given up one by one, so that memory never
    holds them twice.
    """
    joined = tuple(np.full((n_rows, n * (n - 1) // 2), np.nan, np.float32) for n in sizes)
    row = n_rows
    while chunks:
        pieces = chunks.pop()
        row -= len(pieces[0])
        for whole, piece in zip(joined, pieces, strict=True):
            whole[row : row + len(piece), : piece.shape[1]] = piece
    return joined[0], joined[1]


def _band_length(values: NDArray[np.int32], errors: NDArray[np.int32], band: str, name: str) -> int:
    """The one length that all present arrays of a band have."""
    n = int(values.max(initial=0))
    wrong = np.flatnonzero(((values != n) & (values > 0)) | ((errors != n) & (errors > 0)))
    if len(wrong):
        row = wrong[0]
        raise InvalidInputError(
            f"{name}: row {row + 1:,} has {values[row]} {band}_coefficients and {errors[row]}"
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


def _side_by_side(chunks: list[EcsvChunk], slot: int, n_bp: int, n_rp: int) -> NDArray[np.float32]:
    joined = np.empty((sum(len(chunk.lengths) for chunk in chunks), n_bp + n_rp), np.float32)
    row = 0
    for chunk in chunks:
        rows = slice(row, row := row + len(chunk.lengths))
        joined[rows, :n_bp] = chunk.arrays[slot][:, :n_bp]
        joined[rows, n_bp:] = chunk.arrays[slot + 1][:, :n_rp]
    return joined
