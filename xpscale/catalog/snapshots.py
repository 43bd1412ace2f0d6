"""Published versions of a catalogue: which there are, which is current, what each consists of."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from xpscale.catalog.identity import read_identity
from xpscale.catalog.layout import SNAPSHOTS, snapshot_key
from xpscale.catalog.manifest import Manifest, Snapshot
from xpscale.errors import NotFoundError, PermanentError

if TYPE_CHECKING:
    from xpscale.storage import Storage

__all__ = ["current", "numbers", "read_manifest", "read_snapshot", "snapshots"]


def snapshots(storage: Storage) -> tuple[Snapshot, ...]:
    """All published versions, oldest first."""
    return tuple(read_snapshot(storage, number) for number in numbers(storage))


def current(storage: Storage) -> Snapshot:
    """The newest published version.

    Raises
    ------
    NotFoundError
        If there is no catalogue, or nothing is published yet.
    """
    if found := numbers(storage):
        return read_snapshot(storage, found[-1])
    read_identity(storage)
    raise NotFoundError(
        f"{storage} has no published version yet",
        f"See how far the run is with 'xpscale status {storage}'; run 'xpscale infer' to finish and"
        " commit it",
    )


def read_manifest(storage: Storage, snapshot: Snapshot) -> Manifest:
    """What a version consists of.

    Parameters
    ----------
    storage
        The catalogue.
    snapshot
        The version.

    Raises
    ------
    PermanentError
        The manifest does not have the sha256 in its name.
    """
    text = storage.read(snapshot.manifest_key)
    found, expected = hashlib.sha256(text).hexdigest(), PurePosixPath(snapshot.manifest_key).stem
    if found != expected:
        raise PermanentError(
            f"{storage}/{snapshot.manifest_key} is damaged: its sha256 is {found}",
            "Restore it from a copy",
        )
    return Manifest.from_json(text)


def numbers(storage: Storage) -> list[int]:
    """Numbers of all published versions, ascending."""
    if storage.url.startswith(("https://", "http://")):  # cannot be listed; numbers have no gaps
        number = 0
        while storage.exists(snapshot_key(number + 1)):
            number += 1
        return list(range(1, number + 1))
    return sorted(int(PurePosixPath(key).stem) for key in storage.list(SNAPSHOTS))


def read_snapshot(storage: Storage, number: int) -> Snapshot:
    """The version with a number.

    Parameters
    ----------
    storage
        The catalogue.
    number
        1, 2, 3, ...

    Raises
    ------
    NotFoundError
        There is no such version.
    """
    return Snapshot.from_json(storage.read(snapshot_key(number)))
