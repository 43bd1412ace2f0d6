"""The partitions that a HATS catalogue lists, and where their files are."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.sky import Pixel
from xpscale.storage import Storage

__all__ = ["hats_pixel", "leaf_key", "listed_pixels", "listed_sizes"]

_HATS = re.compile(
    r"(?:.*/)?Norder=(?P<order>\d+)/(?:Dir=\d+/)?Npix=(?P<number>\d+)(?:/[^/]+)?\.(?:parquet|pq)"
)


def hats_pixel(key: str) -> Pixel | None:
    """The pixel in a HATS data file's path, ``.../Norder=5/Dir=0/Npix=1234.parquet``; ``None`` if
    it is no such path.
    """
    match = _HATS.fullmatch(key)
    if not match:
        return None
    try:
        return Pixel(int(match["order"]), int(match["number"]))
    except InvalidInputError as error:
        raise InvalidInputError(
            f"the name of {key} is no pixel: {error.message}", "Give it its name again"
        ) from None


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


def listed_sizes(storage: Storage, root: str, listed: Iterable[Pixel]) -> dict[str, int]:
    """The leaves that a catalogue lists and their bytes, 0 if missing: for a web server, which
    cannot list files.

    Parameters
    ----------
    storage, root
        As of `listed_pixels`.
    listed
        What it found.

    Raises
    ------
    InvalidInputError
        Nothing is listed.
    """
    keys = [leaf_key(root, pixel) for pixel in listed]
    if not keys:
        raise InvalidInputError(
            f"{storage.url} is on a web server, which cannot list files",
            "Give one Parquet file, a HATS catalogue, or s3://",
        )
    return {**dict.fromkeys(keys, 0), **storage.sizes(keys)}
