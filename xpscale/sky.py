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
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ARCHIVE_ORDER",
    "GALACTIC_AXES",
    "INDEX_ORDER",
    "MAX_ORDER",
    "SOURCE_ID_SHIFT",
    "Pixel",
    "cone_pixels",
    "healpix_29",
    "rough_pixels",
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


GALACTIC_AXES = np.array(
    [
        [-0.0548755604162154, -0.8734370902348850, -0.4838350155487132],
        [0.4941094278755837, -0.4448296299600112, 0.7469822444972189],
        [-0.8676661490190047, -0.1980763734312015, 0.4559837761750669],
    ]
)
"""Rows: the Galactic x, y, z axes in ICRS (Hipparcos and Tycho catalogues, ESA SP-1200, vol. 1,
section 1.5.3)."""


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
    """``ra, dec`` of the centres of the level-12 pixels, 0.86 arcmin wide, of N identifiers.

    Parameters
    ----------
    source_id
        Gaia identifiers, int64, with shape (N,).
    """
    from cdshealpix.nested import healpix_to_lonlat

    if len(source_id) == 0:
        return np.empty(0), np.empty(0)
    pixels = source_id_pixel(source_id, MAX_ORDER).clip(0, 12 * 4**MAX_ORDER - 1)
    ra, dec = healpix_to_lonlat(pixels.astype(np.uint64), MAX_ORDER)
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


def rough_pixels(
    ra: NDArray[np.float64], dec: NDArray[np.float64], order: int
) -> NDArray[np.int64]:
    """Pixel numbers of positions, for maps: at borders rounding may decide otherwise than in
    `healpix_29`, which is exact, but imports what takes longer than to draw a map.

    Gorski et al. 2005, ApJ 622, 759, equations 14 to 22.

    Parameters
    ----------
    ra, dec
        ICRS right ascension and declination in degrees, with shape (N,).
    order
        HEALPix order of the pixels, 0 to 29.
    """
    n, z, turn = 2**order, np.sin(np.radians(dec)), ra / 90 % 4
    up, down = n * (0.5 + turn - 0.75 * z), n * (0.5 + turn + 0.75 * z)
    up, down = np.floor(up).astype(np.int64), np.floor(down).astype(np.int64)
    first, second = up >> order, down >> order
    face = np.where(first == second, first | 4, np.where(first < second, first, second + 8))
    x, y = down & (n - 1), n - 1 - (up & (n - 1))
    quarter = np.minimum(turn.astype(np.int64), 3)
    side = n * np.sqrt(3 * (1 - np.abs(z)))
    a, b = (
        np.minimum((part * side).astype(np.int64), n - 1)
        for part in (turn - quarter, 1 - turn + quarter)
    )
    is_cap, is_north = np.abs(z) > 2 / 3, z > 0
    face = np.where(is_cap, np.where(is_north, quarter, quarter + 8), face)
    x = np.where(is_cap, np.where(is_north, n - 1 - b, a), x)
    y = np.where(is_cap, np.where(is_north, n - 1 - a, b), y)
    found = face << 2 * order
    for i in range(order):
        found |= (x >> i & 1) << 2 * i | (y >> i & 1) << 2 * i + 1
    return np.asarray(found)


def cone_pixels(ra: float, dec: float, radius_deg: float, order: int) -> set[int]:
    """Numbers of the pixels of one order that a cone may touch (a superset: never one too few).

    From order 0 down, the children of pixels whose centre is no farther than the radius and that of
    the largest pixel together.  In numpy, because cdshealpix imports astropy.coordinates, which
    takes longer than a query.

    Parameters
    ----------
    ra, dec
        Centre of the cone, ICRS, in degrees.
    radius_deg
        Its radius in degrees.
    order
        HEALPix order, 0 to 29.
    """
    pixels = np.arange(12)
    for level in range(order + 1):
        if level:
            pixels = (pixels[:, None] * 4 + np.arange(4)).ravel()
        reach_deg = radius_deg + _largest_radius_deg(level)
        pixels = pixels[separation_deg(*_centers_deg(pixels, level), ra, dec) <= reach_deg]
    return set(pixels.tolist())


def _largest_radius_deg(order: int) -> float:
    """The largest distance of a corner of a pixel from its centre, with a margin for rounding.

    It is that of a pixel on the border of the polar caps, z = 2/3 (Gorski et al. 2005, ApJ 622,
    759, section 5.3).
    """
    n_side = 2**order
    corner = np.degrees(np.arcsin(1 - (1 - 1 / n_side) ** 2 / 3))
    center = np.degrees(np.arcsin(2 / 3))
    distance = separation_deg(np.array([0.0]), np.array([corner]), 45 / n_side, center)
    return float(distance[0]) * (1 + 1e-6) + 2e-6


def _centers_deg(
    pixels: NDArray[np.int64], order: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right ascension and declination of the centres of pixels (Gorski et al. 2005, equations 2 to
    9, in the NESTED scheme of section 4.1), each with shape (N,).
    """
    n_side = 2**order
    face, x, y = pixels >> 2 * order, _even_bits(pixels, order), _even_bits(pixels >> 1, order)
    ring = (2 + face // 4) * n_side - x - y - 1  # 1 to 4 n_side - 1, from the north pole
    is_north, is_south = ring < n_side, ring > 3 * n_side
    n = np.where(is_north, ring, np.where(is_south, 4 * n_side - ring, n_side))  # quarter of a ring
    cap = (n / n_side) ** 2 / 3
    z = np.where(
        is_north, 1 - cap, np.where(is_south, cap - 1, (2 * n_side - ring) * 2 / (3 * n_side))
    )
    shift = np.where(is_north | is_south, 0, (ring - n_side) & 1)
    number = ((2 * (face % 4) + (face // 4 != 1)) * n + x - y + 1 + shift) / 2  # 1 to 4 n
    return (number - (shift + 1) / 2) * 90 / n % 360, np.degrees(np.arcsin(z))


def _even_bits(numbers: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    return sum(((numbers >> 2 * i & 1) << i for i in range(order)), np.zeros_like(numbers))


def separation_deg(
    ra: NDArray[np.float64], dec: NDArray[np.float64], ra0: Any, dec0: Any
) -> NDArray[np.float64]:
    """Great-circle distance in degrees of positions from one point each, with shape (N,).

    The haversine formula (Sinnott 1984, Sky & Telescope 68, 159).

    Parameters
    ----------
    ra, dec
        The positions, in degrees, with shape (N,).
    ra0, dec0
        The point, or a point for each position, with shape (N,), in degrees.
    """
    a, d = np.radians(ra), np.radians(dec)
    a0, d0 = np.radians(ra0), np.radians(dec0)
    h = np.sin((d - d0) / 2) ** 2 + np.cos(d) * np.cos(d0) * np.sin((a - a0) / 2) ** 2
    return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(np.clip(h, 0, 1)))))
