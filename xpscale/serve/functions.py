"""The functions of ADQL, and what each is in DuckDB.

A name that is not here cannot be called.  Geometry is in `xpscale.serve.geometry`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache

from sqlglot import exp, parse_one

from xpscale.errors import InvalidInputError

__all__ = ["EXTRA_FUNCTIONS", "GEOMETRY", "Function", "formula", "require_function"]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of ADQL.

    Parameters
    ----------
    n_min, n_max
        The least and the largest number of arguments.
    sql
        What it is in DuckDB, with ``:a``, ``:b`` for the arguments; empty for geometry.
    """

    n_min: int
    n_max: int
    sql: str = ""


def _same(names: str, n: int) -> dict[str, Function]:
    """Functions of DuckDB with the same name and meaning, of one or two arguments."""
    arguments = ", ".join([":a", ":b"][:n])
    return {name: Function(n, n, f"{name.lower()}({arguments})") for name in names.split()}


EXTRA_FUNCTIONS = {
    "median": ("median(x DOUBLE) -> DOUBLE", "The median of a column, NULL left out."),
    "stddev": ("stddev(x DOUBLE) -> DOUBLE", "The sample standard deviation of a column."),
    "variance": ("variance(x DOUBLE) -> DOUBLE", "The sample variance of a column."),
    "corr": ("corr(x DOUBLE, y DOUBLE) -> DOUBLE", "The correlation of two columns."),
    "isnan": ("isnan(x DOUBLE) -> INTEGER", "1 for NaN, else 0."),
    "gaia_healpix_index": (
        "gaia_healpix_index(level INTEGER, source_id BIGINT) -> BIGINT",
        "The HEALPix pixel, NESTED, of level 0 to 12 that a source_id carries.",
    ),
    "bit_and": ("bit_and(a INTEGER, b INTEGER) -> INTEGER", "The bits set in both: for flags."),
}
"""Functions beyond ADQL: their signature and what they do, as capabilities declare them."""

GEOMETRY = {
    **dict.fromkeys(("POINT", "CIRCLE", "BOX", "POLYGON"), Function(2, 400)),
    **dict.fromkeys(("CONTAINS", "INTERSECTS"), Function(2, 2)),
    "DISTANCE": Function(2, 4),
    **dict.fromkeys(("AREA", "CENTROID", "COORD1", "COORD2", "COORDSYS"), Function(1, 1)),
}


ELSEWHERE = {
    "LN": "LOG",
    "CEIL": "CEILING",
    "POW": "POWER",
    "SQUARE": "POWER",
    "RANDOM": "RAND",
    "IFNULL": "COALESCE",
    "NVL": "COALESCE",
    **dict.fromkeys(("STD", "STDDEV_SAMP"), "STDDEV"),
    **dict.fromkeys(("VAR_SAMP", "VAR"), "VARIANCE"),
    **dict.fromkeys(("QUANTILE", "PERCENTILE_CONT", "PERCENTILE_DISC"), "MEDIAN"),
    **dict.fromkeys(("IVO_HEALPIX_INDEX", "HEALPIX"), "GAIA_HEALPIX_INDEX"),
    "BITWISE_AND": "BIT_AND",
    "ANGULAR_DISTANCE": "DISTANCE",
    "Q3C_RADIAL_QUERY": "CONTAINS",
}
"""What functions of other services are here."""

FUNCTIONS = {
    **_same("ABS CEILING DEGREES EXP FLOOR RADIANS SQRT SIGN", 1),
    **_same("ACOS ASIN ATAN COS COT SIN TAN LOG10 LOWER UPPER", 1),
    **_same("ATAN2 POWER", 2),
    **_same("AVG COUNT MAX MIN MEDIAN STDDEV VARIANCE", 1),
    **_same("CORR", 2),
    "SUM": Function(1, 1, "sum(:a)"),
    "LOG": Function(1, 1, "ln(:a)"),
    "MOD": Function(2, 2, "(:a % :b)"),
    "PI": Function(0, 0, "pi()"),
    "RAND": Function(0, 1, "random()"),
    "ROUND": Function(1, 2, "round(:a, :b)"),
    "TRUNCATE": Function(1, 2, "(trunc(:a * power(1e1, :b)) / power(1e1, :b))"),
    "COALESCE": Function(1, 20, "coalesce(:a, :b)"),
    "ISNAN": Function(1, 1, "CAST(isnan(CAST(:a AS DOUBLE)) AS INTEGER)"),
    "BIT_AND": Function(2, 2, "(:a & :b)"),
    "GAIA_HEALPIX_INDEX": Function(2, 2, "(:b >> CAST(59 - 2 * :a AS INTEGER))"),
    **GEOMETRY,
}
"""By name, in capitals."""

DEFAULTS = {"ROUND": exp.Literal.number(0), "TRUNCATE": exp.Literal.number(0)}
"""Arguments that may be left out at the end."""


def require_function(node: exp.Anonymous) -> None:
    """Refuse a call of a function that is not known or takes another number of arguments.

    Raises
    ------
    InvalidInputError
        With the nearest name that is known, or the number wanted.
    """
    name, n = str(node.this).upper(), len(node.expressions)
    if name not in FUNCTIONS:
        close = difflib.get_close_matches(name, FUNCTIONS, 1)
        near = ELSEWHERE.get(name) or next(iter(close), "")
        guess = f"Did you mean {near}? " if near else ""
        raise InvalidInputError(
            f"there is no function {node.this}", f"{guess}Functions are {', '.join(FUNCTIONS)}"
        )
    least, most = FUNCTIONS[name].n_min, FUNCTIONS[name].n_max
    if not least <= n <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        what = "argument" if most == 1 else "arguments"
        call = f"{name}({', '.join('abcdef'[:least])})"
        raise InvalidInputError(f"{name} takes {wanted} {what}, not {n}", f"It is called {call}")


@cache
def _template(sql: str) -> exp.Expr:
    select = parse_one(f"SELECT {sql}", dialect="duckdb")
    expression: exp.Expr = select.args["expressions"][0].unalias()
    return expression


def formula(sql: str, **values: exp.Expr | float) -> exp.Expr:
    """An expression of DuckDB with values put in.

    Parameters
    ----------
    sql
        The expression, with names of values after colons.
    values
        What stands for each name; each is put in brackets.
    """
    given = {
        name: exp.Paren(this=value.copy())
        if isinstance(value, exp.Expr)
        else exp.Literal.number(repr(value))
        for name, value in values.items()
    }
    return exp.replace_placeholders(_template(sql).copy(), **given)


def in_duckdb(node: exp.Anonymous) -> exp.Expr:
    """What a function that is no geometry is in DuckDB.

    Parameters
    ----------
    node
        A call that `require_function` has approved; its arguments are in DuckDB's words already.
    """
    name, arguments = str(node.this).upper(), list(node.expressions)
    if name == "COALESCE" or isinstance(
        arguments[0] if arguments else None, exp.Star | exp.Distinct
    ):
        return exp.Anonymous(this=name.lower(), expressions=arguments)
    if name in DEFAULTS and len(arguments) == 1:
        arguments.append(DEFAULTS[name].copy())
    return formula(FUNCTIONS[name].sql, **dict(zip("abcdef", arguments, strict=False)))
