"""The geometry of ADQL on the sphere, as SQL and, where it is constant, as a part of the sky.

Angles are degrees, ICRS.  With unit vectors p of a point and a, b of an edge's ends:

* two points are at the distance d with hav d = hav(dec1 - dec2) + cos dec1 cos dec2 hav(ra1 - ra2),
  hav x = sin^2(x / 2), which keeps its precision at small distances;
* a point is inside a polygon if the angles under which it sees the edges,
  atan2(p . (a x b), a . b - (p . a)(p . b)), add up to 2 pi; they add up to 0 outside, and to
  -2 pi on the other side of the sky.  The edges are great circles, and of the two parts of the sky
  a polygon encloses the smaller one.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sqlglot import exp

from xpscale.errors import InvalidInputError
from xpscale.query.region import Cone
from xpscale.serve.functions import formula

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Shape", "constant", "in_duckdb", "relation", "shape_of"]

HAVERSINE = (
    "(power(sin(radians(:dec - :dec0) / 2), 2)"
    " + cos(radians(:dec)) * cos(radians(:dec0)) * power(sin(radians(:ra - :ra0) / 2), 2))"
)
DISTANCE = f"degrees(2 * asin(sqrt(least(1e0, {HAVERSINE}))))"
SHAPES = ("POINT", "CIRCLE", "BOX", "POLYGON")
FRAMES = ("", "ICRS", "UNKNOWNFRAME")


@dataclass(frozen=True, slots=True)
class Shape:
    """A point, circle or polygon, whose numbers are expressions.

    Parameters
    ----------
    kind
        ``"POINT"``, ``"CIRCLE"`` or ``"POLYGON"``.
    numbers
        ra and dec of the point; of the centre, and the radius; of each corner.
    """

    kind: str
    numbers: tuple[exp.Expression, ...]

    def constants(self) -> list[float] | None:
        """The numbers, or ``None`` if one depends on a row."""
        values = [constant(number) for number in self.numbers]
        found = [value for value in values if value is not None]
        return found if len(found) == len(values) else None

    def bounding_cone(self) -> Cone | None:
        """A cone that holds all of a constant circle or polygon, ``None`` of others.

        Raises
        ------
        InvalidInputError
            It lies off the sky.
        """
        numbers = self.constants()
        if numbers is None or self.kind == "POINT":
            return None
        if self.kind == "CIRCLE":
            return Cone(numbers[0], numbers[1], max(numbers[2], 1e-9))
        corners = _vectors(numbers)
        centre = corners.sum(axis=0)
        if not np.linalg.norm(centre) > 1e-6:
            return None
        centre /= np.linalg.norm(centre)
        radius = math.degrees(math.acos(np.clip((corners @ centre).min(), -1, 1)))
        if radius > 80:  # a cone that wide is convex no longer
            return None
        ra = math.degrees(math.atan2(centre[1], centre[0])) % 360
        return Cone(ra, math.degrees(math.asin(centre[2])), radius * (1 + 1e-9) + 1e-9)


def constant(node: exp.Expression) -> float | None:
    """The value of an expression of numbers, ``None`` of others.

    Parameters
    ----------
    node
        Any expression.
    """
    if isinstance(node, exp.Literal) and not node.is_string:
        return float(node.this)
    if isinstance(node, exp.Paren):
        return constant(node.this)
    if isinstance(node, exp.Neg):
        value = constant(node.this)
        return None if value is None else -value
    if not isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Div):
        return None
    left, right = constant(node.left), constant(node.right)
    if left is None or right is None:
        return None
    if isinstance(node, exp.Div):
        whole = all(str(side).lstrip("-").isdigit() for side in (node.left, node.right))
        return None if not right else float(left // right) if whole else left / right
    if isinstance(node, exp.Mul):
        return left * right
    return left + right if isinstance(node, exp.Add) else left - right


def shape_of(node: exp.Expression) -> Shape:
    """The shape that a call of POINT, CIRCLE, BOX or POLYGON makes.

    Parameters
    ----------
    node
        The call; a coordinate system may come first.

    Raises
    ------
    InvalidInputError
        It is none of these, is not in ICRS, lacks a number, or lies off the sky.
    """
    name = str(node.this).upper() if isinstance(node, exp.Anonymous) else ""
    if name not in SHAPES:
        raise InvalidInputError(
            f"{node.sql()!r} is no shape", f"Shapes are {', '.join(SHAPES)}, such as POINT(ra, dec)"
        )
    numbers = _numbers(node, name)
    wanted = {"POINT": 2, "CIRCLE": 3, "BOX": 4}.get(name)
    if len(numbers) != wanted if wanted else len(numbers) < 6 or len(numbers) % 2:
        each = f"{wanted} numbers" if wanted else "at least three pairs of ra and dec"
        raise InvalidInputError(f"{name} takes {each}, not {len(numbers)} numbers")
    if name == "BOX":
        ra, dec, width, height = numbers
        corners = [(1, -1), (1, 1), (-1, 1), (-1, -1)]
        numbers = [
            formula(f"(:a {'+' if sign > 0 else '-'} :b / 2e0)", a=a, b=b)
            for signs in corners
            for sign, a, b in zip(signs, (ra, dec), (width, height), strict=True)
        ]
        name = "POLYGON"
    shape = Shape(name, tuple(numbers))
    _require_on_sky(shape)
    return shape


def _numbers(node: exp.Anonymous, name: str) -> list[exp.Expression]:
    """The arguments of a shape, without the coordinate system, and its points taken apart."""
    arguments = list(node.expressions)
    if arguments and arguments[0].is_string:
        frame = str(arguments.pop(0).this).upper()
        if frame.split(" ")[0] not in FRAMES:
            raise InvalidInputError(
                f"{name} in {frame!r}: the positions here are ICRS", "Give ICRS degrees"
            )
    numbers: list[exp.Expression] = []
    for argument in arguments:
        is_point = isinstance(argument, exp.Anonymous) and str(argument.this).upper() == "POINT"
        numbers += shape_of(argument).numbers if is_point else [argument]
    return numbers


def _require_on_sky(shape: Shape) -> None:
    is_polygon = shape.kind == "POLYGON"
    ra_bounds = ("ra", -360, 720) if is_polygon else ("ra", 0, 360)  # a BOX may cross ra = 0
    for i, number in enumerate(shape.numbers if is_polygon else shape.numbers[:2]):
        value, (name, low, high) = constant(number), (ra_bounds, ("dec", -90, 90))[i % 2]
        if value is not None and not low <= value <= high:
            raise InvalidInputError(
                f"{name} of a {shape.kind} is {value:g}, off the sky",
                f"Give {name} in degrees, from {low} to {high}",
            )
    if shape.kind == "CIRCLE":
        radius = constant(shape.numbers[2])
        if radius is not None and not 0 <= radius <= 180:
            raise InvalidInputError(
                f"the radius of a CIRCLE is {radius:g}", "Give degrees, from 0 to 180"
            )


def in_duckdb(node: exp.Anonymous) -> exp.Expression:
    """A geometry function as an expression of DuckDB.

    Parameters
    ----------
    node
        A call that `xpscale.serve.functions.FUNCTIONS` has approved.

    Raises
    ------
    InvalidInputError
        The shapes do not fit the function.
    """
    name, arguments = str(node.this).upper(), node.expressions
    if name in SHAPES:  # as DALI writes it
        return exp.Array(expressions=[_double(number) for number in shape_of(node).numbers])
    if name in ("CONTAINS", "INTERSECTS"):
        inside = relation(name, *map(shape_of, arguments))
        return exp.Case(ifs=[exp.If(this=inside, true=_number(1))], default=_number(0))
    if name == "DISTANCE":
        points = [_point(argument) for argument in arguments] if len(arguments) == 2 else None
        numbers = [number for point in points for number in point] if points else arguments
        if len(numbers) != 4:
            raise InvalidInputError("DISTANCE takes two points, or ra, dec, ra, dec")
        return _distance(*numbers)
    if name == "AREA":
        return _area(shape_of(arguments[0]))
    if name == "COORDSYS":
        return exp.Literal.string("ICRS")
    if name == "CENTROID":
        cone = shape_of(arguments[0])
        return exp.Array(expressions=[_double(number) for number in cone.numbers[:2]])
    return _double(_point(arguments[0])[0 if name == "COORD1" else 1])


def relation(name: str, first: Shape, second: Shape) -> exp.Expression:
    """The condition that a shape lies in another, or that both have a point in common.

    Parameters
    ----------
    name
        ``"CONTAINS"`` or ``"INTERSECTS"``.
    first, second
        The shapes.

    Raises
    ------
    InvalidInputError
        It cannot be said of these shapes.
    """
    kinds = (first.kind, second.kind)
    if name == "INTERSECTS" and kinds in (("CIRCLE", "POINT"), ("POLYGON", "POINT")):
        return relation(name, second, first)
    if kinds == ("POINT", "CIRCLE"):
        return _in_circle(first, second)
    if kinds == ("CIRCLE", "CIRCLE"):
        apart, radius = _distance(*first.numbers[:2], *second.numbers[:2]), first.numbers[2]
        sign = "-" if name == "CONTAINS" else "+"
        return formula(
            f":apart <= :outer {sign} :radius", apart=apart, radius=radius, outer=second.numbers[2]
        )
    if kinds == ("POINT", "POLYGON"):
        return _in_polygon(first, second)
    raise InvalidInputError(
        f"{name} of a {first.kind} and a {second.kind} is not supported here",
        "CONTAINS takes a POINT and a CIRCLE, BOX or POLYGON, or two CIRCLEs",
    )


def _in_circle(point: Shape, circle: Shape) -> exp.Expression:
    ra, dec = point.numbers
    ra0, dec0, radius = circle.numbers
    limit = "power(sin(radians(least(:radius, 180)) / 2), 2)"
    fixed = constant(radius)
    inside = formula(
        f"{HAVERSINE} <= {limit if fixed is None else ':limit'}",
        **{"ra": ra, "dec": dec, "ra0": ra0, "dec0": dec0},
        **(
            {"radius": radius}
            if fixed is None
            else {"limit": math.sin(math.radians(fixed) / 2) ** 2}
        ),
    )
    return inside if fixed is not None else formula(":a AND :r >= 0", a=inside, r=radius)


def _in_polygon(point: Shape, polygon: Shape) -> exp.Expression:
    numbers = polygon.constants()
    if numbers is None:
        raise InvalidInputError(
            "the corners of a BOX or POLYGON depend on a row", "Give numbers, or use a CIRCLE"
        )
    corners = _vectors(numbers)
    if _solid_angle(corners) < 0:
        corners = corners[::-1]
    angles = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        across = _scalar(np.cross(a, b))
        along = f"{float(a @ b)!r} - ({_scalar(a)}) * ({_scalar(b)})"
        angles.append(f"atan2({across}, {along})")
    ra, dec = (f"radians(:{name})" for name in ("ra", "dec"))
    xyz = {"x": f"cos({dec}) * cos({ra})", "y": f"cos({dec}) * sin({ra})", "z": f"sin({dec})"}
    total = " + ".join(angles)
    for name, text in xyz.items():
        total = total.replace(f"<{name}>", f"({text})")
    return formula(f"({total}) > {math.pi!r}", ra=point.numbers[0], dec=point.numbers[1])


def _scalar(vector: NDArray[np.float64]) -> str:
    """The scalar product of a vector and that of a row's position."""
    pairs = zip(vector.tolist(), "xyz", strict=True)
    return " + ".join(f"({value!r}) * <{name}>" for value, name in pairs)


