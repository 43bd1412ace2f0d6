"""Secrets have no place in a file: settings name the variable or the profile that holds them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from xpscale.errors import InvalidInputError

__all__ = ["refuse_secrets"]

NAMES = re.compile(
    r"pass(word|wd|phrase)|secret|token|credential|(access|account|api|private|shared)_?key"
    r"|signature|connection_?string",
    re.IGNORECASE,
)
"""What the name of a variable or key that holds a secret contains."""

VALUES = (
    re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),  # the name of a key of Amazon's
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    re.compile(r"://[^/\s@]*:[^/\s@]+@"),  # user:password@host
    re.compile(r"[?&](sig|X-Amz-Signature|X-Goog-Signature|AWSAccessKeyId)=", re.IGNORECASE),
    re.compile(r"\"private_key\""),
)

ASSIGNED = re.compile(r"\b([A-Za-z_][A-Za-z0-9_]*)=(\"[^\"]+\"|'[^']+'|[^\s\"';]+)")
"""A variable that a line of a shell script gives a value to."""

ALLOWED = {"credentials", "file", "profile", "variables"}


def refuse_secrets(content: object, where: str) -> None:
    """Refuse a secret that stands in a file as it is; the message does not repeat it.

    Parameters
    ----------
    content
        What the file holds: tables, lists and values.
    where
        What to call it in the message.

    Raises
    ------
    InvalidInputError
        The message names the key.
    """
    for path, value in _strings(content, ()):
        names = [path[-1] if path else "", *(match[1] for match in _literals(value))]
        is_named = any(NAMES.search(name) for name in names[1:]) or (
            bool(NAMES.search(names[0])) and not _refers(path, value)
        )
        if is_named or any(pattern.search(value) for pattern in VALUES):
            raise InvalidInputError(
                f"{where}: {'.'.join(path)} holds a secret, which has no place in a file",
                "Put it into an environment variable or a profile, and name that under"
                " [credentials]; change the secret if others could read the file",
            )


def _literals(value: str) -> Iterator[re.Match[str]]:
    """Assignments in a shell line, without those that only repeat another variable."""
    return (
        match
        for match in ASSIGNED.finditer(value)
        if not match[2].strip("\"'").startswith(("$", "/", "~"))
    )


def _refers(path: tuple[str, ...], value: str) -> bool:
    """Whether a value names where a secret is, and is none."""
    return path[-1] in ALLOWED or value.startswith("$") or not value


def _strings(content: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(content, str):
        yield path, content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _strings(value, (*path, str(key)))
    elif isinstance(content, list):
        for value in content:
            yield from _strings(value, path)
