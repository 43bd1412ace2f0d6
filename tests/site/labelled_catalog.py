"""The catalogue of these tests with labels: random ones, written as published labels are."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from tests.catalog.random_catalog import fill
from xpscale.catalog.commit import build_manifest, commit
from xpscale.catalog.derived_tables import TableFile, table_task
from xpscale.catalog.layout import LABELS, part_key
from xpscale.catalog.published_labels import OPTIONS, put_labels
from xpscale.catalog.votable import columns_schema
from xpscale.labels.workflow import label_columns_of
from xpscale.query.catalog import open_catalog
from xpscale.schema import IDENTITY_COLUMNS, Column

MODEL = SimpleNamespace(
    labels={n: SimpleNamespace(unit=u) for n, u in (("teff", "K"), ("logg", ""))}
)


def labelled_catalog(storage):
    """A new catalogue with random labels."""
    commit(storage, build_manifest(storage, fill(storage)))
    put_random_labels(storage, 1)
    return open_catalog(storage)


def put_random_labels(storage, seed):
    """Publish random labels, others for each seed."""
    catalog = open_catalog(storage)
    manifest, source = catalog.manifest, f"labels-{seed}"

    def write():
        return tuple(
            _write(storage, part, manifest, source, seed) for part in manifest.of("latents")
        )

    put_labels(storage, manifest, source, write)


def _write(storage, part, manifest, source, seed):
    made_of = f"{manifest.digest} {source}"

    def rows():
        return random_labels(storage, part, seed)

    report = table_task(storage, part_key(LABELS, part.pixel), made_of, rows, **OPTIONS)
    return TableFile(**report.details["file"])


def random_labels(storage, part, seed):
    """Labels of the sources of a part; their number differs in nothing from that of the part."""
    import pyarrow.parquet as pq

    with storage.open(part.key) as handle:
        table = pq.read_table(handle, columns=list(IDENTITY_COLUMNS))
    release = open_catalog(storage).release
    columns = label_columns_of(MODEL)
    own = tuple(map(Column.of_field, table.schema))
    schema = columns_schema(LABELS, (*own, *columns), release)
    rng = np.random.default_rng([seed, part.pixel.number])
    for column in columns:
        n = len(table)
        values = rng.integers(0, 4, n) if "flags" in column.name else rng.normal(5000, 500, n)
        table = table.append_column(column.name, pa.array(values))
    return table.cast(schema, safe=False)
