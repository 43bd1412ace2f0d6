"""Claim a place for one piece of work: the first to say what it will hold decides, others must agree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from xpscale.errors import ConflictError, NotFoundError
from xpscale.storage import Storage

__all__ = ["claim"]


def claim(storage: Storage, key: str, identity: Mapping[str, Any], what: str) -> bool:
    """Say what a place will hold, or agree with what was said before.

    Parameters
    ----------
    storage
        The place.
    key
        Object that holds the claim.
    identity
        What determines the content; JSON values.
    what
        ``"spectra store"`` or ``"catalogue"``, for messages.

    Returns
    -------
    bool
        True if the place was free, False if the same work was begun here before (and can be resumed).

    Raises
    ------
    ConflictError
        The place holds something else; nothing was written.
    """
    mine = json.loads(json.dumps(identity))
    try:
        theirs = json.loads(storage.read(key))
    except NotFoundError:
        if not storage.is_empty():
            raise ConflictError(
                f"{storage.url} holds something that is no {what} of xpscale's", "Choose an empty place"
            ) from None
        if storage.create(key, (json.dumps(mine, indent=1, sort_keys=True) + "\n").encode()):
            return True
        theirs = json.loads(storage.read(key))  # somebody claimed it between our two looks
    if theirs != mine:
        names = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
        differences = "; ".join(f"{name}: there {theirs.get(name)}, now {mine.get(name)}" for name in names)
        raise ConflictError(
            f"{storage.url} holds a {what} made of something else ({differences})",
            "Choose another place, or give the same input again to resume",
        )
    return False
