"""Settings in TOML files: read, and refused with the key that is wrong."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from xpscale.errors import InvalidInputError, NotFoundError

__all__ = ["read_toml", "require_keys"]


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
        It is not TOML; the message names the line.
    """
    try:
        return tomllib.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        remedy = f"Start from {example}" if example else "Give the path of a TOML file"
        raise NotFoundError(f"{path} does not exist", remedy) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} is not TOML: {error}", "Correct that line") from error


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
