"""Values for a command's parameters from the environment and a settings file.

A flag comes before the environment, the environment before the file, the file before the default.
A parameter of ``xpscale NOUN VERB --some-option`` is looked for in

* ``XPSCALE_NOUN_VERB_SOME_OPTION``, then ``XPSCALE_SOME_OPTION`` if it is one of `SHARED`;
* the table ``[noun.verb]`` of the file, key ``some_option``;
* its table ``[data]`` for what lies somewhere, ``[cluster]`` for who works.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_args, get_origin

from xpscale.errors import InvalidInputError
from xpscale.settings.file import Data, Settings
from xpscale.toml_files import require_keys, require_type

__all__ = ["COMMANDS", "Found", "Taken", "found", "parameters", "require_known_tables"]

VARIABLE = "XPSCALE_"

PLACES = {
    ("ingest", "source"): "archive",
    ("archive fetch", "places"): "archive",
    ("archive verify", "directory"): "archive",
    ("sample", "output"): "sample",
    ("train", "sample"): "sample",
    ("plot sample", "sample"): "sample",
    ("site", "out"): "site",
    ("spectrum", "store"): "store",
}
"""Keys of [data] for parameters that have another name, or are options."""

SHARED = ("cluster", "scheduler", "workers", "resources", "device")
"""Options that one environment variable sets for every command."""

Function = Callable[..., Any]


@dataclass(frozen=True)
class Taken:
    """A parameter of a command.

    Parameters
    ----------
    name
        In the function.
    key
        In a settings file: the option without ``--``, with ``_``.
    kind
        Its type in Python.
    place
        The key of [data] that holds it; empty if none does.
    is_option
        Whether it is an option.
    """

    name: str
    key: str
    kind: Any
    place: str
    is_option: bool


@dataclass(frozen=True)
class Found:
    """A value that is not a default.

    Parameters
    ----------
    value
        Of the parameter's type.
    origin
        The environment variable, or the table of the file.
    is_environment
        Which of the two.
    """

    value: Any
    origin: str
    is_environment: bool


COMMANDS: dict[str, list[Taken]] = {}
"""The parameters of every command, by what follows ``xpscale``."""


def found(command: str, settings: Settings) -> dict[str, Found]:
    """Values for the parameters of a command, by their names in its function.

    Parameters
    ----------
    command
        A key of `COMMANDS`.
    settings
        Of the file.

    Raises
    ------
    InvalidInputError
        A value is not of its parameter's type, or a table has a key that is no option.
    """
    table = _table_of(command, settings)
    return {
        taken.name: value
        for taken in COMMANDS[command]
        if (value := next(_candidates(command, taken, table, settings), None)) is not None
    }


def _candidates(
    command: str, taken: Taken, table: Mapping[str, Any], settings: Settings
) -> Iterator[Found]:
    names = [VARIABLE + f"{command} {taken.key}".replace(" ", "_").replace("-", "_").upper()]
    names += [VARIABLE + taken.place.upper()] * bool(taken.place)
    names += [VARIABLE + taken.key.upper()] * (taken.key in SHARED)
    for name in names:
        if text := os.environ.get(name):
            yield Found(_parsed(text, taken.kind, name), name, True)
    if taken.key in table:
        yield Found(table[taken.key], f"{settings.path} [{command.replace(' ', '.')}]", False)
    if taken.place and (value := getattr(settings.data, taken.place)):
        if (
            get_origin(taken.kind) is list
        ):  # of 'archive fetch': from where, if stated, and to where
            value = [*filter(None, [settings.data.mirror]), value]
        yield Found(value, f"{settings.path} [data]", False)
    if taken.key == "cluster" and settings.cluster is not None:
        yield Found(settings.path, f"{settings.path} [cluster]", False)


def require_known_tables(settings: Settings) -> None:
    """Refuse tables that belong to no command.

    Parameters
    ----------
    settings
        Of a file.

    Raises
    ------
    InvalidInputError
        The message names the table or the key.
    """
    own = [each.name for each in fields(Settings) if each.name not in ("path", "content")]
    nouns = {command.split()[0] for command in COMMANDS}
    require_keys(settings.content, [*own, *sorted(nouns)], settings.path, ())
    for command in COMMANDS:
        noun, _, verb = command.partition(" ")
        if verb and noun in settings.commands:
            verbs = [each.partition(" ")[2] for each in COMMANDS if each.startswith(f"{noun} ")]
            require_keys(settings.commands[noun], verbs, f"{settings.path}: [{noun}]", ())
        _table_of(command, settings)


def _table_of(command: str, settings: Settings) -> Mapping[str, Any]:
    table: Any = settings.commands
    for name in command.split():
        table = table.get(name, {})
    where = f"{settings.path}: [{command.replace(' ', '.')}]"
    options = {taken.key: taken for taken in COMMANDS[command] if taken.is_option}
    require_keys(table, list(options), where, ())
    for key, value in table.items():
        require_type(value, options[key].kind, f"{where}: {key}")
    return {key: float(v) if options[key].kind is float else v for key, v in table.items()}


def _parsed(text: str, kind: Any, name: str) -> Any:
    """The value of an environment variable as its type."""
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    try:
        if kind is bool:
            return words[text.lower()]
        if get_origin(kind) is list:
            return text.split()
        return kind(text)
    except (ValueError, KeyError):
        wanted = {bool: "true or false", int: "a whole number"}.get(kind, "a number")
        raise InvalidInputError(f"{name} is {text!r}", f"Give {wanted}") from None


def parameters(command: str, function: Function) -> list[Taken]:
    """The parameters of a command, for `COMMANDS`.

    Parameters
    ----------
    command
        What follows ``xpscale``.
    function
        That does it.
    """
    signature = inspect.signature(function, eval_str=True)
    return [taken for each in signature.parameters.values() if (taken := _taken(command, each))]


def _taken(command: str, parameter: inspect.Parameter) -> Taken | None:
    """What a parameter is called elsewhere; nothing for ``--settings`` itself."""
    kind, *said = (
        get_args(parameter.annotation)
        if get_origin(parameter.annotation) is Annotated
        else (parameter.annotation,)
    )
    if parameter.name == "settings" or not said:
        return None
    kinds = [each for each in get_args(kind) if each is not type(None)]
    if kinds and get_origin(kind) is not list:
        kind = kinds[0]
    is_option = type(said[0]).__name__ == "OptionInfo"
    declared = [each for each in said[0].param_decls or () if each.startswith("--")]
    key = declared[0].lstrip("-").replace("-", "_") if declared else parameter.name
    place = PLACES.get((command, parameter.name), "")
    is_place = parameter.name in {each.name for each in fields(Data)}
    if is_place and (not is_option or parameter.name == "release"):
        place = place or parameter.name
    return Taken(parameter.name, key, kind, place, is_option)
