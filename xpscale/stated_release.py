"""Which data release an input says it is of, in its names and metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable

from xpscale.release import Release, release_of, require_same_release

__all__ = ["agreed_release", "release_in_name"]

_IN_NAME = re.compile(r"(?<![a-z])gaia[ _-]?(dr\d+)", re.IGNORECASE)


def agreed_release(
    stated: Release | None, named: Iterable[tuple[str, str]], where: str = "--release"
) -> Release | None:
    """The release that the parts of an input say they are of; ``None`` if none does.

    Parameters
    ----------
    stated
        The release that is known already, if any.
    named
        Of each part its name and the name of its release, which is empty if it does not say.
    where
        What to call the origin of ``stated`` in errors.

    Raises
    ------
    ConflictError
        Two releases are named.
    """
    for part, name in named:
        if not name or (stated is not None and name == stated.name):
            continue
        release = release_of(name)
        if stated is not None:
            require_same_release(where, stated, part, release)
        stated, where = release, part
    return stated


def release_in_name(text: str) -> str:
    """``Gaia DR3``, if a file's name or a designation says so; else empty.

    >>> release_in_name("some/XP_CONTINUOUS-Gaia DR3 5937083312263887616.csv")
    'Gaia DR3'
    """
    match = _IN_NAME.search(text.rsplit("/", 1)[-1])
    return f"Gaia {match[1].upper()}" if match else ""
