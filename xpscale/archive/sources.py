"""What a spectrum needs from its source file: position and mean G flux, by ``source_id``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from xpscale.archive.ecsv import EcsvReader
from xpscale.release import DR3, Release

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MatchedSources", "match_sources"]

_COLUMNS = ["ra", "dec", "phot_g_mean_flux"]


@dataclass(frozen=True, slots=True, eq=False)
class MatchedSources:
    """GaiaSource columns for given identifiers, row by row.

    Parameters
    ----------
    found
        Whether the file has the source, with shape (N,).
    ra, dec
        ICRS position in degrees, float64, with shape (N,); NaN where not found or missing.
    phot_g_mean_flux
        Mean G flux in electron/s, float64, with shape (N,); NaN where not found or missing.
    n_rows
        Rows of the GaiaSource file.
    """

    found: NDArray[np.bool_]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    phot_g_mean_flux: NDArray[np.float64]
    n_rows: int


def match_sources(
    stream: BinaryIO, name: str, source_id: NDArray[np.int64], *, release: Release = DR3
) -> MatchedSources:
    """Look up sources in one source file, in one pass and without holding the file.

    A source that stands in the file twice counts with its first row.

    Parameters
    ----------
    stream
        The ``.csv.gz`` file, open for reading.
    name
        What to call it in errors.
    source_id
        Gaia identifiers to look up, with shape (N,), in any order.
    release
        What the columns are called.

    Raises
    ------
    InvalidInputError
        The file is damaged or of another table.
    """
    order = np.argsort(source_id, kind="stable")
    wanted = source_id[order]
    values = np.full((len(wanted), len(_COLUMNS)), np.nan)
    found = np.zeros(len(wanted), bool)
    reader = EcsvReader(
        stream,
        name,
        integers=[release.column("source_id")],
        floats=[release.column(column) for column in _COLUMNS],
        only=wanted,
    )
    for chunk in reader.chunks():
        slots, rows = np.unique(np.searchsorted(wanted, chunk.integers[:, 0]), return_index=True)
        fresh = ~found[slots]
        values[slots[fresh]] = chunk.floats[rows[fresh]]
        found[slots] = True
    # identifiers repeated in the spectrum file share what their first occurrence found
    first = np.searchsorted(wanted, wanted)
    values, found = values[first], found[first]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    ra, dec, flux = values[back].T
    return MatchedSources(found[back], ra, dec, flux, reader.n_rows)
