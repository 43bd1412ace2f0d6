r"""Text of others, as it may be shown: without what moves a terminal's cursor, turns the direction
of writing or is a secret.

Every message of `xpscale.errors.XpscaleError` goes through `shown`, and so does what commands
print.  Whatever else is shown or kept goes through `without_secrets`: standard output and error,
the log, reports of tasks, what is told of workers, labels of metrics, the file for an error that
nobody foresaw.
"""

from __future__ import annotations

import configparser
import os
import re
from functools import cache
from typing import Any, TextIO

__all__ = [
    "SECRET",
    "SafeOutput",
    "has_password",
    "one_line",
    "printable",
    "shown",
    "without_secrets",
]

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # directions of writing
    r"\u2028\u2029\ufeff\ud800-\udfff]"  # separators, marks, halves of characters
)
_NEW_LINE = re.compile(r"\n(?=\S)")

_USER = re.compile(
    r"(?i)(?<=://)(?<!abfs://)(?<!abfss://)(?<!az://)(?<!azure://)(?<!adl://)[^/\s'\"<>]+@"
)
_PARAMETER = re.compile(
    r"(?i)([?&;](?:[\w.-]*(?:signature|credential|token|secret|passw|api_?key|access_?key)[\w.-]*"
    r"|sig|pwd|auth|key)=)[^&;#\s'\"<>)]+"
)


SECRET = (
    "secret|token|passw(?:or)?d|credential|(?<!skip_)signature|authorization"
    "|(?:access|account|api|private|storage|sas)_?key|connection_?string"
)
"""What the name of a variable or key that holds a secret contains."""

_NO_SECRET = re.compile(r"(?i)_(file|dir|path|url|uri|name|type|expiration)$")

_NAME = rf"[\w-]*(?:{SECRET})[\w-]*"

_PATTERNS = (
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"), "***"),  # identifiers of keys of AWS
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.+/=-]{6,}"), r"\1 ***"),
    (
        re.compile(
            rf"(?i)({_NAME}\\*[\"']?\s?=\s?|(?<=[\"']){_NAME}\\*[\"']\s*:\s*)"
            r"(?!\.\.\.|\$)(\\*\"[^\"]*\"|\\*'[^']*'|[^\s,;&\"')}\]]+)"
        ),
        r"\1***",
    ),
)
"""What looks like a secret elsewhere than in an address, and what stands in its place."""

_LEAST = 8
"""Characters of a secret: shorter values stand in many other words."""


def printable(text: str) -> str:
    r"""The text with its control characters escaped; tabs and line ends stay.

    >>> print(printable("a\x1b[2Jb\u202ec"))
    a\x1b[2Jb\u202ec
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    r"""As `printable`, with line ends escaped, too.

    >>> print(one_line("first\nxpscale: sound"))
    first\nxpscale: sound
    """
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def without_secrets(text: str) -> str:
    """The text without passwords and signatures in the addresses that it names, without what is
    assigned to names of secrets, and without the secrets that this process knows.

    >>> without_secrets("https://user:word@host/a?X-Amz-Signature=12ab&part=3 is gone")
    'https://***@host/a?X-Amz-Signature=***&part=3 is gone'
    >>> without_secrets("export AWS_SECRET_ACCESS_KEY=12ab")
    'export AWS_SECRET_ACCESS_KEY=***'
    """
    for secret in _known_secrets():
        text = text.replace(secret, "***")
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return _without_passwords(text)


def _without_passwords(text: str) -> str:
    if "://" in text:
        text = _USER.sub("***@", text)
    return _PARAMETER.sub(r"\1***", text)


def _known_secrets() -> list[str]:
    """Values of environment variables and of the AWS credentials file that are secrets, longest
    first.
    """
    path = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.expanduser("~/.aws/credentials")
    found = {
        value
        for name, value in (*os.environ.items(), *_kept_in(os.fspath(path)))
        if len(value) >= _LEAST and _is_secret(name)
    }
    return sorted(found, key=len, reverse=True)


@cache
def _is_secret(name: str) -> bool:
    return bool(re.search(SECRET, name, re.IGNORECASE)) and not _NO_SECRET.search(name)


@cache
def _kept_in(path: str) -> tuple[tuple[str, str], ...]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path)
    except (OSError, configparser.Error, UnicodeDecodeError):
        return ()  # no file that could be understood
    return tuple(item for section in parser.sections() for item in parser.items(section))


def shown(text: str) -> str:
    r"""A message: `printable`, `without_secrets`, and no line but the first begins at the margin,
    where it could be taken for one of ours.

    >>> print(shown("no file https://u:p@host/a\x07\nxpscale: sound"))
    no file https://***@host/a\x07\nxpscale: sound
    """
    return without_secrets(_NEW_LINE.sub(r"\\n", printable(text)))


def has_password(url: str) -> bool:
    """Whether an address carries a user, a password or a signature.

    >>> has_password("https://user:word@host/a"), has_password("https://host/a@b")
    (True, False)
    """
    return _without_passwords(url) != url


class SafeOutput:
    """A standard stream, to which text is written `without_secrets`; bytes, which are data, go to
    its ``buffer`` as they are.

    Parameters
    ----------
    stream
        The stream.
    moves
        Whether control characters stay: standard error may draw a table on a terminal.
    """

    def __init__(self, stream: TextIO, *, moves: bool = False) -> None:
        self.stream, self._moves = stream, moves

    def write(self, text: str) -> int:
        """Write text, made safe to show."""
        return self.stream.write(without_secrets(text if self._moves else printable(text)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
