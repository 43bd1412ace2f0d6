"""Regions of the sky, as HEALPix ranges (which parts to open) and as SQL (which rows to keep)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError
from xpscale.query.coordinates import holds_name, is_number, position_deg, radius_deg
from xpscale.sky import INDEX_ORDER, MAX_ORDER, Pixel, cone_pixels, healpix_29
from xpscale.types import Part

__all__ = [
    "Cone",
    "Ranges",
    "Region",
    "cone_of",
    "few",
    "merged",
    "parse_cone",
    "pixels_around",
    "require",
    "touched",
    "within",
]

PIXEL_SIZE_DEG = 58.6  # side of an order-0 pixel; halves with every order
PIXEL_RADIUS_DEG = 61.4
"""From the centre of a pixel of order k to its farthest corner: at most this over 2^k."""

EDGES_APART_RAD = 0.7
"""Opposite edges of a pixel of order k are at least this over 2^k apart."""

FINEST_ORDER = 24
MOST_PIXELS = 256
"""Pixels that a region is covered with at most: finer ones read no less."""

Ranges = list[tuple[int, int]]
"""Half-open ranges of ``_healpix_29``, sorted and disjoint."""


class Region(Protocol):
    """A part of the sky."""

    def index_ranges(self) -> Ranges:
        """Ranges that hold the region, and never one too few."""

    def sql(self) -> str:
        """Condition on the columns ``ra``, ``dec`` and ``_healpix_29``."""


@dataclass(frozen=True, slots=True)
class Cone:
    """All positions within an angular distance of a point.

    Parameters
    ----------
    ra, dec
        Centre, ICRS, in degrees; 0 <= ra <= 360, -90 <= dec <= 90.
    radius_deg
        Radius in degrees, more than 0, at most 180.
    """

    ra: float
    dec: float
    radius_deg: float

    def __post_init__(self) -> None:
        require("ra", self.ra, 0.0, 360.0)
        require("dec", self.dec, -90.0, 90.0)
        require("radius_deg", self.radius_deg, 0.0, 180.0, above=True)

    def index_ranges(self) -> Ranges:
        """Half-open ranges of ``_healpix_29`` that hold the cone: a few, and never one too few."""
        half_as_wide = math.ceil(math.log2(PIXEL_SIZE_DEG / self.radius_deg)) + 1
        order = min(max(half_as_wide, 0), MAX_ORDER)
        pixels = cone_pixels(self.ra, self.dec, self.radius_deg, order)
        return merged(Pixel(order, number).index_range for number in pixels)

    def sql(self) -> str:
        """Condition on the columns ra and dec: haversine of the distance at most that of the
        radius.

        The haversine, unlike the arc cosine of the scalar product, keeps its precision at small
        distances, and has no seam at ra = 0.
        """
        ra, dec = f"radians(ra - {self.ra!r})", f"radians(dec - {self.dec!r})"
        cosines = f"cos(radians(dec)) * {math.cos(math.radians(self.dec))!r}"
        haversine = f"pow(sin({dec} / 2), 2) + {cosines} * pow(sin({ra} / 2), 2)"
        return f"{haversine} <= {math.sin(math.radians(self.radius_deg) / 2) ** 2!r}"

    def __str__(self) -> str:
        return f"cone({self.ra:g}, {self.dec:g}, {self.radius_deg:g} deg)"


def require(name: str, value: float, low: float, high: float, *, above: bool = False) -> None:
    """Refuse an angle that is out of its range.

    Parameters
    ----------
    name, value
        The angle, in degrees.
    low, high
        The range.
    above
        Whether the lower end is outside.

    Raises
    ------
    InvalidInputError
        It is out of its range, or NaN.
    """
    if not low <= value <= high or (above and value == low):
        bounds = f"{'more than' if above else 'from'} {low:g} to {high:g} degrees"
        raise InvalidInputError(
            f"{name} is {value:g}, outside the allowed range", f"Give {name} in degrees, {bounds}"
        )


def touched(
    may_touch: Callable[[NDArray[np.float64], NDArray[np.float64], float], NDArray[np.bool_]],
) -> Ranges:
    """Ranges that hold a region, found by splitting pixels that it may touch.

    Parameters
    ----------
    may_touch
        Tells of circles, by their centres (ra and dec in degrees, with shape (N,)) and their radius
        in degrees, whether the region may touch them, with shape (N,).
    """
    from cdshealpix.nested import healpix_to_lonlat

    order, pixels = 0, np.arange(12, dtype=np.int64)
    while True:
        ra, dec = healpix_to_lonlat(pixels.astype(np.uint64), order)
        pixels = pixels[may_touch(ra.deg, dec.deg, PIXEL_RADIUS_DEG / 2**order)]
        if order == MAX_ORDER or not 0 < len(pixels) * 4 <= MOST_PIXELS:
            return merged(Pixel(order, number).index_range for number in pixels.tolist())
        order, pixels = order + 1, (4 * pixels[:, None] + np.arange(4)).reshape(-1)


def merged(ranges: Any) -> Ranges:
    """Disjoint ranges in any order, sorted, with neighbours made one."""
    found: Ranges = []
    for start, stop in sorted(ranges):
        if found and found[-1][1] >= start:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return found


def few(ranges: Ranges, most: int = MOST_PIXELS) -> Ranges:
    """The same with the smallest gaps closed, so that there are not more than ``most``.

    Parameters
    ----------
    ranges
        Sorted and disjoint.
    most
        How many at most.
    """
    if len(ranges) <= most:
        return ranges
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(ranges)]
    kept = np.sort(np.argsort(gaps)[len(gaps) - most + 1 :])
    starts = [ranges[0][0], *(ranges[i + 1][0] for i in kept)]
    stops = [*(ranges[i][1] for i in kept), ranges[-1][1]]
    return [*zip(starts, stops, strict=True)]


def within(parts: Sequence[Part], ranges: Ranges) -> tuple[Part, ...]:
    """The parts whose pixel overlaps any of some ``_healpix_29`` ranges.

    Parameters
    ----------
    parts
        Parts of a product.
    ranges
        Sorted and disjoint.
    """
    starts, stops = np.array(ranges, np.int64).reshape(-1, 2).T

    def overlaps(part: Part) -> bool:
        first, last = part.pixel.index_range
        i = np.searchsorted(stops, first, side="right")
        return bool(i < len(starts) and starts[i] < last)

    return tuple(part for part in parts if overlaps(part))


def pixels_around(
    ra: NDArray[np.float64], dec: NDArray[np.float64], radius_deg: float
) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """The pixels that hold circles about positions: of each the one that it lies in and the eight
    around, of an order at which opposite edges of a pixel are at least the radius apart.

    Parameters
    ----------
    ra, dec
        Degrees, each with shape (N,); what is NaN or off the sky has no pixels.
    radius_deg
        Of the circles.

    Returns
    -------
    order, pixels, rows
        The order, numbers of pixels, and the number of the position that each is of, with shape
        (M,).
    """
    from cdshealpix.nested import neighbours

    order = int(math.log2(EDGES_APART_RAD / math.radians(min(radius_deg, 40))))
    order = min(order, FINEST_ORDER)
    known = np.flatnonzero((np.abs(dec) <= 90) & np.isfinite(ra))
    own = healpix_29(ra[known] % 360, dec[known]) >> 2 * (INDEX_ORDER - order)
    if order == 0:  # wider circles reach farther
        around = np.tile(np.arange(12), (len(known), 1))
    else:
        around = np.asarray(neighbours(own.astype(np.uint64), order), np.int64).reshape(-1, 9)
    row, place = np.nonzero(around >= 0)  # at eight places of the sky, pixels have seven neighbours
    return order, around[row, place], known[row]


def cone_of(*place: Any, radius: Any = None) -> Cone:
    """The cone about a place.

    Parameters
    ----------
    place
        ``ra, dec, radius``, or ``position, radius``: numbers in degrees, quantities, a
        ``SkyCoord``, or text; see `xpscale.query.coordinates`.
    radius
        The radius, if it is not the last of these.

    Raises
    ------
    InvalidInputError
        It is no place, or off the sky.
    """
    try:
        return _cone_of([value for value in (*place, radius) if value is not None])
    except InvalidInputError:
        words = [value for value in place if isinstance(value, str)]
        said = " ".join(words)
        if words and words[-1][:1].isdigit():
            del words[-1]  # the radius
        if not holds_name(" ".join(words) or said):
            raise
        raise InvalidInputError(
            f"a cone has a position in its middle, and {said!r} holds a name",
            "Names are not looked up. Give RA,DEC,RADIUS, as 132.85,11.81,1, for instance of"
            " astropy's SkyCoord.from_name; a source_id goes to --ids or .at()",
        ) from None


def _cone_of(given: list[Any]) -> Cone:
    lacks_radius = len(given) == 2 and is_number(given[0])
    if len(given) not in (2, 3) or lacks_radius:
        raise InvalidInputError(
            "a cone is three numbers, or a position and a radius, and here"
            f" {'is no radius' if lacks_radius else f'are {len(given)}'}",
            "Give RA,DEC,RADIUS_DEG, for instance 56.75,24.12,1.0, or a position and a radius:"
            " '05:34:31.9 +22:00:52,10arcmin'",
        )
    ra, dec = position_deg(given[0] if len(given) == 2 else given[:2])
    return Cone(ra, dec, radius_deg(given[-1]))


def parse_cone(text: str) -> Cone:
    """The cone that ``RA,DEC,RADIUS`` or ``POSITION,RADIUS`` spells, or ``RA DEC RADIUS``; see
    `cone_of`.

    Raises
    ------
    InvalidInputError
        If a field is missing, is no angle or is out of range; the message names it.
    """
    fields = text.split(",") if "," in text else text.split()
    return cone_of(*(field.strip() for field in fields))
