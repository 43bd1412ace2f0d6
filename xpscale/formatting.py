"""Numbers and errors as people read them."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["first_line", "format_bytes", "format_duration", "tell_steps"]


def format_bytes(n_bytes: float) -> str:
    """A number of bytes in the unit that gives one to three digits before the point.

    >>> format_bytes(5_802_489), format_bytes(880), format_bytes(3.61e12), format_bytes(999_700_000)
    ('5.8 MB', '880 B', '3.6 TB', '1 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 999.5:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.1f} TB"


def format_duration(seconds: float) -> str:
    """A time in seconds, minutes or hours, whichever is easiest to read.

    >>> format_duration(0.4), format_duration(95), format_duration(600), format_duration(20_000)
    ('1 s', '95 s', '10 min', '5.6 h')
    """
    if seconds < 120:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def first_line(error: Exception) -> str:
    r"""The first line of what an error says; its type, if it says nothing.

    >>> first_line(ValueError("no such row\nat line 7")), first_line(ValueError())
    ('no such row', 'ValueError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def tell_steps(say: Callable[[str], None], every_s: float = 10.0) -> Callable[[str, float], None]:
    """A listener that says what is being done when that changes, and now and then how far it is.

    Parameters
    ----------
    say
        Prints a line.
    every_s
        Seconds between two lines about the same.
    """
    said, when = "", 0.0

    def tell(what: str, fraction: float) -> None:
        nonlocal said, when
        if what != said or time.monotonic() - when > every_s:
            say(f"{what} ({fraction:.0%})" if what == said else what)
            said, when = what, time.monotonic()

    return tell
