"""Positions and angles as people write them, in degrees of ICRS: numbers, quantities, sexagesimal
text.

>>> ra, dec = position_deg("05:34:31.9 +22:00:52")
>>> round(ra, 4), round(dec, 4)
(83.6329, 22.0144)
>>> radius_deg("30 arcmin")
0.5
"""

from __future__ import annotations

import re
from typing import Any

from xpscale.errors import InvalidInputError

__all__ = ["angle_deg", "holds_name", "is_number", "position_deg", "radius_deg"]

UNITS = {
    "deg": 1.0,
    "degree": 1.0,
    "degrees": 1.0,
    "d": 1.0,
    "°": 1.0,
    "arcmin": 1 / 60,
    "'": 1 / 60,
    "′": 1 / 60,
    "arcsec": 1 / 3600,
    '"': 1 / 3600,
    "″": 1 / 3600,
    "mas": 1 / 3_600_000,
}
"""Degrees of what may stand behind the number of a radius."""

REMEDY = "Give degrees, as 83.633 +22.014, or sexagesimal text, as 05:34:31.9 +22:00:52"


IN_ANGLES = re.compile(
    r"(?<=[\d.\s])(?:degrees?|deg|arcmin|arcsec|mas|[hmsd])(?![^\W\d_])|(?<=[\d.])e(?=[+−-]?\d)",
    re.I,
)
"""Words and letters behind the numbers of an angle."""


def holds_name(text: str) -> bool:
    """Whether a text that is no position holds words, such as the name of an object.

    >>> [holds_name(text) for text in ("M 67", "3C 273", "8h51m23s +11d48m", "1, 30arcmin")]
    [True, True, False, False]

    Parameters
    ----------
    text
        What was given as a position.
    """
    letter = r"[^\W\d_]"
    rest = IN_ANGLES.sub("", text.strip())
    return re.search(rf"^{letter}|\d{letter}|{letter}{{2}}", rest) is not None


def angle_deg(value: Any, *, is_ra: bool, name: str = "") -> float:
    """An angle in degrees.

    Parameters
    ----------
    value
        A number in degrees, a quantity of astropy, or text: a number in degrees, or sexagesimal.
    is_ra
        Whether it is a right ascension, whose sexagesimal text is in hours unless it says ``d``.
    name
        What to call it in errors; by default ra or dec.

    Raises
    ------
    InvalidInputError
        It is none of these.
    """
    name = name or ("ra" if is_ra else "dec")
    if hasattr(value, "to_value"):
        return _quantity_deg(value, name)
    text = str(value).strip()
    try:
        return float(text.replace("−", "-"))
    except ValueError:
        pass
    from astropy.coordinates import Angle
    from astropy.units import UnitsError

    in_hours = is_ra and not re.match(r"[+−-]?\d+\s*[d°]", text)
    try:
        return float(Angle(text, "hourangle" if in_hours else "deg").deg)
    except (ValueError, UnitsError, TypeError) as error:
        raise InvalidInputError(f"{name} is {text!r}, which is no angle", REMEDY) from error


def position_deg(value: Any) -> tuple[float, float]:
    """Right ascension and declination, ICRS, in degrees.

    Parameters
    ----------
    value
        A ``SkyCoord`` of one position, a pair, or one text: ``05:34:31.9 +22:00:52``.

    Raises
    ------
    InvalidInputError
        It is not one position.
    """
    if hasattr(value, "icrs"):
        if not value.isscalar:
            raise InvalidInputError(
                f"the SkyCoord holds {value.size} positions", "Give one; crossmatch takes many"
            )
        return float(value.icrs.ra.deg), float(value.icrs.dec.deg)
    pair = _split(value.strip()) if isinstance(value, str) else value
    try:
        ra, dec = pair
    except (TypeError, ValueError):
        raise InvalidInputError(f"{value!r} is not one position", REMEDY) from None
    return angle_deg(ra, is_ra=True), angle_deg(dec, is_ra=False)


def radius_deg(value: Any) -> float:
    """An angular distance in degrees.

    Parameters
    ----------
    value
        A number in degrees, a quantity, or text with a unit: ``10 arcsec``, ``0.5deg``.

    Raises
    ------
    InvalidInputError
        It is no angle.
    """
    if hasattr(value, "to_value"):
        return _quantity_deg(value, "radius")
    text = str(value).strip()
    found = re.fullmatch(r"(?P<number>.*?[\d.])\s*(?P<unit>[a-z°'′″\"]*)", text, re.IGNORECASE)
    try:
        if found and found["unit"].lower() in ("", *UNITS):
            return float(found["number"]) * UNITS.get(found["unit"].lower(), 1.0)
        return float(text)
    except ValueError:
        pass
    raise InvalidInputError(
        f"radius is {text!r}, which is no angle", "Give degrees, or a unit: 0.5, 30arcmin, 10arcsec"
    )


def is_number(value: Any) -> bool:
    """Whether a value is a number, or text that is one, without a unit."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not hasattr(value, "unit")


def _quantity_deg(value: Any, name: str) -> float:
    from astropy.units import UnitConversionError

    try:
        return float(value.to_value("deg"))
    except (UnitConversionError, TypeError) as error:
        raise InvalidInputError(f"{name} is {value}, which is no angle", REMEDY) from error


def _split(text: str) -> list[str]:
    """The two halves of a position: at a comma, before a sign, or in the middle."""
    if "," in text:
        return [part.strip() for part in text.split(",")]
    signed = re.fullmatch(r"(.*?\S)\s+([+−-].*)", text) or re.fullmatch(r"(.*[\ds])([+−].*)", text)
    if signed:
        return [*signed.groups()]
    words = text.split()
    half = len(words) // 2  # of two texts of equal length
    return [" ".join(words[:half]), " ".join(words[half:])] if len(words) % 2 == 0 else [text]
