"""The index of identifiers has every source once, in the order of identifiers, movers as well."""

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from placed_catalog import PARTITIONS, latents_at, publish

from xpscale.catalog import source_ids
from xpscale.catalog.derived_tables import DerivedTable, read_table, written_files
from xpscale.catalog.layout import INDEX
from xpscale.catalog.source_ids import index_file, index_ranges
from xpscale.catalog.survey import survey_part
from xpscale.errors import PermanentError
from xpscale.sky import healpix_29
from xpscale.storage import Storage


def sources(n: int, share_of_movers: float) -> pa.Table:
    """Sources all over the sky; of the movers the identifiers carry another place."""
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 360, (2, n)), np.degrees(np.arcsin(rng.uniform(-1, 1, (2, n))))
    is_mover = rng.random(n) < share_of_movers
    carried = healpix_29(np.where(is_mover, ra[1], ra[0]), np.where(is_mover, dec[1], dec[0]))
    return latents_at(ra[0], dec[0], (carried >> 34 << 35) + np.arange(n))


@pytest.mark.parametrize("share_of_movers", [0.0, 0.01, 1.0])
def test_every_source_is_found_in_its_partition(storage: Storage, monkeypatch, share_of_movers):
    monkeypatch.setattr(source_ids, "ROWS_PER_FILE", 900)
    manifest = publish(storage, sources(6000, share_of_movers))
    parts = manifest.of("latents")
    surveys = [survey_part(storage, part).details["survey"] for part in parts]
    assert sum(len(survey.movers) for survey in surveys) >= share_of_movers * 4000
    ranges = index_ranges(parts, {survey.pixel: survey.movers for survey in surveys})
    assert len(ranges) > 3
    release = manifest.identity.gaia_release
    function = partial(index_file, storage, manifest.digest, release, manifest.n_out)
    reports = [function(task) for task in ranges[::-1]]
    assert reports == [function(task) for task in ranges[::-1]]  # as one that was killed resumes
    files = written_files(reports)
    table = DerivedTable(INDEX, manifest.digest, files)
    table.write(storage)
    assert read_table(storage, INDEX, manifest.digest) == table
    assert table.n_rows == manifest.n_out
    found = pa.concat_tables(pq.read_table(f"{storage}/{file.key}") for file in table.files)
    assert np.all(np.diff(found["source_id"].to_numpy()) > 0)
    for part in manifest.of("latents"):
        own = pq.read_table(f"{storage}/{part.key}")["source_id"].to_numpy()
        order, number = found["Norder"].to_numpy(), found["Npix"].to_numpy()
        here = (order == part.pixel.order) & (number == part.pixel.number)
        assert np.array_equal(np.sort(own), found["source_id"].to_numpy()[here])


def test_a_record_that_is_missing_or_damaged(storage: Storage):
    manifest = publish(storage, sources(500, 0.1), PARTITIONS[:6])
    assert read_table(storage, INDEX, manifest.digest) is None
    storage.replace(f"_xpscale/tables/{INDEX}/{manifest.digest}.json", b'{"files": [{"key": 1}]}')
    with pytest.raises(PermanentError, match="run 'xpscale catalog complete'"):
        read_table(storage, INDEX, manifest.digest)
