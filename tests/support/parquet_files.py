"""Spectra written as Parquet and HATS, with columns as in catalogues that others have made."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.columns import G_ZERO_POINT
from xpscale.sky import healpix_29
from xpscale.storage import Storage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.sky import Pixel
    from xpscale.spectra import SpectraBatch, SpectraReader

__all__ = ["Shape", "spectra_table", "write_hats_spectra", "write_parquet_files"]

Shape = Literal["list", "fixed", "joined", "scalars", "scalars_from_1"]
"""``bp_coefficients`` as list, as fixed-size list; ``coefficients`` of both bands; ``bp_coeff_0``;
``bp_coefficients_1``.
"""


def spectra_table(batch: SpectraBatch, shape: Shape, *, magnitude: bool = False) -> pa.Table:
    """A batch as an Arrow table; rows of a band that are all NaN are null where the shape has
    arrays.

    Parameters
    ----------
    batch
        The rows, with or without errors.
    shape
        How the coefficients are kept.
    magnitude
        Whether to write ``phot_g_mean_mag`` instead of ``phot_g_mean_flux``.
    """
    g = {"phot_g_mean_flux": batch.phot_g_mean_flux}
    if magnitude:
        g = {"phot_g_mean_mag": G_ZERO_POINT - 2.5 * np.log10(batch.phot_g_mean_flux)}
    columns = {"source_id": batch.source_id, "ra": batch.ra, "dec": batch.dec, **g}
    arrays = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
    bands = {"bp": batch.bands.bp, "rp": batch.bands.rp}
    for what, values in (
        ("coefficients", batch.coefficients),
        ("coefficient_errors", batch.coefficient_errors),
    ):
        if values is None:
            continue
        if shape == "joined":
            arrays[what] = _lists(values, fixed=True)
            continue
        for band, part in bands.items():
            if shape in ("list", "fixed"):
                arrays[f"{band}_{what}"] = _lists(values[:, part], fixed=shape == "fixed")
            else:
                first = 1 if shape == "scalars_from_1" else 0
                short = f"{'e_' if 'errors' in what else ''}{band}_coeff"
                stem = f"{band}_{what}" if first else short
                for i, column in enumerate(values[:, part].T):
                    arrays[f"{stem}_{i + first}"] = pa.array(
                        np.ascontiguousarray(column), from_pandas=True
                    )
    return pa.table(arrays)


def _lists(values: NDArray[np.float32], *, fixed: bool) -> pa.Array:
    missing = np.isnan(values).all(1)
    if fixed:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=pa.array(missing))
    offsets = np.concatenate([[0], np.cumsum(np.where(missing, 0, values.shape[1]))])
    flat = pa.array(np.ascontiguousarray(values[~missing]).reshape(-1))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat, mask=pa.array(missing))


def write_parquet_files(
    batch: SpectraBatch,
    url: str,
    shape: Shape = "list",
    *,
    n_files: int = 1,
    row_group_rows: int = 1_000,
    magnitude: bool = False,
) -> None:
    """Write rows in their order to ``part-000.parquet`` and so on.

    Parameters
    ----------
    batch
        The rows.
    url
        Folder or ``s3://`` address.
    shape
        How the coefficients are stored.
    n_files
        Number of files.
    row_group_rows
        Most rows of a row group.
    magnitude
        Whether to write ``phot_g_mean_mag`` instead of ``phot_g_mean_flux``.
    """
    storage = Storage(url)
    table = spectra_table(batch, shape, magnitude=magnitude)
    edges = np.linspace(0, len(batch), n_files + 1).astype(int).tolist()
    for number, (start, stop) in enumerate(pairwise(edges)):
        storage.replace(
            f"part-{number:03d}.parquet", _encode(table.slice(start, stop - start), row_group_rows)
        )


def write_hats_spectra(
    reader: SpectraReader,
    url: str,
    shape: Shape = "list",
    *,
    row_group_rows: int = 1_000,
) -> None:
    """Write a HATS catalogue with the reader's partitions.

    Rows are sorted by ``_healpix_29``, then by decreasing identifier.

    ::

        URL/hats.properties
        URL/dataset/Norder=5/Dir=0/Npix=1234.parquet

    Parameters
    ----------
    reader
        The spectra.
    url
        Folder or ``s3://`` address.
    shape
        How the coefficients are stored.
    row_group_rows
        Most rows of a row group.
    """
    storage = Storage(url)
    for partition in reader.partitions:
        batch = reader.read(partition)
        index = healpix_29(batch.ra, batch.dec)
        order = np.lexsort((-batch.source_id, index))
        table = spectra_table(batch.take(order), shape)
        table = table.add_column(0, "_healpix_29", pa.array(index[order]))
        storage.replace(_leaf(partition.pixel), _encode(table, row_group_rows))
    properties = {
        "obs_collection": storage.name,
        "dataproduct_type": "object",
        "hats_nrows": sum(partition.n_rows for partition in reader.partitions),
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_version": "v1.0",
    }
    storage.replace(
        "hats.properties",
        "".join(f"{name}={value}\n" for name, value in properties.items()).encode(),
    )


def _leaf(pixel: Pixel) -> str:
    folder = f"dataset/Norder={pixel.order}/Dir={pixel.number // 10_000 * 10_000}"
    return f"{folder}/Npix={pixel.number}.parquet"


def _encode(table: pa.Table, row_group_rows: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=row_group_rows, compression="zstd")
    return sink.getvalue()
