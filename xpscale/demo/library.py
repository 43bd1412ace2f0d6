"""A library of stars with spectra and labels in one Parquet file, as spectra to train on and labels
to judge by.

Some spectra of a recovered library contradict their own G magnitude.  Flux through a passband is
linear in the coefficients c, and over the G flux it is 1 for every star; so the passband is, with a
small ridge lambda,

    w = argmin_w  sum (w c / G - 1)^2 + lambda |w|^2,        off = 2.5 log10(w c / G)   [mag]

fitted again without the stars that are off by more than is allowed, until these stay the same (or
eight times).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.model.scaling import normalized, trainable_rows
from xpscale.release import DR3
from xpscale.sky import MAX_ORDER, source_id_pixel
from xpscale.spectra import SpectraBatch
from xpscale.testing.sky_density import pixel_centers_deg

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Library", "load_library", "magnitude_off"]

RIDGE = 1e-6  # of the sum of squares of the leading coefficient
N_ROUNDS = 8
SPECTRA = ("source_id", "coefficients", "coefficient_errors", "phot_g_mean_flux")
LABELS = ("teff", "logg", "fe_h", "alpha_m")


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """Stars of a library.

    Parameters
    ----------
    batch
        Their spectra; positions are the centres of the pixels in ``source_id``, up to 0.6 arcmin
        off.
    labels
        Teff in K, logg, fe_h and alpha_m in dex, float64 with shape (N,), NaN where unknown.
    n_rejected
        Rows left out, by reason.
    """

    batch: SpectraBatch
    labels: dict[str, NDArray[np.float64]]
    n_rejected: dict[str, int]

    def at(self, source_id: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """The labels of some of its stars, each with the shape and order of ``source_id``."""
        order = np.argsort(self.batch.source_id)
        rows = order[np.searchsorted(self.batch.source_id[order], source_id)]
        return {name: values[rows] for name, values in self.labels.items()}


def load_library(path: str | Path, max_off_mag: float = 0.1) -> Library:
    """Read a library, without the stars whose spectrum contradicts their G magnitude.

    Parameters
    ----------
    path
        A Parquet file with ``source_id``, ``coefficients``, ``coefficient_errors`` (lists of C),
        ``phot_g_mean_flux``, and ``teff``, ``logg``, ``fe_h``, ``alpha_m``.
    max_off_mag
        How far off the magnitude may be, in mag.

    Raises
    ------
    NotFoundError
        If there is no such file.
    InvalidInputError
        If it lacks a column.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{path} does not exist", "Give the folder that holds the library"
        ) from error
    missing = [name for name in (*SPECTRA, *LABELS) if name not in table.column_names]
    if missing:
        raise InvalidInputError(
            f"{path} lacks the columns {', '.join(missing)}", "Give a library of stars with labels"
        )
    source_id = table["source_id"].to_numpy()
    ra, dec = pixel_centers_deg(source_id_pixel(source_id, MAX_ORDER), MAX_ORDER)
    flux = table["phot_g_mean_flux"].to_numpy().astype(np.float64)
    batch = SpectraBatch(
        source_id,
        ra,
        dec,
        flux,
        _array(table["coefficients"]),
        _array(table["coefficient_errors"]),
        DR3.known_bands,
    )
    usable = trainable_rows(batch)
    good = usable.copy()
    good[usable] = np.abs(magnitude_off(batch.take(usable), max_off_mag)) <= max_off_mag
    labels = {name: table[name].to_numpy().astype(np.float64)[good] for name in LABELS}
    rejected = {"not_usable": int((~usable).sum()), "magnitude_off": int((usable & ~good).sum())}
    return Library(batch.take(good), labels, rejected)


def magnitude_off(batch: SpectraBatch, max_off_mag: float) -> NDArray[np.float64]:
    """By how much spectra are fainter or brighter than their G flux, in mag, with shape (N,).

    Parameters
    ----------
    batch
        Usable spectra.
    max_off_mag
        Stars that are off by more, in mag, do not take part in the fit.
    """
    values = normalized(batch)
    scaled = values / values.std(0)
    kept = np.ones(len(values), bool)
    for _ in range(N_ROUNDS):
        some = scaled[kept]
        ridge = RIDGE * (some[:, 0] ** 2).sum() * np.eye(some.shape[1])
        weights = np.linalg.solve(some.T @ some + ridge, some.sum(0))
        off = 2.5 * np.log10(np.maximum(scaled @ weights, 1e-3))
        before, kept = kept, np.abs(off) <= max_off_mag
        if (before == kept).all():
            break
    return np.asarray(off)


def _array(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.asarray(
        column.combine_chunks().flatten().to_numpy().reshape(len(column), -1), np.float32
    )
