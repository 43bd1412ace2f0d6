"""Labels of every star of a catalogue, published in it: a table by partition that HATS readers find
as an extension, and SQL as ``labels``.

They are made of one version and one model of labels, part by part, by tasks that may be repeated.
The record that names the files is written last; before other labels are written over them, the
record goes, and the collection stops naming them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.catalog.derived_tables import DerivedTable, TableFile, table_task, written_files
from xpscale.catalog.layout import LABELS, part_key
from xpscale.catalog.published_labels import LABEL_ROWS, OPTIONS, put_labels
from xpscale.catalog.votable import columns_schema
from xpscale.errors import InvalidInputError
from xpscale.labels.label_file import content_hash
from xpscale.labels.label_model import LabelModel
from xpscale.labels.star_latents import StarLatents
from xpscale.labels.workflow import label_columns_of, posterior_of, require_same_model
from xpscale.query.catalog import open_catalog
from xpscale.release import Release
from xpscale.runtime.attempt import require_done
from xpscale.runtime.events import Callback
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.runtime.run import run_stage
from xpscale.schema import IDENTITY_COLUMNS, Column
from xpscale.storage import Storage
from xpscale.types import Executor, Part, TaskReport

__all__ = ["PublishedLabels", "labels_of_part", "publish_labels"]


@dataclass(frozen=True, slots=True)
class PublishedLabels:
    """What a call of `publish_labels` found or made.

    Parameters
    ----------
    labels
        Their names.
    table
        Their files.
    was_there
        Whether they were published before.
    """

    labels: tuple[str, ...]
    table: DerivedTable
    was_there: bool

    def __str__(self) -> str:
        what = "nothing to do: " if self.was_there else "published "
        return f"{what}{', '.join(self.labels)} of {self.table.n_rows:,} sources"


def labels_of_part(
    storage: Storage,
    made_of: str,
    model: LabelModel,
    posterior: Sequence[str],
    release: Release,
    task: Part,
) -> TaskReport:
    """Write the labels of a part's rows; idempotent.

    Parameters
    ----------
    storage
        The catalogue.
    made_of
        sha256 of the version's manifest and of the labels.
    model
        The labels.
    posterior
        The columns of the latents' posterior.
    release
        The data release of the sources.
    task
        A part of the latents, with the key of the file of its labels.
    """

    def make() -> pa.Table:
        latents = part_key("latents", task.pixel)
        with storage.open(latents) as data, pq.ParquetFile(data) as file:
            identity = [Column.of_field(file.schema_arrow.field(name)) for name in IDENTITY_COLUMNS]
            columns = (*identity, *label_columns_of(model))
            schema = columns_schema(LABELS, columns, release)
            pieces = [  # the kernel has a row of 400 numbers for each
                _labels_of(pa.Table.from_batches([batch]), model, schema)
                for batch in file.iter_batches(LABEL_ROWS, columns=[*IDENTITY_COLUMNS, *posterior])
            ]
        return pa.concat_tables([schema.empty_table(), *pieces])

    return table_task(storage, task.key, made_of, make, **OPTIONS)


def _labels_of(rows: pa.Table, model: LabelModel, schema: pa.Schema) -> pa.Table:
    columns = [rows[name] for name in IDENTITY_COLUMNS]
    for found in model.predict(StarLatents.of(rows)).values():
        columns += map(pa.array, found)
    named = zip(schema, columns, strict=True)
    return pa.table([column.cast(field.type) for field, column in named], schema)


def publish_labels(
    catalog: str | Storage,
    model: LabelModel,
    *,
    executor: Executor | None = None,
    callbacks: Iterable[Callback] = (),
) -> PublishedLabels:
    """Write the labels of every star of the current version into its catalogue, as a HATS
    extension; others that were there are replaced.  It is safe to call again.

    Parameters
    ----------
    catalog
        The derived catalogue: a folder or ``s3://``.
    model
        From `xpscale.fit_labels`, of this catalogue or another that the same model of spectra made.
    executor
        Where tasks run; in this process if not given.
    callbacks
        Listeners for progress.

    Raises
    ------
    NotFoundError
        Nothing is published.
    InvalidInputError
        The catalogue's latents are those of another model, or lack correlations; or a label's name
        has blanks.
    IncompleteError
        Tasks failed; what is done is kept.
    ConflictError
        A file is there that xpscale did not write.
    """
    version = open_catalog(catalog)
    rows, storage, manifest = version.select(), version.storage, version.manifest
    require_same_model(rows, model)
    _require_names(model)
    source = content_hash(model)
    made_of, release = f"{manifest.digest} {source}", manifest.identity.gaia_release
    function = partial(labels_of_part, storage, made_of, model, posterior_of(rows), release)
    tasks = [replace(part, key=part_key(LABELS, part.pixel)) for part in manifest.of("latents")]

    def write() -> tuple[TableFile, ...]:
        reports = run_stage(
            LABELS,
            function,
            tasks,
            executor or SerialExecutor(),
            callbacks=callbacks,
            rows=lambda task: task.n_rows,
        )
        require_done(LABELS, reports.values(), "the same command again")
        return written_files(reports.values())

    return PublishedLabels(tuple(model.labels), *put_labels(storage, manifest, source, write))


def _require_names(model: LabelModel) -> None:
    for name in model.labels:
        if not name.replace("_", "a").isalnum():
            raise InvalidInputError(
                f"a column of a catalogue cannot be called {name!r}",
                "Fit it again under a name of letters, digits and _, such as teff",
            )
