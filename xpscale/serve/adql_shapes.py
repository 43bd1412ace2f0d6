"""The shapes of ADQL on the sky, whose numbers are expressions: degrees, ICRS."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from xpscale.errors import InvalidInputError
from xpscale.positions import unit_vectors
from xpscale.query.region import Cone
from xpscale.serve.functions import formula

__all__ = ["SHAPES", "Shape", "constant", "shape_of"]

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
    numbers: tuple[exp.Expr, ...]

    def constants(self) -> list[float] | None:
        """The numbers, or ``None`` if one depends on a row."""
        values = [constant(number) for number in self.numbers]
        found = [value for value in values if value is not None]
        return found if len(found) == len(values) else None

    def corners(self) -> NDArray[np.float64] | None:
        """Unit vectors of corners, with shape (K, 3), or ``None`` if one depends on a row."""
        numbers = self.constants()
        return None if numbers is None else unit_vectors(*np.reshape(numbers, (-1, 2)).T)

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
        corners = unit_vectors(*np.reshape(numbers, (-1, 2)).T)
        centre = corners.sum(axis=0)
        if not np.linalg.norm(centre) > 1e-6:
            return None
        centre /= np.linalg.norm(centre)
        radius = math.degrees(math.acos(np.clip((corners @ centre).min(), -1, 1)))
        if radius > 80:  # a cone that wide is convex no longer
            return None
        ra = math.degrees(math.atan2(centre[1], centre[0])) % 360
        return Cone(ra, math.degrees(math.asin(centre[2])), radius * (1 + 1e-9) + 1e-9)


def constant(node: exp.Expr) -> float | None:
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


def shape_of(node: exp.Expr) -> Shape:
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
    name = str(node.this).upper()
    if not isinstance(node, exp.Anonymous) or name not in SHAPES:
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


def _numbers(node: exp.Anonymous, name: str) -> list[exp.Expr]:
    """The arguments of a shape, without the coordinate system, and its points taken apart."""
    arguments = list(node.expressions)
    if arguments and arguments[0].is_string:
        frame = str(arguments.pop(0).this).upper()
        if frame.split(" ")[0] not in FRAMES:
            raise InvalidInputError(
                f"{name} in {frame!r}: the positions here are ICRS", "Give ICRS degrees"
            )
    numbers: list[exp.Expr] = []
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
