"""Claim a place for one run or ingest: the first to write what it will hold decides, and others
must agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.json_files import parse_json
from xpscale.storage import Storage

__all__ = ["claim", "read_claim"]


def claim(
    storage: Storage, key: str, identity: Mapping[str, Any], what: str, *, only_look: bool = False
) -> bool:
    """Write what a place will hold, or agree with what was written before.

    Parameters
    ----------
    storage
        The place.
    key
        Object that holds the claim.
    identity
        What determines the content; JSON values.
    what
        ``"ingest"`` or ``"run"``, for messages.
    only_look
        Whether nothing is written, of a plan.

    Returns
    -------
    bool
        True if the place was free, False if the same work was begun here before (and can be
        resumed).

    Raises
    ------
    ConflictError
        The place holds something else, or work that differs; the message lists the differences.
        Nothing was written.
    """
    mine = json.loads(json.dumps(identity))
    theirs = read_claim(storage, key)
    # read again: another process may have claimed the place, and begun to write, meanwhile
    if theirs is None and (found := storage.first_key(begun=key)):
        theirs = read_claim(storage, key)
        if theirs is None:
            raise ConflictError(
                f"{storage} already holds something else: {found}", "Choose a path that is empty"
            )
    claimed = (json.dumps(mine, indent=1, sort_keys=True) + "\n").encode()
    if theirs is None and (only_look or storage.create(key, claimed)):
        return True
    theirs = theirs or read_claim(storage, key) or {}
    names = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
    if names:
        lines = "".join(
            f"\n  {name}: there {theirs.get(name)}, now {mine.get(name)}" for name in names
        )
        same = (
            "go on with the same software" if names == ["software"] else "give the same input again"
        )
        raise ConflictError(
            f"{storage} belongs to another {what}, which differs in"
            f" {len(names)} field{'s' * (len(names) > 1)}:{lines}\n",
            f"Choose another path, or {same} to resume",
        )
    return False


def read_claim(storage: Storage, key: str) -> dict[str, Any] | None:
    """What a place was claimed for, or ``None`` if it was not.

    Parameters
    ----------
    storage
        The place.
    key
        Object that holds the claim.

    Raises
    ------
    InvalidInputError
        The object cannot be read.
    """
    try:
        found = parse_json(storage.read(key))
    except NotFoundError:
        return None
    except ValueError as error:
        raise _unreadable(storage, key, error) from error
    if not isinstance(found, dict):
        raise _unreadable(storage, key, "it is no JSON object")
    return found


def _unreadable(storage: Storage, key: str, why: object) -> InvalidInputError:
    return InvalidInputError(
        f"{storage}/{key} cannot be read ({why})",
        "It was written by another version of xpscale, or is damaged: choose another path",
    )
