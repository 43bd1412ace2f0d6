"""The pass over a store: what it reads, and what it does when reading fails."""

import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.memory_reader import MemoryReader, planted
from xpscale.errors import IncompleteError, TryAgainError
from xpscale.runtime import attempt
from xpscale.runtime.events import RunEnded, RunStarted, TaskEnded
from xpscale.runtime.executors.dask import DaskExecutor, local_cluster
from xpscale.sampling.cells import ColourMagnitudeCells, SkyCells
from xpscale.sampling.draw import draw_sample
from xpscale.sampling.sketch_pass import TASKS_PER_WORKER
from xpscale.store.reader import open_store

SPECTRA = ("coefficients", "coefficient_errors")
N = 1_000


class Flaky(MemoryReader):
    """Spectra whose first reads fail for a moment."""

    def __init__(self, batch, n_faults):
        super().__init__(batch)
        self.n_faults = n_faults

    def read(self, partition, *, errors=True):
        self.n_faults -= 1
        if self.n_faults >= 0:
            raise TryAgainError(f"{partition.key}: slow down")
        return super().read(partition, errors=errors)


class Deadly(MemoryReader):
    """Spectra of which the first read ends the process that reads."""

    def __init__(self, batch, mark):
        super().__init__(batch)
        self.mark = mark

    def read(self, partition, *, errors=True):
        if not self.mark.exists():
            self.mark.touch()
            os._exit(1)
        return super().read(partition, errors=errors)


@pytest.fixture(scope="module")
def client():
    with local_cluster(2) as client:
        yield client


@pytest.fixture
def copy(universe_store, tmp_path):
    """A copy of the store that a test may damage."""
    shutil.copytree(universe_store.url, tmp_path / "store")
    return open_store(str(tmp_path / "store"))


def remove(store, *arrays):
    for partition in store.partitions:
        for name in arrays:
            shutil.rmtree(Path(store.url, partition.key, name))


def drawn_with_events(reader, **options):
    events = []
    sample = draw_sample(reader, 300, "density", callbacks=[events.append], **options)
    return sample, events


def test_a_draw_is_the_same_on_a_cluster_with_one_read_of_every_partition(universe_store, client):
    options = {"seed": 5, "oversampling": 2}
    here = draw_sample(universe_store, N, "density", **options)
    events = []
    there = draw_sample(
        universe_store,
        N,
        "density",
        executor=DaskExecutor(client),
        callbacks=[events.append],
        **options,
    )
    assert there.digest == here.digest
    assert np.array_equal(there.weight, here.weight)
    n_read = sum(event.report.n_in for event in events if hasattr(event, "report"))
    assert n_read == universe_store.n_rows


@pytest.mark.parametrize(
    ("cells", "unread"),
    [(SkyCells(2), ("phot_g_mean_flux", *SPECTRA)), (ColourMagnitudeCells(), SPECTRA[1:])],
)
def test_a_pass_reads_only_what_its_cells_need(universe_store, copy, cells, unread):
    expected = draw_sample(universe_store, N, "density", cells=cells)
    remove(copy, *unread)
    assert draw_sample(copy, N, "density", cells=cells).digest == expected.digest
    remove(copy, "dec")
    with pytest.raises(IncompleteError, match="dec"):
        draw_sample(copy, N, "density", cells=cells)


def test_where_nobody_has_checked_the_rows_unusable_ones_are_left_out():
    spectra = planted(3000)
    spectra.coefficient_errors[:1000, 3] = 0
    spectra.phot_g_mean_flux[1000:1500] = np.nan
    for cells in (SkyCells(2), ColourMagnitudeCells()):
        sample, events = drawn_with_events(MemoryReader(spectra), cells=cells)
        assert np.isin(sample.source_id, spectra.source_id[1500:]).all()
        reports = [event.report for event in events if isinstance(event, TaskEnded)]
        rejected = Counter()
        for report in reports:
            assert report.n_in == report.n_out + sum(report.n_rejected.values())
            rejected.update(report.n_rejected)
        assert rejected["unusable"] == 1500
        assert rejected["held_out"] > 0
    none = replace(spectra, coefficient_errors=None)
    with pytest.raises(ValueError, match="of 0"):
        draw_sample(MemoryReader(none), 300, "density")


def test_a_passing_fault_is_tried_again_and_leaves_no_trace(monkeypatch):
    monkeypatch.setattr(attempt, "RETRY_DELAYS_S", (0, 0, 0))
    spectra = planted(3000)
    expected, _ = drawn_with_events(MemoryReader(spectra))
    reader = Flaky(spectra, n_faults=3)
    found, events = drawn_with_events(reader)
    assert found.digest == expected.digest
    assert reader.n_faults < 0
    assert events[0] == RunStarted("sample", TASKS_PER_WORKER, 3000)
    assert isinstance(events[-1], RunEnded)
    assert (events[-1].n_failed, events[-1].n_left) == (0, 0)
    assert not any(event.report.details for event in events if isinstance(event, TaskEnded))
    with pytest.raises(TryAgainError, match="slow down"):
        draw_sample(Flaky(spectra, n_faults=99), 300)


def test_a_worker_that_dies_leaves_no_trace(client, tmp_path):
    spectra = planted(3000)
    expected, _ = drawn_with_events(MemoryReader(spectra))
    reader = Deadly(spectra, tmp_path / "mark")
    found, _ = drawn_with_events(reader, executor=DaskExecutor(client))
    assert reader.mark.exists()
    assert found.digest == expected.digest


def test_a_damaged_partition_is_named_when_the_others_are_read(copy):
    folder = Path(copy.url, copy.partitions[3].key, "coefficients", "c/0")
    (whole,) = folder.iterdir()
    whole.write_bytes(whole.read_bytes()[:1000])
    events = []
    with pytest.raises(IncompleteError, match=copy.partitions[3].key):
        draw_sample(copy, N, callbacks=[events.append])
    n_ended = sum(isinstance(event, TaskEnded) for event in events)
    assert n_ended == events[0].n_tasks > 1
    assert (events[-1].n_failed, events[-1].n_left) == (1, 0)
