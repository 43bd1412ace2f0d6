"""What a HATS catalogue says of itself, compared with what is there: partitions and rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.sky import Pixel

if TYPE_CHECKING:
    from xpscale.storage import Storage
    from xpscale.store.parquet_files import ParquetFile

__all__ = ["hats_pixel", "leaf_key", "listed_pixels", "require_all_rows"]

_HATS = re.compile(
    r"(?:.*/)?Norder=(?P<order>\d+)/(?:Dir=\d+/)?Npix=(?P<number>\d+)(?:/[^/]+)?\.(?:parquet|pq)"
)


def hats_pixel(key: str) -> Pixel | None:
    """The pixel in a HATS data file's path, ``.../Norder=5/Dir=0/Npix=1234.parquet``; ``None`` if
    it is no such path.
    """
    match = _HATS.fullmatch(key)
    return Pixel(int(match["order"]), int(match["number"])) if match else None


def leaf_key(root: str, pixel: Pixel) -> str:
    """The key of a pixel's data file.

    Parameters
    ----------
    root
        The folder ``dataset`` of the catalogue.
    pixel
        The pixel.
    """
    folder = f"Norder={pixel.order}/Dir={pixel.number // 10_000 * 10_000}"
    return f"{root}/{folder}/Npix={pixel.number}.parquet"


def listed_pixels(storage: Storage, root: str) -> set[Pixel]:
    """The pixels that ``partition_info.csv`` lists, or else ``dataset/_metadata``, which is far
    larger; none where neither is there.

    Parameters
    ----------
    storage, root
        A place, and the folder ``dataset`` of a catalogue below it.

    Raises
    ------
    InvalidInputError
        The list is damaged.
    """
    sources = (
        (f"{root.removesuffix('dataset')}partition_info.csv", _pixels_of_csv),
        (f"{root}/_metadata", _pixels_of_metadata),
    )
    for key, pixels in sources:
        try:
            data = storage.read(key)
        except NotFoundError:
            continue
        try:
            return set(pixels(data))
        except (KeyError, TypeError, ValueError, OSError) as error:  # Arrow's are ValueErrors
            raise InvalidInputError(
                f"{storage.url}/{key} is no list of partitions ({type(error).__name__}: {error})",
                "Fetch it again, or delete it to read the files that are there",
            ) from error
    return set()


def _pixels_of_csv(data: bytes) -> Iterator[Pixel]:
    for row in csv.DictReader(data.decode("utf-8-sig").splitlines(), skipinitialspace=True):
        yield Pixel(int(row["Norder"]), int(row["Npix"]))


def _pixels_of_metadata(data: bytes) -> Iterator[Pixel]:
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(io.BytesIO(data))
    for number in range(metadata.num_row_groups):
        if pixel := hats_pixel(metadata.row_group(number).column(0).file_path):
            yield pixel


def require_all_rows(
    where: str, properties: Mapping[str, str], files: Sequence[ParquetFile]
) -> None:
    """Refuse a catalogue whose files have another number of rows than it says.

    Parameters
    ----------
    where
        Its address.
    properties
        Of the catalogue.
    files
        All its data files.  Where one is damaged, nobody knows the number.

    Raises
    ------
    InvalidInputError
        The numbers differ; the message has both.
    """
    stated, found = properties.get("hats_nrows", ""), sum(file.n_rows for file in files)
    if stated.isdigit() and int(stated) != found and not any(file.damage for file in files):
        raise InvalidInputError(
            f"{where} has {found:,} rows, its hats_nrows says {int(stated):,}",
            "Fetch it again; or give its folder 'dataset', to read what is there",
        )
