"""Settings in TOML files: read, and refused with the key that is wrong."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection
from dataclasses import MISSING, fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.local_files import read_local

__all__ = ["from_table", "read_toml", "require_keys", "require_type"]

T = TypeVar("T")

WANTED: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    bool: "true or false",
    list[str]: 'a list of texts: ["...", "..."]',
    dict[str, float]: "names and numbers: { GPU = 1 }",
}


MAX_BYTES, MAX_DEPTH = 1_000_000, 20


def read_toml(path: str | Path, example: str = "") -> dict[str, Any]:
    """The content of a TOML file.

    Parameters
    ----------
    path
        The file.
    example
        A file to start from, named where this one is missing.

    Raises
    ------
    NotFoundError
        There is no such file.
    InvalidInputError
        It is not TOML; the message names the line.  Or it is larger, or deeper, than people write.
    """
    too_much = InvalidInputError(
        f"{path} has more than {MAX_BYTES:,} bytes or {MAX_DEPTH} levels, and is not read",
        "Give another file",
    )
    try:
        data = read_local(path, MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise too_much
        content = tomllib.loads(data.decode())
        level: list[Any] = [content]
        for _ in range(MAX_DEPTH):
            level = [each for value in level for each in _inside(value)]
        if level:
            raise too_much
        return content
    except RecursionError:
        raise too_much from None
    except NotFoundError as error:
        remedy = f"Start from {example}" if example else "Give the path of a TOML file"
        raise NotFoundError(f"{path} does not exist", remedy) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} is not TOML: {error}", "Correct that line") from error


def _inside(value: Any) -> Collection[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def require_keys(
    table: object, known: Collection[str], where: str, required: Collection[str] | None = None
) -> None:
    """Refuse a table with a key that is not known, or without one that must be there.

    Parameters
    ----------
    table
        A table of a TOML file.
    known
        Every key it may have.
    where
        What to call it in the message.
    required
        The keys it must have; all of them, if not given.

    Raises
    ------
    InvalidInputError
        The message names the key, and the nearest one that is known.
    """
    if not isinstance(table, dict):
        raise InvalidInputError(f"{where} is {table!r}", f"Give a table with {_listed(known)}")
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(str(key), list(known), 1)
            remedy = f"Did you mean {close[0]!r}?" if close else f"Known are {_listed(known)}"
            raise InvalidInputError(f"{where} has the key {key!r}, which is not known", remedy)
    if missing := sorted(set(known if required is None else required) - set(table)):
        raise InvalidInputError(f"{where} lacks {', '.join(missing)}", "Add it")


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


def from_table(kind: type[T], table: object, where: str) -> T:
    """An object of a dataclass from a table with its fields.

    Parameters
    ----------
    kind
        The dataclass; annotations of its fields are the types that values must have.
    table
        A table of a TOML file.
    where
        What to call it in messages.

    Raises
    ------
    InvalidInputError
        A key is not known or missing, or a value is not of its type, or the class refuses it.
    """
    own = fields(kind)  # type: ignore[arg-type]
    needed = [
        each.name for each in own if each.default is MISSING and each.default_factory is MISSING
    ]
    require_keys(table, [each.name for each in own], where, needed)
    assert isinstance(table, dict)
    hints = get_type_hints(kind)
    for key, value in table.items():
        require_type(value, _without_none(hints[key]), f"{where}: {key}")
    try:
        return kind(**table)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error.message}", error.remedy) from error


def require_type(value: object, wanted: Any, where: str) -> None:
    """Refuse a value of another type; a whole number is a number, true is none.

    Parameters
    ----------
    value
        From a TOML file.
    wanted
        A type, as annotations write it.
    where
        File, table and key.

    Raises
    ------
    InvalidInputError
        The message says what to give.
    """
    if not _is_of(value, wanted):
        raise InvalidInputError(f"{where} is {value!r}", f"Give {WANTED[wanted]}")


def _without_none(hint: Any) -> Any:
    if isinstance(hint, UnionType):
        return next(each for each in get_args(hint) if each is not type(None))
    return hint


def _is_of(value: object, wanted: Any) -> bool:
    if get_origin(wanted) is list:
        return isinstance(value, list) and all(_is_of(each, str) for each in value)
    if get_origin(wanted) is dict:
        return isinstance(value, dict) and all(_is_of(each, float) for each in value.values())
    if wanted not in WANTED:
        return isinstance(value, wanted)  # made from a table of its own
    is_number = isinstance(value, int | float) if wanted is float else isinstance(value, wanted)
    return is_number and isinstance(value, bool) is (wanted is bool)
