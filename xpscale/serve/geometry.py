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

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from xpscale.errors import InvalidInputError
from xpscale.serve.adql_shapes import SHAPES, Shape, constant, shape_of
from xpscale.serve.functions import formula

__all__ = ["in_duckdb", "relation"]

HAVERSINE = (
    "(power(sin(radians(:dec - :dec0) / 2), 2)"
    " + cos(radians(:dec)) * cos(radians(:dec0)) * power(sin(radians(:ra - :ra0) / 2), 2))"
)
DISTANCE = f"degrees(2 * asin(sqrt(least(1e0, {HAVERSINE}))))"


def in_duckdb(node: exp.Anonymous) -> exp.Expr:
    """A geometry function as an expression of DuckDB.

    Parameters
    ----------
    node
        A call that `xpscale.serve.functions.require_function` has approved.

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


def relation(name: str, first: Shape, second: Shape) -> exp.Expr:
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


def _in_circle(point: Shape, circle: Shape) -> exp.Expr:
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


def _in_polygon(point: Shape, polygon: Shape) -> exp.Expr:
    corners = polygon.corners()
    if corners is None:
        raise InvalidInputError(
            "the corners of a BOX or POLYGON depend on a row", "Give numbers, or use a CIRCLE"
        )
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


def _area(shape: Shape) -> exp.Expr:
    if shape.kind == "POINT":
        return exp.Literal.number("0e0")
    if shape.kind == "CIRCLE":
        cap = "2 * pi() * (1 - cos(radians(:r))) * power(180 / pi(), 2)"
        return formula(cap, r=shape.numbers[2])
    if (corners := shape.corners()) is None:
        raise InvalidInputError("AREA of a BOX or POLYGON takes numbers only")
    return exp.Literal.number(repr(abs(_solid_angle(corners)) * (180 / math.pi) ** 2))


def _point(node: exp.Expr) -> tuple[exp.Expr, ...]:
    shape = shape_of(node)
    if shape.kind != "POINT":
        raise InvalidInputError(f"a {shape.kind} stands where a POINT is wanted")
    return shape.numbers


def _distance(*numbers: exp.Expr) -> exp.Expr:
    return formula(DISTANCE, **dict(zip(("ra", "dec", "ra0", "dec0"), numbers, strict=True)))


def _double(number: exp.Expr) -> exp.Expr:
    return exp.Cast(this=number.copy(), to=exp.DataType.build("double"))


def _number(value: int) -> exp.Expr:
    return exp.Literal.number(value)


def _solid_angle(corners: NDArray[np.float64]) -> float:
    """Solid angle of a polygon, steradian, negative if its corners go clockwise.

    Of its triangles, tan(E / 2) = a . (b x c) / (1 + a . b + b . c + c . a) (Van Oosterom and
    Strackee 1983).
    """
    a, total = corners[0], 0.0
    for b, c in itertools.pairwise(corners[1:]):
        total += 2 * math.atan2(a @ np.cross(b, c), 1 + a @ b + b @ c + c @ a)
    return math.remainder(total, 4 * math.pi)
