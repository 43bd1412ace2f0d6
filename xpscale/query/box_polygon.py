"""Boxes and polygons on the sky.

The edges of a polygon are great circles.  Seen from the centre of the sphere they lie on straight
lines in the plane that touches the sphere at the polygon's middle (gnomonic projection; Snyder
1987, USGS Professional Paper 1395, p. 164)::

    c, e1, e2   unit vectors: the middle, and two at right angles to it and to each other
    p           unit vector of a position, u = p.e1, v = p.e2, w = p.c
    x = u / w,  y = v / w          if w > 0; farther than 90 degrees from the middle otherwise

and a position is inside if a ray from (x, y) crosses the edges an odd number of times (Shimrat
1962, Communications of the ACM 5, 434).  There is no seam at ra = 0 and nothing special at a pole.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError
from xpscale.positions import unit_vectors
from xpscale.query.coordinates import angle_deg, position_deg
from xpscale.query.region import Ranges, require, touched

__all__ = ["Box", "Polygon", "box_of", "parse_box", "parse_polygon", "polygon_of"]

WIDEST_DEG = 85.0
"""From the middle of a polygon to its farthest corner."""


@dataclass(frozen=True, slots=True)
class Box:
    """All positions between two meridians and two parallels, the borders included.

    Parameters
    ----------
    ra
        Western and eastern border in degrees, each from -180 to 360; eastward from the first to the
        second, across ra = 0 if the second is smaller.
    dec
        Southern and northern border in degrees.
    """

    ra: tuple[float, float]
    dec: tuple[float, float]

    def __post_init__(self) -> None:
        for value in self.ra:
            require("ra of the box", value, -180.0, 360.0)
        for value in self.dec:
            require("dec of the box", value, -90.0, 90.0)
        west, east = self._borders
        if self.dec[0] >= self.dec[1] or west == east:
            raise InvalidInputError(
                f"{self} is empty", "Give RA from west to east and DEC from south to north"
            )

    @property
    def _borders(self) -> tuple[float, float]:
        """West and east from 0 to 360; all meridians are (0, 360)."""
        west, east = self.ra
        return (0.0, 360.0) if east - west >= 360 else (west % 360, east % 360)

    def index_ranges(self) -> Ranges:
        """Half-open ranges of ``_healpix_29`` that hold the box."""
        west, east = self._borders
        middle, half = (west + (east - west) % 360 / 2) % 360, (east - west) % 360 / 2 or 180.0

        def may_touch(ra: NDArray[Any], dec: NDArray[Any], radius: float) -> NDArray[np.bool_]:
            # a circle of radius r about (ra, dec) spans asin(sin r / cos dec) of ra to either side
            ratio = math.sin(math.radians(min(radius, 90))) / np.cos(np.radians(dec))
            reach = np.degrees(np.arcsin(np.minimum(np.abs(ratio), 1)))
            reach = np.where(np.abs(dec) + radius >= 90, 180, reach)
            away = np.abs((ra - middle + 180) % 360 - 180)
            at_dec = (dec >= self.dec[0] - radius) & (dec <= self.dec[1] + radius)
            return np.asarray(at_dec & (away <= half + reach))

        return touched(may_touch)

    def sql(self) -> str:
        """Condition on the columns ra and dec."""
        west, east = self._borders
        word = "AND" if west < east else "OR"
        return (
            f"dec BETWEEN {self.dec[0]!r} AND {self.dec[1]!r}"
            f" AND (ra >= {west!r} {word} ra <= {east!r})"
        )

    def __str__(self) -> str:
        ra, dec = (f"{low:g} to {high:g}" for low, high in (self.ra, self.dec))
        return f"box(ra {ra}, dec {dec} deg)"


@dataclass(frozen=True, slots=True)
class Polygon:
    """All positions inside a polygon of great circles, convex or not.

    Parameters
    ----------
    corners
        Pairs of ra and dec, ICRS, in degrees, at least three, in either direction.

    Raises
    ------
    InvalidInputError
        It has no inside, or is wider than a hemisphere.
    """

    corners: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        for ra, dec in self.corners:
            require("ra of a corner", ra, 0.0, 360.0)
            require("dec of a corner", dec, -90.0, 90.0)
        remedy = "Give three or more corners, as '10 20, 12 20, 11 22'"
        if len({*self.corners}) < 3:
            raise InvalidInputError(f"{self} has no inside", remedy)
        vectors, middle = self._vectors, self._axes[0]
        if not np.isfinite(middle).all() or (vectors @ middle).min() < math.cos(
            math.radians(WIDEST_DEG)
        ):
            raise InvalidInputError(
                f"{self} reaches farther than {WIDEST_DEG:g} degrees from its middle",
                "Give smaller polygons, one after another",
            )

    @property
    def _vectors(self) -> NDArray[np.float64]:
        """Unit vectors of the corners, with shape (K, 3)."""
        return unit_vectors(*np.array(self.corners).T)

    @property
    def _axes(self) -> NDArray[np.float64]:
        """c, e1 and e2, with shape (3, 3); NaN if the corners have no middle."""
        total = self._vectors.sum(0)
        size = np.linalg.norm(total)
        middle = total / size if size > 1e-9 else np.full(3, np.nan)
        first = np.cross(middle, np.eye(3)[np.argmin(np.abs(middle))])
        first /= np.linalg.norm(first)
        return np.stack([middle, first, np.cross(middle, first)])

    @property
    def _edges(self) -> list[tuple[float, float, float, float]]:
        """x1, y1, y2 and dx/dy of each edge that is not parallel to the ray."""
        w, u, v = self._axes @ self._vectors.T
        x, y = (u / w).tolist(), (v / w).tolist()
        ends = zip(x, y, x[1:] + x[:1], y[1:] + y[:1], strict=True)
        return [(x1, y1, y2, (x2 - x1) / (y2 - y1)) for x1, y1, x2, y2 in ends if y1 != y2]

    def index_ranges(self) -> Ranges:
        """Half-open ranges of ``_healpix_29`` that hold the polygon: pixels about whose centre a
        circle holds an edge's nearest point, or whose centre is inside.
        """
        starts = self._vectors
        ends = np.roll(starts, -1, axis=0)

        def may_touch(ra: NDArray[Any], dec: NDArray[Any], radius: float) -> NDArray[np.bool_]:
            points = unit_vectors(ra, dec)
            near = self._inside(points)
            for start, end in zip(starts, ends, strict=True):
                near |= _distance_deg(points, start, end) <= radius
            return near

        return touched(may_touch)

    def _inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether unit vectors with shape (N, 3) are inside, with shape (N,)."""
        w, u, v = self._axes @ points.T
        crossed = np.zeros(len(points), np.int64)
        for x1, y1, y2, slope in self._edges:
            crossed += ((y1 * w > v) != (y2 * w > v)) & (u < x1 * w + (v - y1 * w) * slope)
        return np.asarray((w > 0) & (crossed % 2 == 1))

    def sql(self) -> str:
        """Condition on the columns ra and dec."""
        x, y = (f"cos(radians(dec)) * {it}(radians(ra))" for it in ("cos", "sin"))
        p = (x, y, "sin(radians(dec))")
        w, u, v = (
            "(" + " + ".join(f"{a!r} * {each}" for a, each in zip(axis, p, strict=True)) + ")"
            for axis in self._axes.tolist()
        )
        crossed = ", ".join(
            f"(({y1!r} * {w} > {v}) <> ({y2!r} * {w} > {v})"
            f" AND {u} < {x1!r} * {w} + ({v} - {y1!r} * {w}) * {slope!r})"
            for x1, y1, y2, slope in self._edges
        )
        return f"{w} > 0 AND len(list_filter([{crossed}], lambda x: x)) % 2 = 1"

    def __str__(self) -> str:
        shown = ", ".join(f"{ra:g} {dec:g}" for ra, dec in self.corners[:4])
        return f"polygon({shown}{', ...' * (len(self.corners) > 4)})"


