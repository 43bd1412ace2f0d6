"""Rows on their way from files to partitions: fixed-size records, sorted by position.

A file's sources go to many partitions, and a partition takes from several files.  In between, the
accepted rows of each file lie in one object of fixed-size records sorted by ``_healpix_29``, with
an index of rows per pixel, so that a partition fetches its run of rows from each file with one
range read.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.bands import Bands
from xpscale.sky import INDEX_ORDER, Pixel, healpix_29
from xpscale.spectra import SpectraBatch
from xpscale.store.partitions import COUNT_ORDER
from xpscale.store.repeated import Identifiers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.storage import Storage
from xpscale.store.writer import create_own

__all__ = [
    "RowRun",
    "StagedFile",
    "record_type",
    "staged_files",
    "write_correlations",
    "write_rows",
]

STAGING = "_xpscale/staging"


def record_type(n_coefficients: int, companions: Sequence[str] = ()) -> np.dtype[np.void]:
    """One staged row: position index, identifier, position, flux, C coefficients, C errors.

    Parameters
    ----------
    n_coefficients
        C.
    companions
        What comes along, after all else.
    """
    return np.dtype(
        [
            ("healpix_29", "<i8"),
            ("source_id", "<i8"),
            ("ra", "<f8"),
            ("dec", "<f8"),
            ("phot_g_mean_flux", "<f8"),
            ("coefficients", "<f4", (n_coefficients,)),
            ("coefficient_errors", "<f4", (n_coefficients,)),
            *((name, "<f8") for name in companions),
        ]
    )


@dataclass(frozen=True, slots=True)
class RowRun:
    """A half-open run of rows of one staged file.

    Parameters
    ----------
    name
        The file's task key.
    start, stop
        First row, and the one after the last.
    repeated
        Rows of the run, counted from its start, of sources that an earlier file has in another
        partition.
    companions
        What came along with the rows.
    """

    name: str
    start: int
    stop: int
    repeated: tuple[int, ...] = ()
    companions: tuple[str, ...] = ()

    def read(self, store: Storage, bands: Bands) -> SpectraBatch:
        """The rows, sorted by position: one range read.

        Parameters
        ----------
        store
            The store being made.
        bands
            The numbers of BP and RP coefficients of a row.
        """
        dtype = record_type(bands.n_coefficients, self.companions)
        n_bytes = (self.stop - self.start) * dtype.itemsize
        data = store.read_range(rows_key(self.name), self.start * dtype.itemsize, n_bytes)
        rows = np.frombuffer(data, dtype)
        columns: list[NDArray[Any]] = [np.ascontiguousarray(rows[f]) for f in _fields(dtype)]
        source_id, ra, dec, flux, coefficients, errors, *more = columns
        companions = dict(zip(self.companions, more, strict=True))
        return SpectraBatch(source_id, ra, dec, flux, coefficients, errors, bands, companions)

    def read_correlations(self, store: Storage, n_pairs: int) -> NDArray[np.float32]:
        """BP then RP correlations of the same rows, with shape (N, n_pairs): one range read.

        Parameters
        ----------
        store
            The store being made.
        n_pairs
            Correlations of both bands of a row.
        """
        n_bytes = 4 * n_pairs
        data = store.read_range(
            correlations_key(self.name), self.start * n_bytes, (self.stop - self.start) * n_bytes
        )
        return np.frombuffer(data, "<f4").reshape(-1, n_pairs)


@dataclass(frozen=True, eq=False)
class StagedFile:
    """The index of one staged file.

    Parameters
    ----------
    name
        The file's task key.
    bands
        The numbers of BP and RP coefficients of a row.
    pixels, counts
        Pixels of order `COUNT_ORDER` with rows, ascending, and the rows in each; int64 with shape
        (P,).
    identifiers
        What is known of the identifiers without reading them.
    companions
        What came along.
    """

    name: str
    bands: Bands
    pixels: NDArray[np.int64]
    counts: NDArray[np.int64]
    identifiers: Identifiers
    companions: tuple[str, ...] = ()

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """Rows before each pixel, and all rows, with shape (P + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def rows_in(self, pixel: Pixel, repeated: NDArray[np.int64]) -> RowRun:
        """The file's rows in a pixel.

        Parameters
        ----------
        pixel
            Of order `COUNT_ORDER` or coarser.
        repeated
            Rows of the file whose source an earlier file has, too, ascending.
        """
        places = np.searchsorted(self.pixels, pixel.range_at(COUNT_ORDER))
        first, last = self.edges[places].tolist()
        inside = repeated[slice(*np.searchsorted(repeated, [first, last]))]
        return RowRun(self.name, first, last, tuple((inside - first).tolist()), self.companions)

    def read_identifiers(self, store: Storage) -> NDArray[np.int64]:
        """The identifiers of all rows, in their order."""
        return np.frombuffer(store.read(identifiers_key(self.name)), "<i8")


def rows_key(name: str) -> str:
    """``_xpscale/staging/NAME.rows``."""
    return f"{STAGING}/{name}.rows"


def correlations_key(name: str) -> str:
    """``_xpscale/staging/NAME.correlations``."""
    return f"{STAGING}/{name}.correlations"


def identifiers_key(name: str) -> str:
    """``_xpscale/staging/NAME.identifiers``."""
    return f"{STAGING}/{name}.identifiers"


def index_key(name: str) -> str:
    """``_xpscale/staging/NAME.index.npz``."""
    return f"{STAGING}/{name}.index.npz"


def _fields(dtype: np.dtype[np.void]) -> tuple[str, ...]:
    """The record's fields that make a `SpectraBatch`, in its order."""
    return (dtype.names or ())[1:]


def write_rows(store: Storage, name: str, batch: SpectraBatch) -> NDArray[np.int64]:
    """Write a file's accepted rows for the partitions to fetch.

    Equal rows give equal bytes, so staging a file again after a crash changes nothing.

    Parameters
    ----------
    store
        The store being made.
    name
        Key of the task that read the rows.
    batch
        The rows, with errors.

    Returns
    -------
    ndarray
        The rows' position index ``_healpix_29``, with shape (N,), in the batch's order.
    """
    index = healpix_29(batch.ra, batch.dec)
    order = np.lexsort((batch.source_id, index))
    companions = tuple(batch.companions)
    records = np.empty(len(batch), record_type(batch.n_coefficients, companions))
    records["healpix_29"] = index[order]
    for field in _fields(records.dtype):
        values = batch.companions[field] if field in companions else getattr(batch, field)
        records[field] = values[order]
    pixels, counts = np.unique(index[order] >> 2 * (INDEX_ORDER - COUNT_ORDER), return_counts=True)
    create_own(store, rows_key(name), memoryview(records.view(np.uint8).data))
    create_own(store, identifiers_key(name), records["source_id"].tobytes())
    known = Identifiers.of(batch.source_id, index)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        pixels=pixels,
        counts=counts,
        shape=[batch.bands.n_bp, batch.n_coefficients],
        ends=[known.first, known.last],
        strays=known.strays,
        companions=np.array(companions, str),
    )
    create_own(store, index_key(name), buffer.getvalue())
    return index


