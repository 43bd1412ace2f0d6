"""What a published catalogue needs to be a whole HATS collection: statistics, margin and index.

They are made from the parts, so anybody who may write to the catalogue can make them, at any time
after the commit.  It is safe to call again: files that are there are not made twice, and a version
of which all are there is only looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from xpscale.catalog.commit import commit
from xpscale.catalog.derived_tables import (
    DerivedTable,
    are_whole,
    read_table,
    read_tables,
    remove_other_files,
    table_task,
    written_files,
)
from xpscale.catalog.layout import (
    INDEX,
    LABELS,
    MARGIN,
    STATISTICS,
    STATISTICS_FILE,
    TABLES,
    kind_of,
)
from xpscale.catalog.margin import margin_of_pixel, margin_tasks
from xpscale.catalog.snapshots import current, read_manifest
from xpscale.catalog.source_ids import index_file, index_ranges
from xpscale.catalog.survey import PartSurvey, statistics, survey_part
from xpscale.catalog.votable import stored_schema
from xpscale.formatting import format_bytes
from xpscale.runtime.attempt import require_done
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.runtime.run import run_stage
from xpscale.storage import Storage
from xpscale.types import Executor, Task, TaskReport

if TYPE_CHECKING:
    from xpscale.catalog.manifest import Manifest
    from xpscale.runtime.events import Callback

__all__ = ["Completion", "complete", "is_complete"]


@dataclass(frozen=True, slots=True)
class Completion:
    """What a call of `complete` found or made.

    Parameters
    ----------
    snapshot
        Number of the version.
    tables
        Its derived tables.
    was_complete
        Whether they were there before.
    """

    snapshot: int
    tables: tuple[DerivedTable, ...]
    was_complete: bool

    def __str__(self) -> str:
        sizes = ", ".join(
            f"{table.name} {table.n_rows:,} rows in {len(table.files):,} files"
            f" ({format_bytes(table.n_bytes)})"
            for table in self.tables
        )
        what = "nothing to do: " if self.was_complete else "completed "
        return f"{what}snapshot {self.snapshot}: {sizes}"


def complete(
    catalog: str | Storage,
    *,
    executor: Executor | None = None,
    callbacks: Iterable[Callback] = (),
) -> Completion:
    """Make the statistics, the margin and the index of the current version, and name them in the
    collection.

    Parameters
    ----------
    catalog
        The derived catalogue: a folder or ``s3://``.
    executor
        Where tasks run; in this process if not given.
    callbacks
        Listeners for progress.

    Returns
    -------
    Completion
        ``str()`` of it says what was done.

    Raises
    ------
    NotFoundError
        Nothing is published.
    IncompleteError
        Tasks failed; what is done is kept.
    ConflictError
        A file is there that xpscale did not write.
    """
    storage = catalog if isinstance(catalog, Storage) else Storage(catalog)
    snapshot = current(storage)
    manifest = read_manifest(storage, snapshot)
    if not (was_complete := is_complete(storage, manifest)):
        _make(storage, manifest, _Stages(executor or SerialExecutor(), tuple(callbacks)))
    commit(storage, manifest)  # the current version: this only writes its HATS files anew
    tables = read_tables(storage, manifest.digest) or {}
    return Completion(snapshot.number, tuple(tables.values()), was_complete)


def is_complete(storage: Storage, manifest: Manifest) -> bool:
    """Whether all files of all tables of a version are there, by their size.

    Parameters
    ----------
    storage, manifest
        The catalogue and the version.
    """
    tables = read_tables(storage, manifest.digest)
    return tables is not None and are_whole(storage, tables)


@dataclass(frozen=True, slots=True)
class _Stages:
    executor: Executor
    callbacks: Sequence[Callback]

    def run(
        self,
        stage: str,
        function: Callable[[Any], TaskReport],
        tasks: Sequence[Task],
        rows: Callable[[Any], int],
        receive: Callable[[TaskReport], TaskReport] = lambda report: report,
    ) -> list[TaskReport]:
        """The reports of a stage of which all tasks are done."""
        reports = run_stage(
            stage,
            function,
            tasks,
            self.executor,
            callbacks=self.callbacks,
            rows=rows,
            receive=receive,
        )
        require_done(stage, reports.values(), "'xpscale catalog complete'")
        return list(reports.values())


def _make(storage: Storage, manifest: Manifest, stages: _Stages) -> None:
    digest, parts = manifest.digest, manifest.of("latents")
    schema = stored_schema(storage, manifest, "latents")
    surveys: list[PartSurvey] = []

    def receive(report: TaskReport) -> TaskReport:
        if "survey" in report.details:
            surveys.append(report.details["survey"])
        return replace(report, details={**report.details, "survey": None})

    stages.run("survey", partial(survey_part, storage), parts, lambda part: part.n_rows, receive)
    found = statistics(surveys, schema)
    n_rows = {part.pixel: part.n_rows for part in parts}
    reports = {
        STATISTICS: [table_task(storage, STATISTICS_FILE, digest, lambda: found)],
        MARGIN: stages.run(
            "margin",
            partial(margin_of_pixel, storage, digest, schema),
            margin_tasks(manifest),
            lambda task: n_rows.get(task.pixel, 0),
        ),
        INDEX: stages.run(
            "index",
            partial(index_file, storage, digest, manifest.identity.gaia_release, manifest.n_out),
            index_ranges(parts, {survey.pixel: survey.movers for survey in surveys}),
            lambda task: task.n_rows,
        ),
    }
    tables = [DerivedTable(name, digest, written_files(done)) for name, done in reports.items()]
    for table in tables:
        table.write(storage)
    _remove_others(storage, digest, {file.key for table in tables for file in table.files})


def _remove_others(storage: Storage, manifest: str, needed: set[str]) -> None:
    """Remove the files of tables of an earlier version: readers of a folder would see them."""
    for folder in (MARGIN, INDEX):
        remove_other_files(storage, folder, needed)
    if read_table(storage, LABELS, manifest) is None:
        listed = [*storage.list(f"{TABLES}/{LABELS}"), *storage.list(LABELS)]
        storage.delete(*filter(kind_of, [*listed, f"{LABELS}.properties"]))