def _distance_deg(
    points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of unit vectors with shape (N, 3) from an arc of a great circle, with shape (N,)."""
    normal = np.cross(start, end)
    size = np.linalg.norm(normal)
    to_ends = np.arccos(np.clip(points @ np.stack([start, end], 1), -1, 1)).min(1)
    if size < 1e-15:
        return np.asarray(np.degrees(to_ends))
    normal /= size
    between = (points @ np.cross(normal, start) >= 0) & (points @ np.cross(end, normal) >= 0)
    to_circle = np.abs(np.arcsin(np.clip(points @ normal, -1, 1)))
    return np.asarray(np.degrees(np.where(between, to_circle, to_ends)))


def parse_box(text: str) -> Box:
    """The box that ``RA_MIN,RA_MAX,DEC_MIN,DEC_MAX`` spells.

    Raises
    ------
    InvalidInputError
        If a field is missing, is no angle or is out of range.
    """
    fields = text.split(",")
    if len(fields) != 4:
        raise InvalidInputError(
            f"a box is four numbers, but {text!r} has {len(fields)}",
            "Give RA_MIN,RA_MAX,DEC_MIN,DEC_MAX in degrees, for instance 350,10,-5,5",
        )
    return box_of(fields[:2], fields[2:])


def box_of(ra: Any, dec: Any) -> Box:
    """The box between two right ascensions and two declinations.

    Parameters
    ----------
    ra, dec
        As of `Selection.box`.
    """
    pairs: list[tuple[float, float]] = []
    for name, pair in (("ra", ra), ("dec", dec)):
        try:
            low, high = pair
        except (TypeError, ValueError):
            raise InvalidInputError(
                f"{name} of the box is {pair!r}, no pair", "Give two angles, as ra=(350, 10)"
            ) from None
        is_ra = name == "ra"
        pairs.append((angle_deg(low, is_ra=is_ra), angle_deg(high, is_ra=is_ra)))
    return Box(*pairs)


def polygon_of(corners: Any) -> Polygon:
    """The polygon of some corners, as of `Selection.polygon`."""
    if isinstance(corners, str):
        return parse_polygon(corners)
    if hasattr(corners, "icrs"):
        corners = np.stack([np.ravel(corners.icrs.ra.deg), np.ravel(corners.icrs.dec.deg)], 1)
    return Polygon(tuple(position_deg(corner) for corner in corners))


def parse_polygon(text: str) -> Polygon:
    """The polygon that ``RA DEC, RA DEC, ..`` or ``RA,DEC,RA,DEC,..`` spells.

    Raises
    ------
    InvalidInputError
        A corner is no position, or they make no polygon.
    """
    fields = [field.strip() for field in re.split(r"[,;]", text) if field.strip()]
    if all(re.fullmatch(r"\S+", field) for field in fields):
        if len(fields) % 2:
            raise InvalidInputError(
                f"the polygon {text!r} has {len(fields)} numbers, not pairs",
                "Give RA DEC of each corner: '10 20, 12 20, 11 22'",
            )
        return polygon_of([*zip(fields[::2], fields[1::2], strict=True)])
    return polygon_of(fields)
