"""HEALPix pixels as integers: the sky is one integer axis.

A *pixel* is NESTED HEALPix, ``Pixel(order, number)``; order k splits the sphere into 12 * 4**k
pixels.  The children of a pixel at any deeper order are one contiguous range of numbers, so archive
files, partitions and catalogue files are all runs of rows sorted by ``_healpix_29``.

``source_id`` carries a level-12 pixel in its upper bits (Gaia DR3 documentation, section 20.1.1,
``gaia_source``): ``source_id >> 35`` is the pixel at level 12, ``source_id >> 43`` at level 8, the
level of the archive's file names.  It was assigned from an early position, so it can differ from
the pixel of ``ra, dec``.  Sources where the two differ are *movers*; everything here is placed by
position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = [
    "ARCHIVE_ORDER",
    "INDEX_ORDER",
    "MAX_ORDER",
    "SOURCE_ID_SHIFT",
    "Pixel",
    "cone_pixels",
    "healpix_29",
    "separation_deg",
    "source_id_pixel",
    "source_id_position",
]

ARCHIVE_ORDER = 8
"""HEALPix level of the ranges in the archive's file names."""

INDEX_ORDER = 29
"""HEALPix order of the spatial index column ``_healpix_29``."""

MAX_ORDER = 12
"""Deepest order of a partition, and the order ``source_id`` carries."""

SOURCE_ID_SHIFT = 35
"""``source_id >> 35`` is a pixel of order 12."""


@dataclass(frozen=True, order=True, slots=True)
class Pixel:
    """One NESTED HEALPix pixel.

    Parameters
    ----------
    order
        HEALPix order, 0 to 29.
    number
        Pixel number, 0 to 12 * 4**order - 1.
    """

    order: int
    number: int

    def __post_init__(self) -> None:
        if not 0 <= self.order <= INDEX_ORDER or not 0 <= self.number < 12 * 4**self.order:
            raise InvalidInputError(
                f"no HEALPix pixel of order {self.order} has number {self.number}"
            )

    @property
    def index_range(self) -> tuple[int, int]:
        """Half-open range of ``_healpix_29`` inside this pixel."""
        return self.range_at(INDEX_ORDER)

    def range_at(self, order: int) -> tuple[int, int]:
        """Half-open range of the pixel's descendants at a deeper (or the same) order."""
        shift = 2 * (order - self.order)
        return self.number << shift, (self.number + 1) << shift

    def contains(self, other: Pixel) -> bool:
        """Whether ``other`` is this pixel or lies inside it."""
        return (
            other.order >= self.order
            and other.number >> 2 * (other.order - self.order) == self.number
        )

    @property
    def area_sq_deg(self) -> float:
        """Area of the pixel in square degrees."""
        return float(129600 / np.pi / (12 * 4**self.order))

    @property
    def key(self) -> str:
        """``Norder=5/Npix=1234``: the pixel's folder in a spectra store."""
        return f"Norder={self.order}/Npix={self.number}"

    def __str__(self) -> str:
        return f"order {self.order} pixel {self.number}"


def source_id_pixel(source_id: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Pixel numbers that identifiers carry, with shape (N,).

    Parameters
    ----------
    source_id
        Gaia identifiers, int64, with shape (N,).
    order
        HEALPix order, 0 to 12.

    Raises
    ------
    InvalidInputError
        The order is another one.
    """
    if not 0 <= order <= MAX_ORDER:
        raise InvalidInputError(f"source_id carries HEALPix orders 0 to {MAX_ORDER}, not {order}")
    return source_id >> (SOURCE_ID_SHIFT + 2 * (MAX_ORDER - order))


def source_id_index(source_id: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first ``_healpix_29`` of the level-12 pixels that identifiers carry, with shape (N,).

    Parameters
    ----------
    source_id
        Gaia identifiers, int64, with shape (N,).
    """
    return source_id_pixel(source_id, MAX_ORDER) * Pixel(MAX_ORDER, 0).index_range[1]


def source_id_position(
    source_id: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right ascension and declination in degrees of the centres of the level-12 pixels that
    identifiers carry (0.86 arcmin wide), each with shape (N,).

    Parameters
    ----------
    source_id
        Gaia identifiers, int64, with shape (N,).
    """
    from cdshealpix.nested import healpix_to_lonlat

    if len(source_id) == 0:
        return np.empty(0), np.empty(0)
    ra, dec = healpix_to_lonlat(source_id_pixel(source_id, MAX_ORDER).astype(np.uint64), MAX_ORDER)
    return np.asarray(ra.deg), np.asarray(dec.deg)


def healpix_29(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order-29 pixel numbers of positions, with shape (N,).

    Parameters
    ----------
    ra, dec
        ICRS right ascension and declination in degrees, with shape (N,).
    """
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import lonlat_to_healpix

    if len(ra) == 0:
        return np.empty(0, np.int64)
    pixels = lonlat_to_healpix(Longitude(ra, unit="deg"), Latitude(dec, unit="deg"), INDEX_ORDER)
    return np.asarray(pixels, np.int64)


def cone_pixels(ra: float, dec: float, radius_deg: float, order: int) -> set[int]:
    """Numbers of the pixels of one order that a cone may touch (a superset: never one too few).

    Parameters
    ----------
    ra, dec
        Centre of the cone, ICRS, in degrees.
    radius_deg
        Its radius in degrees.
    order
        HEALPix order, 0 to 29.
    """
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import cone_search

    if radius_deg > 90:  # beyond some 137 degrees cone_search leaves out pixels that it should not
        return set(range(12 * 4**order))
    number, depth, _ = cone_search(
        Longitude(ra, unit="deg"),
        Latitude(dec, unit="deg"),
        radius=Longitude(radius_deg, unit="deg"),
        depth=order,
    )
    return _descendants(zip(number.tolist(), depth.tolist(), strict=True), order)


def _descendants(cells: Iterable[tuple[int, int]], order: int) -> set[int]:
    found: set[int] = set()
    for number, depth in cells:
        found.update(range(*Pixel(depth, number).range_at(order)))
    return found


def separation_deg(
    ra: NDArray[np.float64], dec: NDArray[np.float64], ra0: float, dec0: float
) -> NDArray[np.float64]:
    """Great-circle distance in degrees of positions from one point, with shape (N,).

    The haversine formula (Sinnott 1984, Sky & Telescope 68, 159).

    Parameters
    ----------
    ra, dec
        The positions, in degrees, with shape (N,).
    ra0, dec0
        The point, in degrees.
    """
    a, d = np.radians(ra), np.radians(dec)
    a0, d0 = np.radians(ra0), np.radians(dec0)
    h = np.sin((d - d0) / 2) ** 2 + np.cos(d) * np.cos(d0) * np.sin((a - a0) / 2) ** 2
    return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(np.clip(h, 0, 1)))))
