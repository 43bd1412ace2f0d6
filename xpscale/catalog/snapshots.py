"""Published versions of a catalogue: which there are, which is current, what each consists of."""

from __future__ import annotations

import hashlib
import itertools
import re
from pathlib import PurePosixPath

from xpscale.catalog.identity import read_identity
from xpscale.catalog.layout import COLLECTION, SNAPSHOTS, snapshot_key
from xpscale.catalog.manifest import Manifest, Snapshot
from xpscale.errors import InvalidInputError, NotFoundError, PermanentError
from xpscale.json_files import read_value
from xpscale.storage import Storage
from xpscale.storage.address import inside

__all__ = [
    "current",
    "numbers",
    "read_manifest",
    "read_snapshot",
    "require_own_tables",
    "snapshots",
    "version",
]

NUMBER = re.compile(r"(\d{6,})\.json")
NAMING = {
    *("hats_primary_table_url", "hats_assn_join_table_url", "all_extensions"),
    *("all_margins", "default_margin", "all_indexes", "default_index"),
}
"""Properties whose words are names of folders."""


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
    if not storage.can_list:
        if newest := _newest_on_web(storage):
            return newest
    elif found := numbers(storage):
        return read_snapshot(storage, found[-1])
    read_identity(storage)
    raise NotFoundError(
        f"{storage} has no published version yet",
        f"See how far the run is with 'xpscale status {storage}'; run 'xpscale infer' to finish and"
        " commit it",
    )


def version(storage: Storage, number: int | None) -> Snapshot:
    """The published version of a number, or the newest.

    Parameters
    ----------
    storage
        The catalogue.
    number
        1, 2, 3, ..., or ``None``.

    Raises
    ------
    NotFoundError
        If there is no catalogue, or not that version; the message says which there are.
    """
    if number is None:
        return current(storage)
    newest = current(storage).number
    try:
        return read_snapshot(storage, number)
    except NotFoundError as error:
        there = "only snapshot 1" if newest == 1 else f"snapshots up to {newest}"
        raise NotFoundError(
            f"{storage} has no snapshot {number}", f"It has {there}: 'xpscale catalog log'"
        ) from error


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
    NotFoundError
        The manifest is gone.
    PermanentError
        The manifest does not have the sha256 in its name.
    """
    try:
        text = storage.read(snapshot.manifest_key)
    except NotFoundError as error:
        raise NotFoundError(
            f"snapshot {snapshot.number} of {storage} is gone: it has no {snapshot.manifest_key}",
            "Open another one ('xpscale catalog log'), or restore it from a copy",
        ) from error
    found, expected = hashlib.sha256(text).hexdigest(), PurePosixPath(snapshot.manifest_key).stem
    if found != expected:
        raise PermanentError(
            f"{storage}/{snapshot.manifest_key} is damaged: its sha256 is {found}",
            "Restore it from a copy",
        )
    return read_value(
        Manifest.from_json, text, f"{storage}/{snapshot.manifest_key}", "manifest of a catalogue"
    )


def numbers(storage: Storage) -> list[int]:
    """Numbers of all published versions, ascending; other files among them are passed over."""
    if not storage.can_list:
        newest = _newest_on_web(storage)
        return list(range(1, newest.number + 1)) if newest else []
    names = (key.removeprefix(f"{SNAPSHOTS}/") for key in storage.list(SNAPSHOTS))
    return sorted(int(found[1]) for name in names if (found := NUMBER.fullmatch(name)))


def _newest_on_web(storage: Storage) -> Snapshot | None:
    """The newest version, where nothing lists them: the one that the HATS metadata name, which a
    commit writes just before it; else numbers are counted, which have no gaps.
    """
    named = _named_by_hats(storage)
    for number in (named, named - 1):
        if number > 0 and (found := _on_web(storage, number)):
            return found
    newest = None
    for number in itertools.count(1):
        if not (found := _on_web(storage, number)):
            return newest
        newest = found
    raise AssertionError


def _on_web(storage: Storage, number: int) -> Snapshot | None:
    """A version, or ``None`` if there is none of the number."""
    try:
        return read_snapshot(storage, number)
    except NotFoundError:
        return None
    except InvalidInputError:
        # public buckets answer 403 for what is not there; the first one must be
        if number == 1:
            raise
        return None


def _named_by_hats(storage: Storage) -> int:
    """The number in the HATS metadata, 0 if there is none."""
    try:
        found = re.search(rb"^xpscale_snapshot=(\d+)$", storage.read(COLLECTION), re.MULTILINE)
    except (NotFoundError, InvalidInputError):
        return 0
    return int(found[1]) if found else 0


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
    InvalidInputError
        What is there is none.
    """
    key = snapshot_key(number)
    return read_value(
        Snapshot.from_json, storage.read(key), f"{storage}/{key}", "version of a catalogue"
    )


def require_own_tables(storage: Storage) -> None:
    """Refuse a HATS collection that names a table outside itself: hats and lsdb open whatever path
    stands there.

    Parameters
    ----------
    storage
        The collection.

    Raises
    ------
    InvalidInputError
        The message has the name.
    """
    for line in storage.read(COLLECTION).decode("utf-8", "replace").splitlines():
        name, _, value = line.partition("=")
        if name.strip() in NAMING:
            for word in value.split():
                inside(word, storage.url)
