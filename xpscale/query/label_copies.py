"""Labels of a catalogue in a copy of it, part by part, of the sources that the copy has."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xpscale.catalog.derived_tables import TableFile, table_task, written_files
from xpscale.catalog.layout import LABELS, part_key
from xpscale.catalog.manifest import Manifest
from xpscale.catalog.published_labels import OPTIONS, put_labels
from xpscale.catalog.votable import columns_schema
from xpscale.query.download_plan import DownloadPlan
from xpscale.query.part_copies import read_verified
from xpscale.runtime.attempt import require_done
from xpscale.runtime.events import Callback
from xpscale.runtime.executors.threads import ThreadsExecutor
from xpscale.runtime.run import run_stage
from xpscale.schema import IDENTITY_COLUMNS, Column
from xpscale.types import Part, TaskReport

__all__ = ["copy_labels"]


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
    columns = [*IDENTITY_COLUMNS, *(chosen or source.label_columns)]
    made_of, n_read = f"{manifest.digest} {labels.source}", []
    pixels = {part.pixel for part in manifest.of("latents")}
    parts = [part for part in plan.label_parts if part.pixel in pixels]

    def rows(part: Part) -> pa.Table:
        data = read_verified(source.storage, part)
        n_read.append(len(data))
        found = pq.read_table(pa.BufferReader(data), columns=columns)
        if plan.is_share:
            with place.open(part_key("latents", part.pixel)) as latents:
                kept = pq.read_table(latents, columns=["source_id"])["source_id"]
            found = found.filter(pc.is_in(found["source_id"], kept))
        known = tuple(map(Column.of_field, found.schema))
        return found.cast(columns_schema(LABELS, known, source.release))

    def copy(part: Part) -> TaskReport:
        return table_task(place, part.key, made_of, lambda: rows(part), **OPTIONS)

    def write() -> tuple[TableFile, ...]:
        executor = ThreadsExecutor(plan.n_connections)
        reports = run_stage(
            "labels", copy, parts, executor, callbacks=callbacks, rows=lambda part: part.n_rows
        )
        require_done("labels", reports.values(), "the same command again")
        return written_files(reports.values())

    put_labels(place, manifest, labels.source, write, with_hats=with_hats)
    return sum(n_read)
