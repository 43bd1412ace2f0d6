"""Objects that nobody needs: what they are, why they lie there, and their removal.

`xpscale/design/005-failure-modes.md` says what leaves them behind.  What any snapshot names, and
what the reports of finished tasks name, is needed; before the first snapshot so is every part,
because the run may be resumed.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from xpscale.catalog.identity import read_identity
from xpscale.catalog.layout import LEDGER, MANIFESTS, PRODUCTS, is_our_name, part_key
from xpscale.catalog.snapshots import read_manifest, snapshots
from xpscale.errors import NotFoundError
from xpscale.sky import Pixel
from xpscale.types import TaskReport

if TYPE_CHECKING:
    from collections.abc import Collection

    from xpscale.catalog.manifest import RunIdentity
    from xpscale.storage import Storage

__all__ = ["MINIMUM_AGE_S", "CleanReport", "Stray", "clean", "find_strays"]

MINIMUM_AGE_S = 3600.0
"""Younger objects may belong to a task or a commit that is between two steps."""

FOREIGN = "readers of the folder would see it, and xpscale did not write it: move it elsewhere"
METADATA = ("_metadata", "_common_metadata")
TASK = re.compile(r"/ledger/Norder=(\d+)/Npix=(\d+)\.json$")
PIXEL = re.compile(r"/dataset/(Norder=\d+)/Dir=\d+/(Npix=\d+)\.parquet$")


@dataclass(frozen=True, slots=True)
class Stray:
    """An object that no version needs.

    Parameters
    ----------
    key, n_bytes, age_s
        Which, how large, and seconds since it was written.
    why
        What it is, for a person.
    is_visible
        Whether readers of a product's folder see it: they would take its rows for the catalogue's,
        or fail on it.
    is_kept
        Whether it is not ours to remove: the next commit publishes it, or xpscale did not write it.
    """

    key: str
    n_bytes: int
    age_s: float
    why: str
    is_visible: bool = False
    is_kept: bool = False

    def __str__(self) -> str:
        return f"{self.key}: {self.why}"


@dataclass(frozen=True, slots=True)
class CleanReport:
    """What `clean` removed (or would remove), and which strays it left because they are younger
    than the limit.
    """

    catalog: str
    removed: tuple[Stray, ...]
    young: tuple[Stray, ...]
    is_dry: bool

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(asdict(self), indent=1)


def find_strays(storage: Storage) -> tuple[Stray, ...]:
    """Every object of a catalogue that no published version needs, by key.

    Raises
    ------
    NotFoundError
        There is no catalogue.
    PermanentError
        A manifest is damaged, so nobody can say what it needs.
    """
    identity = read_identity(storage)
    objects = storage.objects()
    # after the listing: what was published since is newer than everything listed
    published = snapshots(storage)
    manifests = {snapshot.manifest_key for snapshot in published}
    needed = {part.key for snapshot in published for part in read_manifest(storage, snapshot).parts}
    unfinished = set(storage.unfinished())
    now = time.time()
    found = []
    for key, (n_bytes, written) in objects.items():
        size_and_age = (key, n_bytes, max(now - written, 0.0))
        if not is_our_name(key):
            if _is_in_dataset(key):
                found.append(Stray(*size_and_age, FOREIGN, is_visible=True, is_kept=True))
        elif key in unfinished:
            is_visible = _is_in_dataset(key)
            why = "a temporary file of a process that was killed" + (
                ", which readers of the folder would see" if is_visible else ""
            )
            found.append(Stray(*size_and_age, why, is_visible))
        elif key.startswith(f"{MANIFESTS}/") and key not in manifests:
            found.append(Stray(*size_and_age, "a manifest that no snapshot names"))
        elif (
            key.startswith(f"{LEDGER}/failed/")
            and key.replace("/failed/", "/ledger/", 1) in objects
        ):
            found.append(Stray(*size_and_age, "the failure of a task that is done"))
        elif key.startswith(f"{LEDGER}/ledger/") and (
            gone := _gone(storage, identity, objects, key) - needed
        ):
            why = (
                f"the report of a task of which {min(gone)} is gone: without it the task is done"
                " again"
            )
            found.append(Stray(*size_and_age, why))
        elif published and _is_in_dataset(key) and key not in needed:
            found.append(_part(storage, *size_and_age))
    return tuple(found)


def _gone(storage: Storage, identity: RunIdentity, objects: Collection[str], key: str) -> set[str]:
    """Parts that the report of a finished task names and that are not there; reports are read only
    where parts lack.
    """
    if not (found := TASK.search(key)):
        return set()
    pixel = Pixel(int(found[1]), int(found[2]))
    if all(part_key(product, pixel) in objects for product in identity.products):
        return set()
    return _finished_parts(storage, pixel.key) - set(objects)


def _is_in_dataset(key: str) -> bool:
    product, _, rest = key.partition("/")
    return product in PRODUCTS and rest.startswith("dataset/") and not rest.endswith(METADATA)


def _part(storage: Storage, key: str, n_bytes: int, age_s: float) -> Stray:
    """What an object among the parts is that no manifest names."""
    if (pixel := PIXEL.search(key)) and key in _finished_parts(storage, "/".join(pixel.groups())):
        why = (
            "a part of a finished task that is not published yet: run 'xpscale infer' again to"
            " publish it"
        )
        return Stray(key, n_bytes, age_s, why, is_visible=True, is_kept=True)
    why = "in no manifest: a stray object, which readers of the folder would see"
    return Stray(key, n_bytes, age_s, why, is_visible=True)


def _finished_parts(storage: Storage, task: str) -> set[str]:
    """Keys of the parts of a task, if it is done; asked for anew, because it may have been finished
    a moment ago.
    """
    try:
        report = TaskReport.of(task, storage.read(f"{LEDGER}/ledger/{task}.json"))
    except NotFoundError:
        return set()
    return {part.key for part in report.parts} if report else set()


def clean(
    storage: Storage, *, older_than_s: float = MINIMUM_AGE_S, dry_run: bool = True
) -> CleanReport:
    """Remove strays.

    Parameters
    ----------
    storage
        The catalogue.
    older_than_s
        Leave what is younger, in seconds.
    dry_run
        Only say what would be removed.

    Raises
    ------
    NotFoundError
        There is no catalogue.
    """
    strays = [stray for stray in find_strays(storage) if not stray.is_kept]
    old = tuple(stray for stray in strays if stray.age_s >= older_than_s)
    young = tuple(stray for stray in strays if stray.age_s < older_than_s)
    if not dry_run:
        storage.delete(*(stray.key for stray in old))
    return CleanReport(str(storage), old, young, dry_run)
