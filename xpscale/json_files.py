"""JSON of others: of bounded size, and of the types that our values declare, or refused in one
line.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from xpscale.errors import InvalidInputError, XpscaleError
from xpscale.formatting import format_bytes

__all__ = ["from_fields", "parse_json", "read_value"]

Value = TypeVar("Value")

MAX_BYTES = 64_000_000
"""Of a document: the manifest of the finest catalogue, twenty times over."""

BYTES_PER_NODE = 8
"""Of text, for each list or object in it, which takes 64 bytes of memory at least."""

FREE_NODES = 100_000


def parse_json(data: str | bytes, max_bytes: int = MAX_BYTES) -> Any:
    """What a document holds.

    Parameters
    ----------
    data
        Its text.
    max_bytes
        A longer one is refused.

    Raises
    ------
    ValueError
        It is no JSON, or would take much more memory than its text.
    """
    if len(data) > max_bytes:
        raise ValueError(f"{format_bytes(len(data))} of JSON, of at most {format_bytes(max_bytes)}")
    text = data if isinstance(data, bytes) else data.encode()
    if text.count(b"[") + text.count(b"{") > FREE_NODES + len(text) / BYTES_PER_NODE:
        raise ValueError("more lists than content")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_value(
    from_json: Callable[[str | bytes], Value],
    data: str | bytes,
    where: str,
    what: str,
    remedy: str = "Restore it from a copy",
) -> Value:
    """A value made of a document.

    Parameters
    ----------
    from_json
        Makes it of the document's text.
    data
        The text.
    where, what
        What to call it in errors, and what it should be.
    remedy
        What to do about another one.

    Raises
    ------
    InvalidInputError
        It is no JSON, or of another form.
    """
    try:
        return from_json(data)
    except XpscaleError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise InvalidInputError(f"{where} is no {what} ({error})", remedy) from error


def from_fields(kind: type[Value], fields: Mapping[str, Any]) -> Value:
    """A dataclass with these fields, as JSON holds them; lists become tuples, objects dataclasses.

    Parameters
    ----------
    kind
        The dataclass.
    fields
        Its fields by name.

    Raises
    ------
    TypeError
        A field is missing, not known, or of another type than it declares.
    """
    if not isinstance(fields, Mapping):
        raise TypeError(f"{kind.__name__} is {_short(fields)}")
    declared: Any = kind
    hints = _hints(declared)
    if unknown := sorted(set(fields) - set(hints)):
        raise TypeError(f"{kind.__name__} has no {unknown[0]!r}")
    if lacking := sorted(_required(declared) - set(fields)):
        raise TypeError(f"{kind.__name__} lacks {', '.join(lacking)}")
    return kind(**{name: _value(hints[name], value, name) for name, value in fields.items()})


@functools.cache
def _required(kind: type) -> frozenset[str]:
    without = dataclasses.MISSING
    return frozenset(
        field.name
        for field in dataclasses.fields(kind)
        if field.init and field.default is without and field.default_factory is without
    )


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def _value(hint: Any, value: Any, name: str) -> Any:
    """The value as its declared type has it."""
    if hint is Any:
        return value
    if hint in _PLAIN:
        if not isinstance(value, _PLAIN[hint]) or (isinstance(value, bool) and hint is not bool):
            raise TypeError(f"{name} is {_short(value)}")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise TypeError(f"{name} has {len(str(value))} digits")
        return value
    origin, of = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _value(of[0], value, name)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"{name} is {_short(value)}")
        kinds = of[:1] * len(value) if of[1:] == (...,) else of
        return tuple(_value(each, item, name) for each, item in zip(kinds, value, strict=True))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} is {_short(value)}")
        return {key: _value(of[1], item, f"{name}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_fields(typing.cast("type[Any]", hint), value)
    return hint(value)  # an enumeration


_PLAIN: dict[Any, Any] = {
    int: int,
    float: (int, float),
    str: str,
    bool: bool,
}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
