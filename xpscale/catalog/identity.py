"""The first object of a run says what the catalogue is made of; a different run is refused."""

from __future__ import annotations

from dataclasses import asdict

from xpscale.catalog.layout import RUN
from xpscale.catalog.manifest import RunIdentity
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.json_files import read_value
from xpscale.storage import Storage
from xpscale.storage.identity import claim as claim_place

__all__ = ["claim", "read_identity"]


def claim(storage: Storage, identity: RunIdentity, *, only_look: bool = False) -> bool:
    """Take a place for one run by writing its identity, before anything else is written there.

    Parameters
    ----------
    storage
        The place.
    identity
        What the run is made of.
    only_look
        Whether nothing is written, of a plan.

    Returns
    -------
    bool
        True if the place was free; False if the same run is there already and can be resumed.

    Raises
    ------
    ConflictError
        If another run, or something that is no catalogue, is there.
    InvalidInputError
        If the address is one that readers of the catalogue would misread.
    """
    if storage.folder is None and set("*[") & set(storage.url):
        raise InvalidInputError(
            f"{storage} has * or [, which hats and lsdb take for patterns", "Choose another prefix"
        )
    return claim_place(storage, RUN, asdict(identity), "run", only_look=only_look)


def read_identity(storage: Storage) -> RunIdentity:
    """What the catalogue at a place is made of.

    Raises
    ------
    NotFoundError
        If there is no catalogue.
    """
    try:
        text = storage.read(RUN)
    except NotFoundError as error:
        raise NotFoundError(
            f"{storage} is not an xpscale catalogue: it has no {RUN}", "Check the path"
        ) from error
    return read_value(
        RunIdentity.from_json,
        text,
        f"{storage}/{RUN}",
        "identity of a run",
        "It was written by another version of xpscale, or is damaged: choose another path",
    )
