"""Simple Cone Search 1.03: a cone as a query of TAP."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xpscale.errors import InvalidInputError
from xpscale.serve.formats import format_of
from xpscale.serve.limits import Limits
from xpscale.serve.requests import Parameters, TapRequest, whole_number
from xpscale.serve.served_tables import PRINCIPAL

__all__ = ["cone_request"]

UCDS = {"source_id": "ID_MAIN", "ra": "POS_EQ_RA_MAIN", "dec": "POS_EQ_DEC_MAIN"}
"""Names of the first generation, which the protocol asks for."""


def cone_request(parameters: Parameters, limits: Limits, arrays: Sequence[str]) -> TapRequest:
    """The query that a cone search asks for.

    ``VERB`` 1 gives the main columns, 2 all of ``latents``, 3 the spectra as well.  ``SR`` 0 asks
    for the columns only.

    Parameters
    ----------
    parameters
        As they came.
    limits
        How many rows may be asked for.
    arrays
        The columns that only ``spectra`` has, if there is such a table.

    Raises
    ------
    InvalidInputError
        One is missing or has no meaning.
    """
    ra, dec, radius = (_number(parameters, name) for name in ("RA", "DEC", "SR"))
    verb = parameters.one("VERB") or "2"
    if verb not in ("1", "2", "3"):
        raise InvalidInputError(f"VERB is {verb!r}", "Give 1, 2 or 3")
    columns = ", ".join(f"l.{name}" for name in PRINCIPAL[:4]) if verb == "1" else "l.*"
    tables = "latents AS l"
    if verb == "3" and arrays:
        columns = ", ".join(["l.*", *(f"s.{name}" for name in arrays)])
        tables += " JOIN spectra AS s ON l.source_id = s.source_id"
    circle = f"CIRCLE({ra!r}, {dec!r}, {radius!r})"
    asked = whole_number(parameters.one("MAXREC"), "MAXREC")
    most = limits.default_rows if asked is None else min(asked, limits.rows)
    return TapRequest(
        f"SELECT {columns} FROM {tables} WHERE 1 = CONTAINS(POINT(l.ra, l.dec), {circle})",
        most if radius else 0,
        format_of(parameters.one("RESPONSEFORMAT") or "votable/td"),
        ucds=UCDS,
    )


def _number(parameters: Parameters, name: str) -> float:
    text = parameters.one(name)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInputError(
            f"{name} is {text!r}, no number", "Give RA, DEC and SR in decimal degrees, ICRS"
        )
    return value
