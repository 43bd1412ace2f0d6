"""Small spectra stores, written without an archive."""

import numpy as np
import pytest

from xpscale.release import DR3
from xpscale.sky import healpix_29
from xpscale.storage import Storage
from xpscale.store.partitions import COUNT_ORDER, adaptive_partitions
from xpscale.store.reader import open_store
from xpscale.store.writer import seal_store, sort_by_position, write_partition
from xpscale.testing.universe import Universe


def make_store(url, batch, max_rows=60, change=lambda partitions: None):
    """A sealed store of a batch; `change` may spoil the sorted rows by pixel before they are
    written.
    """
    storage = Storage(str(url))
    rows = sort_by_position(batch)
    numbers = healpix_29(rows.ra, rows.dec) >> 2 * (29 - COUNT_ORDER)
    counts = np.bincount(numbers, minlength=12 * 4**COUNT_ORDER)
    partitions = {}
    for partition in adaptive_partitions(counts, max_rows):
        low, high = partition.pixel.range_at(COUNT_ORDER)
        partitions[partition.pixel] = rows.take((numbers >= low) & (numbers < high))
    change(partitions)
    parts = [
        part
        for pixel, part_rows in partitions.items()
        for part in write_partition(storage, pixel, part_rows, DR3)
    ]
    n = sum(map(len, partitions.values()))
    file = {
        "name": "f",
        "n_read": n + 2,
        "n_written": n,
        "n_rejected": {"missing_bp": 2},
        "n_movers": 0,
    }
    report = {**{k: v for k, v in file.items() if k != "name"}, "files": [file]}
    seal_store(storage, parts, report, {"origin": "test"}, bands=batch.bands, release=DR3)
    return open_store(storage)


@pytest.fixture(scope="session")
def universe_rows():
    """500 sources sorted by position; three carry the pixel of the other side of the sky in their
    identifiers.
    """
    batch = Universe(500, seed=9).spectra()
    far = np.array([10, 200, 400])
    base = batch.source_id[far] >> 59
    batch.source_id[far] += ((base + 6) % 12 - base) << 59
    return sort_by_position(batch)


@pytest.fixture
def store(tmp_path, universe_rows):
    return make_store(tmp_path / "store", universe_rows)


@pytest.fixture
def build():
    return make_store
