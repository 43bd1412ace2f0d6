r"""Text of others, as it may be shown: without what moves a terminal's cursor, turns the direction
of writing or is a secret.

Every message of `xpscale.errors.XpscaleError` goes through `shown`, and so does what commands
print.
"""

from __future__ import annotations

import re
from typing import Any, TextIO

__all__ = ["SafeOutput", "has_password", "one_line", "printable", "shown", "without_secrets"]

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
    """The text without passwords and signatures in the addresses that it names.

    >>> without_secrets("https://user:word@host/a?X-Amz-Signature=12ab&part=3 is gone")
    'https://***@host/a?X-Amz-Signature=***&part=3 is gone'
    """
    if "://" in text:
        text = _USER.sub("***@", text)
    return _PARAMETER.sub(r"\1***", text)


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
    return without_secrets(url) != url


class SafeOutput:
    """Standard output, to which text is written as `printable` and `without_secrets`; bytes, which
    are data, go to its ``buffer`` as they are.

    Parameters
    ----------
    stream
        The stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, made safe to show."""
        return self._stream.write(without_secrets(printable(text)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
