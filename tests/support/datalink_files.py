"""Spectra written as DataLink products and HDF5 copies hold them, and source tables to join them
with.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xpscale.storage import Storage

if TYPE_CHECKING:
    from xpscale.spectra import SpectraBatch

__all__ = ["TableFormat", "source_table_bytes", "spectra_bytes", "table_bytes", "write_hdf5_copies"]

TableFormat = Literal["csv", "ecsv", "fits", "vot", "zip", "hdf5", "parquet"]


def spectra_bytes(batch: SpectraBatch, form: TableFormat) -> bytes:
    """The bytes of one file with ``source_id`` and the coefficients and errors of both bands, and
    no positions.

    Parameters
    ----------
    batch
        The rows, with errors.  A band that is all NaN in a row is missing there, in the format's
        own way.
    form
        ``csv`` has arrays in parentheses and empty fields, ``ecsv`` brackets and ``nan``; ``zip``
        holds a CSV and another product.
    """
    return table_bytes({}, batch, form)


def table_bytes(more: Mapping[str, Any], batch: SpectraBatch, form: TableFormat) -> bytes:
    """The bytes that `spectra_bytes` makes, with more columns.

    Parameters
    ----------
    more
        Arrays with shape (N,) by name; text as bytes.
    batch, form
        As of `spectra_bytes`.
    """
    errors = batch.coefficient_errors
    if errors is None:
        raise ValueError("the batch has no errors")
    columns = {
        "source_id": batch.source_id,
        "solution_id": np.full(len(batch), 4545469030156206080),
        "bp_coefficients": batch.coefficients[:, batch.bands.bp].astype(np.float64),
        "bp_coefficient_errors": errors[:, batch.bands.bp],
        "rp_coefficients": batch.coefficients[:, batch.bands.rp].astype(np.float64),
        "rp_coefficient_errors": errors[:, batch.bands.rp],
        **more,
    }
    if form in ("csv", "zip"):
        text = _csv(columns, "({})", ", ", "")
        return _zip(text, batch) if form == "zip" else text
    if form == "ecsv":
        head = [
            "%ECSV 1.0",
            "---",
            "delimiter: ','",
            "datatype:",
            *(f"- {{name: {name}}}" for name in columns),
        ]
        return "".join(f"# {line}\n" for line in head).encode() + _csv(columns, "[{}]", ",", "nan")
    return _binary(columns, form)


def source_table_bytes(batch: SpectraBatch, form: TableFormat) -> bytes:
    """A file with the columns ``source_id, ra, dec, phot_g_mean_flux``.

    Parameters
    ----------
    batch
        The sources.
    form
        Format of the file; ``ecsv`` as astropy writes it, with blanks.
    """
    columns = {
        name: getattr(batch, name) for name in ("source_id", "ra", "dec", "phot_g_mean_flux")
    }
    return _csv(columns, "{}", ",", "null") if form == "csv" else _binary(columns, form)


def write_hdf5_copies(
    batch: SpectraBatch, url: str, *, n_files: int = 2, all_in_one: bool = False
) -> None:
    """Write the archive's tables as HDF5, one dataset for each column.

    ::

        URL/XpContinuousMeanSpectrum_AAAAAA-BBBBBB.hdf5    URL/GaiaSource_AAAAAA-BBBBBB.hdf5
        URL/xp.h5                                          all_in_one: no sources

    Parameters
    ----------
    batch
        The spectra.
    url
        Folder or ``s3://`` address.
    n_files
        Number of ranges of the sky, each a file or a group.
    all_in_one
        Whether to write one file with a group for each range.
    """
    import h5py

    storage = Storage(url)
    ordered = batch.take(np.argsort(batch.source_id))
    pixels = ordered.source_id >> 43
    edges = [pixels[i * len(batch) // n_files] for i in range(1, n_files)]
    whole = io.BytesIO()
    with h5py.File(whole, "w") as file:
        for first, stop in zip([0, *edges], [*edges, 786432], strict=True):
            rows = ordered.take((pixels >= first) & (pixels < stop))
            name = f"{first:06d}-{stop - 1:06d}"
            if not all_in_one:
                storage.replace(
                    f"XpContinuousMeanSpectrum_{name}.hdf5", spectra_bytes(rows, "hdf5")
                )
                storage.replace(f"GaiaSource_{name}.hdf5", source_table_bytes(rows, "hdf5"))
                continue
            group = file.create_group(f"{first}-{stop - 1}")
            with h5py.File(io.BytesIO(spectra_bytes(rows, "hdf5")), "r") as copy:
                for column in copy:
                    group[column] = copy[column][...]
    if all_in_one:
        storage.replace("xp.h5", whole.getvalue())


def _csv(columns: Mapping[str, Any], array: str, separator: str, missing: str) -> bytes:
    def text(value: Any) -> str:
        if isinstance(value, bytes):
            return value.decode()
        if np.ndim(value) == 0:
            return missing if np.isnan(value) else str(value)
        if np.isnan(value).all():
            return missing
        return '"' + array.format(separator.join(str(x) for x in value)) + '"'

    lines = [",".join(columns)]
    lines += [",".join(text(value) for value in row) for row in zip(*columns.values(), strict=True)]
    return ("\n".join(lines) + "\n").encode()


def _zip(text: bytes, batch: SpectraBatch) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MCMC_MSC-Gaia DR3 1.csv", "source_id,teff\n1,5000\n")
        archive.writestr(f"XP_CONTINUOUS-Gaia DR3 {batch.source_id[0]}.csv", text)
    return buffer.getvalue()


def _binary(columns: Mapping[str, Any], form: TableFormat) -> bytes:
    buffer = io.BytesIO()
    if form == "hdf5":
        import h5py

        with h5py.File(buffer, "w") as file:
            for name, values in columns.items():
                file[name] = values
    elif form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        lists = {
            name: list(values) if np.ndim(values) > 1 else values
            for name, values in columns.items()
        }
        pq.write_table(pa.table(lists), buffer)
    else:
        from astropy.table import Table

        formats = {"fits": "fits", "vot": "votable", "ecsv": "ascii.ecsv"}
        if form == "ecsv":
            text = io.StringIO()
            Table(dict(columns)).write(text, format="ascii.ecsv")
            return text.getvalue().encode()
        Table(dict(columns)).write(buffer, format=formats[form])
    return buffer.getvalue()
