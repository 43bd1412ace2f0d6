"""Cones on the sky, as HEALPix ranges (which parts to open) and as SQL (which rows to keep)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpscale.errors import InvalidInputError
from xpscale.sky import MAX_ORDER, Pixel, cone_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xpscale.types import Part

__all__ = ["Cone", "parse_cone", "within"]

PIXEL_SIZE_DEG = 58.6  # side of an order-0 pixel; halves with every order


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
        for name, low, high in (
            ("ra", 0.0, 360.0),
            ("dec", -90.0, 90.0),
            ("radius_deg", 0.0, 180.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high or (name == "radius_deg" and value == 0):
                start = "more than" if name == "radius_deg" else "from"
                bounds = f"{start} {low:g} to {high:g} degrees"
                raise InvalidInputError(
                    f"{name} is {value:g}, outside the allowed range",
                    f"Give {name} in degrees, {bounds}",
                )

    def index_ranges(self) -> list[tuple[int, int]]:
        """Half-open ranges of ``_healpix_29`` that hold the cone: a few, and never one too few."""
        half_as_wide = math.ceil(math.log2(PIXEL_SIZE_DEG / self.radius_deg)) + 1
        order = min(max(half_as_wide, 0), MAX_ORDER)
        ranges: list[tuple[int, int]] = []
        for number in sorted(cone_pixels(self.ra, self.dec, self.radius_deg, order)):
            start, stop = Pixel(order, number).index_range
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], stop)
            else:
                ranges.append((start, stop))
        return ranges

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


def within(parts: Sequence[Part], ranges: Sequence[tuple[int, int]]) -> tuple[Part, ...]:
    """The parts whose pixel overlaps any of some ``_healpix_29`` ranges.

    Parameters
    ----------
    parts
        Parts of a product.
    ranges
        First and end of each range, half-open.
    """

    def overlaps(part: Part) -> bool:
        first, last = part.pixel.index_range
        return any(start < last and first < stop for start, stop in ranges)

    return tuple(part for part in parts if overlaps(part))


def parse_cone(text: str) -> Cone:
    """The cone that ``RA,DEC,RADIUS_DEG`` spells, all in degrees.

    Raises
    ------
    InvalidInputError
        If a field is missing, is no number or is out of range; the message names it.
    """
    names = ("RA", "DEC", "RADIUS_DEG")
    fields = [field.strip() for field in text.split(",")]
    if len(fields) != len(names):
        raise InvalidInputError(
            f"a cone is three numbers, but {text!r} has {len(fields)}",
            "Give RA,DEC,RADIUS_DEG in degrees, for instance 56.75,24.12,1.0",
        )
    values = []
    for name, field in zip(names, fields, strict=True):
        try:
            values.append(float(field))
        except ValueError as error:
            raise InvalidInputError(
                f"{name} of the cone {text!r} is {field!r}, not a number",
                "Give RA,DEC,RADIUS_DEG in decimal degrees, for instance 56.75,24.12,1.0",
            ) from error
    return Cone(*values)
