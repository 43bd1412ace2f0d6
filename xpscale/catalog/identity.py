"""Whose catalogue is this?  The first object of a run says what it is made of; a different run is kept out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xpscale.catalog.layout import RUN
from xpscale.catalog.manifest import RunIdentity
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from xpscale.storage import Storage

__all__ = ["claim", "read_identity"]


def claim(storage: Storage, identity: RunIdentity) -> bool:
    """Take a place for one run by writing its identity, before anything else is written there.

    Returns
    -------
    bool
        True if the place was free; False if the same run is there already and can be resumed.

    Raises
    ------
    ConflictError
        If another run, or something that is no catalogue, is there.
    """
    found = _identity_at(storage)
    # The second look: a twin may have claimed the place, and begun to write, since the first.
    if found is None and not storage.is_empty() and (found := _identity_at(storage)) is None:
        raise ConflictError(
            f"{storage} already holds something else: {_one_object(storage)}", "Choose a path that is empty"
        )
    if found is None and storage.create(RUN, identity.to_json().encode()):
        return True
    found = found or read_identity(storage)
    if differences := identity.differences(found):
        lines = "".join(f"\n  {name}: there {theirs}, now {ours}" for name, (ours, theirs) in differences.items())
        raise ConflictError(
            f"{storage} belongs to another run, which differs in {len(differences)} fields:{lines}\n",
            "Choose another path, or run with what is there",
        )
    return False


def read_identity(storage: Storage) -> RunIdentity:
    """What the catalogue at a place is made of.

    Raises
    ------
    NotFoundError
        If there is no catalogue.
    """
    identity = _identity_at(storage)
    if identity is None:
        raise NotFoundError(f"{storage} is not an xpscale catalogue: it has no {RUN}", "Check the path")
    return identity


def _identity_at(storage: Storage) -> RunIdentity | None:
    try:
        text = storage.read(RUN)
    except NotFoundError:
        return None
    try:
        return RunIdentity.from_json(text)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{storage}/{RUN} cannot be read as a run identity ({error})",
            "It was written by another version of xpscale, or is damaged: choose another path",
        ) from error


def _one_object(storage: Storage) -> str:
    """Name of one thing that lies there, without listing a whole bucket."""
    if storage.is_local:
        return next(iter(sorted(path.name for path in Path(storage.url).iterdir())))
    import obstore

    return str(next(iter(obstore.list(storage.store, chunk_size=1)))[0]["path"])
