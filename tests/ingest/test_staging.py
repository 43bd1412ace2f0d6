"""Staged rows: whatever pixels an ingest chooses, each takes its own rows of every file, and all
are taken once.
"""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpscale.bands import Bands
from xpscale.ingest.partition import partition_tasks
from xpscale.ingest.staged import StagedFile, staged_files, write_rows
from xpscale.sky import Pixel, healpix_29
from xpscale.spectra import SpectraBatch
from xpscale.storage import Storage
from xpscale.store.partitions import COUNT_ORDER, adaptive_partitions
from xpscale.store.writer import sort_by_position, write_partition


def batch(positions, first_id):
    n = len(positions)
    ra, dec = np.array(positions).T
    values = np.arange(4.0 * n).astype(np.float32).reshape(n, 4) + first_id
    return SpectraBatch(
        np.arange(first_id, first_id + n), ra, dec, np.ones(n), values, values + 0.5, Bands(2, 2)
    )


# a few degrees crowded, and the whole sky
POSITIONS = st.one_of(
    st.tuples(st.floats(44, 47), st.floats(-1, 1)), st.tuples(st.floats(0, 360), st.floats(-90, 90))
)
FILES = st.lists(st.lists(POSITIONS, min_size=1, max_size=25), min_size=1, max_size=3)


@given(files=FILES, max_rows=st.integers(1, 30))
def test_partitions_take_every_staged_row_once(files, max_rows, tmp_path_factory):
    store = Storage(str(tmp_path_factory.mktemp("staging")))
    batches = [batch(positions, 1000 * (i + 1)) for i, positions in enumerate(files)]
    for i, rows in enumerate(batches):
        write_rows(store, f"{i}", rows)
    staged = staged_files(store, [f"{i}" for i in range(len(batches))])
    counts = np.zeros(12 * 4**COUNT_ORDER, np.int64)
    for file in staged:
        assert file.counts.sum() == len(batches[int(file.name)])
        counts[file.pixels] += file.counts
    taken = []
    for partition in adaptive_partitions(counts, max_rows):
        low, high = partition.pixel.index_range
        found = [
            run.read(store, Bands(2, 2))
            for run in (file.rows_in(partition.pixel, np.empty(0, np.int64)) for file in staged)
        ]
        assert sum(map(len, found)) == partition.n_rows
        for rows in found:
            index = healpix_29(rows.ra, rows.dec)
            assert np.all((index >= low) & (index < high))
            assert np.all(np.diff(index) >= 0)
        taken += found
    rows, truth = SpectraBatch.concatenate(taken), SpectraBatch.concatenate(batches)
    order = np.argsort(rows.source_id)
    for name in ("source_id", "ra", "dec", "coefficients", "coefficient_errors"):
        assert np.array_equal(getattr(rows, name)[order], getattr(truth, name))


@pytest.mark.parametrize("n_files", [20, 40])
def test_a_file_is_looked_for_in_the_partitions_it_has_rows_in(n_files, tmp_path, monkeypatch):
    store, asked = Storage(str(tmp_path)), []
    rows_in = StagedFile.rows_in
    monkeypatch.setattr(
        StagedFile, "rows_in", lambda *arguments: asked.append(arguments) or rows_in(*arguments)
    )
    for i in range(n_files):
        near = [(5 + 8 * i + 0.1 * k, 0.0) for k in range(8)]
        write_rows(store, f"{i:02d}", batch(near, 1000 * (i + 1)))
    tasks = partition_tasks(
        store, staged_files(store, [f"{i:02d}" for i in range(n_files)]), 5, False
    )
    assert sum(task.n_rows for task in tasks) == 8 * n_files
    assert len(asked) == sum(len(task.runs) for task in tasks) < 8 * n_files


def test_a_chunk_is_not_padded_beyond_the_rows_of_its_partition(tmp_path):
    rows = sort_by_position(batch([(45.0 + k / 100, 0.5) for k in range(30)], 1))
    pixel = Pixel(0, int(healpix_29(rows.ra, rows.dec)[0] >> 58))
    write_partition(Storage(str(tmp_path)), pixel, rows, "here")
    described = json.loads((tmp_path / pixel.key / "coefficients" / "zarr.json").read_text())
    assert described["codecs"][0]["configuration"]["chunk_shape"] == [30, 4]
