"""What a client asks of TAP, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from xpscale.errors import InvalidInputError
from xpscale.serve.formats import Format, format_of
from xpscale.serve.limits import Limits

__all__ = ["Parameters", "TapRequest", "tap_request", "whole_number"]

LANGUAGES = ("", "adql", "adql-2.0", "adql-2.1")


class Parameters(dict[str, list[str]]):
    """Values by name in capitals: DALI's names have no case, and may be repeated."""

    @classmethod
    def of(cls, items: Iterable[tuple[str, str]]) -> Parameters:
        """The parameters of a request.

        Parameters
        ----------
        items
            Names and values, as they came.
        """
        found = cls()
        for name, value in items:
            found.setdefault(name.upper(), []).append(value)
        return found

    def one(self, *names: str) -> str:
        """The value of a parameter by any of its names, empty if it is not given.

        Raises
        ------
        InvalidInputError
            It is given twice with different values.
        """
        values = {value.strip() for name in names for value in self.get(name, ())}
        if len(values) > 1:
            raise InvalidInputError(f"{names[0]} is given {len(values)} times", "Give it once")
        return values.pop() if values else ""


@dataclass(frozen=True, slots=True)
class TapRequest:
    """A query and how to answer it.

    Parameters
    ----------
    query
        ADQL.
    max_rows
        The most rows to give.
    form
        The format of the result.
    uploads
        Addresses of uploaded tables by name, such as ``{"mine": "param:stars"}``.
    ucds
        UCDs by column that a protocol wants in place of ours.
    """

    query: str
    max_rows: int
    form: Format
    uploads: Mapping[str, str] = field(default_factory=dict)
    ucds: Mapping[str, str] = field(default_factory=dict)


def tap_request(parameters: Parameters, limits: Limits) -> TapRequest:
    """The query that parameters of TAP ask for.

    Parameters
    ----------
    parameters
        As they came.
    limits
        How many rows may be asked for.

    Raises
    ------
    InvalidInputError
        One is missing or has no meaning.
    """
    action = parameters.one("REQUEST")
    if action and action.lower() != "doquery":
        raise InvalidInputError(f"REQUEST is {action!r}", "It is doQuery, or left out")
    language = parameters.one("LANG")
    if language.lower() not in LANGUAGES:
        raise InvalidInputError(f"LANG is {language!r}", "Give ADQL")
    if not language:
        raise InvalidInputError("LANG is missing", "Give LANG=ADQL")
    query = parameters.one("QUERY")
    if not query:
        raise InvalidInputError(
            "QUERY is missing", "Give LANG=ADQL and QUERY=SELECT TOP 10 source_id FROM latents"
        )
    form = format_of(parameters.one("RESPONSEFORMAT") or parameters.one("FORMAT"))
    asked = whole_number(parameters.one("MAXREC"), "MAXREC")
    most = limits.default_rows if asked is None else min(asked, limits.rows)
    return TapRequest(query, most, form, _uploads(parameters.get("UPLOAD", [])))


def whole_number(text: str, name: str) -> int | None:
    """The number that a parameter gives, ``None`` if it is empty.

    Parameters
    ----------
    text
        Its value.
    name
        What it is called.

    Raises
    ------
    InvalidInputError
        It is no number of 0 or more.
    """
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidInputError(f"{name} is {text!r}", "Give a whole number of 0 or more")
    return int(text)


def _uploads(values: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in ";".join(values).split(";"):
        if not item.strip():
            continue
        name, _, address = (part.strip() for part in item.partition(","))
        if not name.isidentifier() or not address:
            raise InvalidInputError(
                f"UPLOAD is {item!r}", "Give NAME,param:PART and the table in the part PART"
            )
        if name.lower() in map(str.lower, found):
            raise InvalidInputError(f"two uploaded tables are called {name!r}")
        found[name] = address
    return found
