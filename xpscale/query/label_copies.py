"""Labels of a catalogue in a copy of it, part by part, of the sources that the copy has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xpscale.catalog.derived_tables import TableFile, table_task
from xpscale.catalog.layout import LABELS, part_key
from xpscale.catalog.published_labels import OPTIONS, put_labels
from xpscale.catalog.votable import columns_schema
from xpscale.query.part_copies import read_verified
from xpscale.runtime.attempt import require_done
from xpscale.runtime.executors.threads import ThreadsExecutor
from xpscale.runtime.run import run_stage
from xpscale.schema import IDENTITY_COLUMNS, Column

if TYPE_CHECKING:
    from xpscale.catalog.manifest import Manifest
    from xpscale.query.download_plan import DownloadPlan
    from xpscale.release import Release
    from xpscale.runtime.events import Callback
    from xpscale.storage import Storage
    from xpscale.types import Part, TaskReport

__all__ = ["copy_labels"]


@dataclass(frozen=True)
class CopyLabels:
    """Copies the labels of a part: the function of a stage, idempotent.

    Parameters
    ----------
    source, place
        The catalogue, and its copy.
    made_of
        sha256 of the copy's manifest and of the labels.
    columns
        What is kept in addition to the identity columns.
    is_share
        Whether the copy has only some of the part's sources.
    release
        The data release of the sources.
    read
        Sizes of what was read.
    """

    source: Storage
    place: Storage
    made_of: str
    columns: tuple[str, ...]
    is_share: bool
    release: Release
    read: list[int] = field(default_factory=list)

    def __call__(self, part: Part) -> TaskReport:
        """Copy the labels of a part."""
        return table_task(self.place, part.key, self.made_of, lambda: self._rows(part), **OPTIONS)

    def _rows(self, part: Part) -> pa.Table:
        data = read_verified(self.source, part)
        self.read.append(len(data))
        rows = pq.read_table(pa.BufferReader(data), columns=[*IDENTITY_COLUMNS, *self.columns])
        if self.is_share:
            with self.place.open(part_key("latents", part.pixel)) as latents:
                kept = pq.read_table(latents, columns=["source_id"])["source_id"]
            rows = rows.filter(pc.is_in(rows["source_id"], kept))
        columns = tuple(map(Column.of_field, rows.schema))
        return rows.cast(columns_schema(LABELS, columns, self.release))


def copy_labels(
    plan: DownloadPlan, manifest: Manifest, callbacks: Sequence[Callback], *, with_hats: bool
) -> int:
    """Copy the labels that are planned, unless they are there, and return how many bytes were read.

    Parameters
    ----------
    plan
        From `xpscale.query.download_plan.plan_download`.
    manifest
        The version of the copy, which is published.
    callbacks
        Listeners for progress.
    with_hats
        As of `xpscale.catalog.commit.commit`.

    Raises
    ------
    IncompleteError
        Some could not be copied; the copy has no labels then.
    """
    source, place, labels = plan.selection.catalog, plan.destination, plan.labels
    if labels is None:
        return 0
    chosen = [n for n in plan.identity.kept_columns if n in source.label_columns]
    copy = CopyLabels(
        source.storage,
        place,
        f"{manifest.digest} {labels.source}",
        tuple(chosen or source.label_columns),
        plan.is_share,
        source.release,
    )
    pixels = {part.pixel for part in manifest.of("latents")}
    parts = [part for part in plan.label_parts if part.pixel in pixels]

    def write() -> tuple[TableFile, ...]:
        executor = ThreadsExecutor(plan.n_connections)
        reports = run_stage(
            "labels", copy, parts, executor, callbacks=callbacks, rows=lambda part: part.n_rows
        )
        require_done("labels", reports.values(), "the same command again")
        found = (report.details for report in reports.values())
        return tuple(TableFile(**details["file"]) for details in found if details)

    put_labels(place, manifest, labels.source, write, with_hats=with_hats)
    return sum(copy.read)
