"""What one process does for a catalogue grows with the number of its partitions and no faster:
operations and bytes are counted at two sizes.  Two billion rows: `tests/benchmarks/billion.py`.
"""

import contextlib
import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from placed_catalog import latents_at, put_parts

from xpscale.catalog import hats_tables
from xpscale.catalog.cell_counts import CELL_ORDER, read_cell_counts
from xpscale.catalog.commit import build_manifest, commit
from xpscale.catalog.manifest import Manifest
from xpscale.catalog.margin import MarginOfPixel, margin_tasks
from xpscale.catalog.snapshots import current, read_manifest
from xpscale.catalog.votable import product_schema
from xpscale.inference.complete import complete, is_complete
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.storage.local import LocalBackend

pytestmark = pytest.mark.usefixtures("small_maps")

ORDERS = (1, 2)
EXTRA = 12 * (4**2 - 4**1)
"""Partitions that the larger catalogue has more."""


@contextlib.contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each operation of a storage is done, and the bytes that are read by key."""
    seen: Counter[str] = Counter()

    def count(name: str) -> None:
        function = getattr(LocalBackend, name)

        def counting(self, *arguments):
            seen[name] += 1
            found = function(self, *arguments)
            seen["bytes"] += len(found) if isinstance(found, bytes) else 0
            return found

        patch.setattr(LocalBackend, name, counting)

    opened = Storage.open

    def open_counted(self, *arguments, **options):
        seen["open"] += 1
        return opened(self, *arguments, **options)

    with monkeypatch.context() as patch:
        for name in ("read", "read_range", "size", "objects", "create", "read_version", "replace"):
            count(name)
        patch.setattr(Storage, "open", open_counted)
        yield seen


def finished(place: Path, order: int, n_rows: int = 8) -> tuple[Storage, Manifest]:
    """A catalogue of the whole sky whose parts are there."""
    storage, rng = Storage(str(place / f"sky-{order}-{n_rows}")), np.random.default_rng(order)
    pixels = tuple(Pixel(order, number) for number in range(12 * 4**order))
    n = n_rows * len(pixels)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    table = latents_at(ra, dec, np.arange(n) << 20)
    return storage, build_manifest(storage, put_parts(storage, table, pixels))


@pytest.fixture
def skies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Storage, Manifest]]:
    monkeypatch.setattr(hats_tables, "MOST_ROW_GROUPS", 0)  # as if there were many
    return [finished(tmp_path, order) for order in ORDERS]


def of_each(small: Counter[str], large: Counter[str]) -> dict[str, float]:
    """Of each operation, what a partition costs more."""
    return {name: (large[name] - small[name]) / EXTRA for name in small | large}


def test_a_commit_reads_a_few_kilobytes_of_each_part(skies, monkeypatch):
    seen = []
    for storage, manifest in skies:
        with counted(monkeypatch) as found:
            commit(storage, manifest)
        seen.append(found)
    each = of_each(*seen)
    assert each.pop("read_range") == pytest.approx(1, abs=0.1)
    assert each.pop("bytes") < 12_000
    assert all(abs(n) < 0.1 for n in each.values()), each


def test_a_commit_reads_no_more_of_a_part_with_more_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(hats_tables, "MOST_ROW_GROUPS", 0)
    seen = []
    for n_rows in (100, 2000):
        storage, manifest = finished(tmp_path, 1, n_rows)
        with counted(monkeypatch) as found:
            commit(storage, manifest)
        seen.append(found)
    assert manifest.n_bytes > 5_000_000
    assert seen[1]["bytes"] < 2_000_000
    assert {n: seen[0][n] for n in seen[0] if n not in ("bytes", "read_range")} == {
        n: seen[1][n] for n in seen[1] if n not in ("bytes", "read_range")
    }


def test_parts_count_their_rows_by_cell(skies):
    storage, manifest = skies[0]
    for part in manifest.parts[:5]:
        cells, counts = read_cell_counts(storage, part)
        assert counts.sum() == part.n_rows
        start, stop = part.pixel.range_at(CELL_ORDER)
        assert np.all((cells >= start) & (cells < stop))


def test_looking_at_a_complete_catalogue_costs_the_same_at_any_size(skies, monkeypatch):
    seen = []
    for storage, manifest in skies:
        commit(storage, manifest)
        complete(storage)
        with counted(monkeypatch) as found:
            read = read_manifest(storage, current(storage))
            assert is_complete(storage, read)
            commit(storage, read)
        seen.append(found)
    each = of_each(*seen)
    del each["bytes"]  # of the manifest, whose list of parts is longer
    assert not any(each.values()), each


def test_completing_costs_each_partition_the_same(skies, monkeypatch):
    seen = []
    for storage, manifest in skies:
        commit(storage, manifest)
        with counted(monkeypatch) as found:
            complete(storage)
        seen.append(found)
    # a part is read for statistics and index, and by the margins of eight neighbours
    assert sum(n for name, n in of_each(*seen).items() if name != "bytes") < 18


def test_a_task_of_the_margin_carries_its_neighbours_and_not_all_parts(skies):
    sizes = []
    for storage, manifest in skies:
        schema = product_schema("latents", manifest.identity.layout)
        tasks = margin_tasks(manifest)
        assert max(len(task.near) for task in tasks) <= 8
        sizes.append(len(pickle.dumps(MarginOfPixel(storage, manifest.digest, schema))))
    assert sizes[0] == sizes[1]