def write_correlations(
    store: Storage, name: str, correlations: Sequence[NDArray[np.float32]], rows: NDArray[np.int64]
) -> None:
    """Write the correlations of staged rows, BP then RP side by side.

    Parameters
    ----------
    store, name
        As of `write_rows`.
    correlations
        Of each band, with shape (N, n (n - 1) / 2).
    rows
        Which of the N rows were staged, in the order in which they lie there.
    """
    records = np.empty((len(rows), sum(band.shape[1] for band in correlations)), "<f4")
    column = 0
    for band in correlations:
        records[:, column : column + band.shape[1]] = band[rows]
        column += band.shape[1]
    create_own(store, correlations_key(name), memoryview(records.view(np.uint8).reshape(-1).data))


def staged_files(store: Storage, names: Iterable[str]) -> tuple[StagedFile, ...]:
    """The indexes of staged files.

    Parameters
    ----------
    store
        The store being made.
    names
        Keys of the tasks that staged them.
    """

    def load(name: str) -> StagedFile:
        with np.load(io.BytesIO(store.read(index_key(name)))) as index:
            n_bp, n_coefficients = index["shape"].tolist()
            bands = Bands(n_bp, n_coefficients - n_bp)
            strays = index["strays"]  # no source is in a staged file twice
            first, last = index["ends"].tolist()
            known = Identifiers(first, last, strays, strays[:0])
            companions = tuple(index["companions"].tolist())
            return StagedFile(name, bands, index["pixels"], index["counts"], known, companions)

    with ThreadPoolExecutor(16) as threads:
        return tuple(threads.map(load, names))
