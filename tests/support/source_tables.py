"""Tables of sources as people have them: the rows of ``gaia_source``, also as a HATS catalogue."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.sky import INDEX_ORDER, Pixel, healpix_29
from xpscale.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["gaia_source_table", "write_hats_sources"]


def gaia_source_table(archive: str | Path) -> pa.Table:
    """All rows and columns of an archive's ``gaia_source`` files.

    Parameters
    ----------
    archive
        A local folder laid out as the archive.
    """
    import pandas as pd

    storage = Storage(str(archive))
    frames = [
        pd.read_csv(f"{archive}/{key}", comment="#", na_values="null", compression="gzip")
        for key in sorted(storage.list("gaia_source"))
        if key.endswith(".csv.gz")
    ]
    return pa.Table.from_pandas(pd.concat(frames, ignore_index=True), preserve_index=False)


def write_hats_sources(
    table: pa.Table, url: str, order: int = 4, *, row_group_rows: int = 1_000
) -> None:
    """Write a HATS catalogue, sorted by position, with the list of its partitions.

    Parameters
    ----------
    table
        Rows with ``ra`` and ``dec``.
    url
        Where it will be: a folder or ``s3://``.
    order
        HEALPix order of the partitions.
    row_group_rows
        Most rows of a row group.
    """
    storage = Storage(url)
    index = healpix_29(table["ra"].to_numpy(), table["dec"].to_numpy())
    by_position = np.argsort(index, kind="stable")
    table, index = table.take(by_position), index[by_position]
    table = table.add_column(0, "_healpix_29", pa.array(index))
    numbers = index >> 2 * (INDEX_ORDER - order)
    lines = ["Norder,Npix"]
    for number in np.unique(numbers).tolist():
        sink = io.BytesIO()
        rows = table.filter(pa.array(numbers == number))
        pq.write_table(rows, sink, row_group_size=row_group_rows, compression="zstd")
        pixel = Pixel(order, number)
        folder = f"dataset/Norder={order}/Dir={number // 10_000 * 10_000}"
        storage.replace(f"{folder}/Npix={pixel.number}.parquet", sink.getvalue())
        lines.append(f"{order},{number}")
    storage.replace("partition_info.csv", "\n".join(lines).encode())
    properties = f"hats_col_ra=ra\nhats_col_dec=dec\nhats_nrows={len(table)}\n"
    storage.replace("hats.properties", properties.encode())