def _vectors(numbers: Sequence[float]) -> NDArray[np.float64]:
    """Unit vectors with shape (N, 3) of ra, dec, ra, dec ... in degrees."""
    ra, dec = np.radians(np.reshape(numbers, (-1, 2))).T
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _solid_angle(corners: NDArray[np.float64]) -> float:
    """Solid angle of a polygon, steradian, negative if its corners go clockwise.

    Of its triangles, tan(E / 2) = a . (b x c) / (1 + a . b + b . c + c . a) (Van Oosterom and
    Strackee 1983).
    """
    a, total = corners[0], 0.0
    for b, c in itertools.pairwise(corners[1:]):
        total += 2 * math.atan2(a @ np.cross(b, c), 1 + a @ b + b @ c + c @ a)
    return math.remainder(total, 4 * math.pi)


def _area(shape: Shape) -> exp.Expression:
    if shape.kind == "POINT":
        return exp.Literal.number("0e0")
    if shape.kind == "CIRCLE":
        cap = "2 * pi() * (1 - cos(radians(:r))) * power(180 / pi(), 2)"
        return formula(cap, r=shape.numbers[2])
    if (numbers := shape.constants()) is None:
        raise InvalidInputError("AREA of a BOX or POLYGON takes numbers only")
    return exp.Literal.number(repr(abs(_solid_angle(_vectors(numbers))) * (180 / math.pi) ** 2))


def _point(node: exp.Expression) -> tuple[exp.Expression, ...]:
    shape = shape_of(node)
    if shape.kind != "POINT":
        raise InvalidInputError(f"a {shape.kind} stands where a POINT is wanted")
    return shape.numbers


def _distance(*numbers: exp.Expression) -> exp.Expression:
    return formula(DISTANCE, **dict(zip(("ra", "dec", "ra0", "dec0"), numbers, strict=True)))


def _double(number: exp.Expression) -> exp.Expression:
    return exp.Cast(this=number.copy(), to=exp.DataType.build("double"))


def _number(value: int) -> exp.Literal:
    return exp.Literal.number(value)
