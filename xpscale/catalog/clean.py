"""Objects that nobody needs: what they are, why they lie there, and their removal.

`xpscale/design/005-failure-modes.md` says what leaves them behind.  What any snapshot names, and
what the reports of finished tasks name, is needed; before the first snapshot so is every part,
because the run may be resumed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import PurePosixPath

from xpscale.catalog.derived_tables import all_tables
from xpscale.catalog.identity import read_identity
from xpscale.catalog.layout import (
    INDEX,
    LABELS,
    LEDGER,
    MANIFESTS,
    MARGIN,
    PRODUCTS,
    kind_of,
    part_key,
)
from xpscale.catalog.snapshots import read_manifest, snapshots
from xpscale.errors import NotFoundError
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.types import TaskReport

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
    judge = _Judge(storage)
    now = time.time()
    found = []
    for key, (n_bytes, written) in judge.objects.items():
        if judgement := judge(key):
            found.append(Stray(key, n_bytes, max(now - written, 0.0), *judgement))
    return tuple(found)


Judgement = tuple[str, bool, bool] | None
"""Of a stray: why it is one, whether it is visible, whether it is kept; ``None`` of no stray."""


class _Judge:
    """Says of each object of a catalogue whether it is a stray, and which."""

    def __init__(self, storage: Storage) -> None:
        self._storage, self._identity = storage, read_identity(storage)
        self.objects = storage.objects()
        # after the listing: what was published since is newer than everything listed
        published = snapshots(storage)
        self._is_published = bool(published)
        self._manifests = {PurePosixPath(each.manifest_key).stem for each in published}
        self._needed = {
            part.key for each in published for part in read_manifest(storage, each).parts
        }
        self._unfinished = set(storage.unfinished())
        self._current = PurePosixPath(published[-1].manifest_key).stem if published else ""

    def __call__(self, key: str) -> Judgement:
        kind, in_dataset = kind_of(key), _is_in_dataset(key)
        if not kind:
            return (FOREIGN, True, True) if in_dataset else None
        if key in self._unfinished:
            why = "a temporary file of a process that was killed"
            return why + ", which readers of the folder would see" * in_dataset, in_dataset, False
        rules: dict[str, Callable[[str], Judgement]] = {
            "part": self._part,
            "derived": self._derived,
            "record": self._of_a_manifest,
            "manifest": self._of_a_manifest,
            "announcement": self._announcement,
            "report": self._report,
            "failure": self._failure,
        }
        return rules[kind](key) if kind in rules else None

    def _part(self, key: str) -> Judgement:
        if not self._is_published or key in self._needed:
            return None
        pixel = PIXEL.search(key)
        if pixel and key in _finished_parts(self._storage, "/".join(pixel.groups())):
            why = "a part of a finished task that is not published yet: run 'xpscale infer' again"
            return f"{why} to publish it", True, True
        return "in no manifest: a stray object, which readers of the folder would see", True, False

    def _derived(self, key: str) -> Judgement:
        if key in self._derived_files:
            return None
        why = "of an earlier version, or of one that 'xpscale catalog complete' has not finished"
        return why, bool(self._derived_files), False

    @cached_property
    def _derived_files(self) -> set[str]:
        tables = all_tables(self._storage, self._current)
        return {file.key for table in tables.values() for file in table.files}

    def _of_a_manifest(self, key: str) -> Judgement:
        if PurePosixPath(key).stem in self._manifests:
            return None
        return (
            f"{'a manifest' if key.startswith(MANIFESTS) else 'of one'} that no snapshot names",
            False,
            False,
        )

    def _announcement(self, key: str) -> Judgement:
        """Older ones say which files are ours, as long as the newest commit has not ended."""
        if key == self._newest_announcement or not self._newest_announcement:
            return None
        return "the list of files of an earlier commit", False, False

    @cached_property
    def _newest_announcement(self) -> str:
        """Empty if a file is not as it announces."""
        from xpscale.catalog.hats import announcement, changed_files

        found = announcement(self._storage)
        return "" if found is None or changed_files(self._storage, found[1]) else found[0]

    def _failure(self, key: str) -> Judgement:
        if key.replace("/failed/", "/ledger/", 1) not in self.objects:
            return None
        return "the failure of a task that is done", False, False

    def _report(self, key: str) -> Judgement:
        if not (gone := self._gone(key) - self._needed):
            return None
        why = (
            f"the report of a task of which {min(gone)} is gone: without it the task is done again"
        )
        return why, False, False

    def _gone(self, key: str) -> set[str]:
        """Parts that the report of a finished task names and that are not there; reports are read
        only where parts lack.
        """
        if not (found := TASK.search(key)):
            return set()
        pixel = Pixel(int(found[1]), int(found[2]))
        if all(part_key(product, pixel) in self.objects for product in self._identity.products):
            return set()
        return _finished_parts(self._storage, pixel.key) - set(self.objects)


def _is_in_dataset(key: str) -> bool:
    """Whether readers of a table's folder take an object for a part of it."""
    table, _, rest = key.partition("/")
    is_read = table in (*PRODUCTS, MARGIN, INDEX, LABELS)
    return is_read and rest.startswith("dataset/") and not rest.endswith(METADATA)


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
