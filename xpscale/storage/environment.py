"""What settings of every object store have in common."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from obstore.store import ClientConfig

__all__ = [
    "Credentials",
    "client_options",
    "end_of",
    "first_of",
    "is_on",
    "require_machine_identity",
]

WORDS = {
    **dict.fromkeys(("1", "true", "yes", "on", "y", "t"), True),
    **dict.fromkeys(("", "0", "false", "no", "off", "n", "f"), False),
}
TIMEOUT = "300s"  # of one request: a part of 200 MB at 0.7 MB/s
METADATA = ("169.254.169.254", 80)
"""Where machines of a cloud ask for their credentials."""
PROBE_S = 2.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are to a server.

    Parameters
    ----------
    source
        Where they come from, in words.
    end
        When they end; ``None`` if they do not, or nobody knows.
    is_temporary
        Whether they end.
    """

    source: str
    end: datetime | None = None
    is_temporary: bool = False


def end_of(text: str) -> datetime | None:
    """The time that a text says, in UTC if it does not say where; ``None`` for no such text.

    >>> str(end_of("2026-11-30")), end_of("tomorrow")
    ('2026-11-30 00:00:00+00:00', None)

    Parameters
    ----------
    text
        As ISO 8601 has it.
    """
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        return None
    return end if end.tzinfo else end.replace(tzinfo=UTC)


def first_of(*names: str) -> str:
    """The first of some variables that says something; empty if none does.

    Parameters
    ----------
    names
        Variables of the environment.
    """
    return next((text for name in names if (text := os.environ.get(name, "").strip())), "")


def is_on(*names: str) -> bool:
    """Whether one of some variables says yes.

    Parameters
    ----------
    names
        Variables of the environment.

    Raises
    ------
    InvalidInputError
        One says neither yes nor no.
    """
    texts = {name: os.environ.get(name, "") for name in names}
    for name, text in texts.items():
        if text.strip().lower() not in WORDS:
            raise InvalidInputError(f"{name}={text} is neither true nor false", f"Set {name}=true")
    return any(WORDS[text.strip().lower()] for text in texts.values())


def client_options(endpoint: str, timeout: str = "") -> ClientConfig:
    """Options of the HTTP client of an obstore store.

    Parameters
    ----------
    endpoint
        Address of a server other than the provider's; empty for that.
    timeout
        When a request that hangs ends, such as ``300s``; that is the default.
    """
    return {"timeout": timeout or TIMEOUT, "allow_http": endpoint.startswith("http://")}


def require_machine_identity(what: str, remedy: str) -> None:
    """Refuse at once where no machine of a cloud can be asked for credentials; libraries would ask
    for minutes.

    Parameters
    ----------
    what
        The object store, as people call it.
    remedy
        How credentials are given.

    Raises
    ------
    InvalidInputError
        There is no such machine.
    """
    try:
        socket.create_connection(METADATA, timeout=PROBE_S).close()
    except OSError as error:
        raise InvalidInputError(f"there are no credentials for {what}", remedy) from error
