"""What one process does for a catalogue grows with the number of its partitions and no faster:
operations and bytes are counted at two sizes.  Two billion rows: `tests/benchmarks/billion.py`.
"""

import contextlib
import pickle
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from placed_catalog import latents_at, put_parts

from xpscale.catalog import hats_tables, source_ids
from xpscale.catalog.cell_counts import CELL_ORDER, read_cell_counts
from xpscale.catalog.commit import build_manifest, commit
from xpscale.catalog.manifest import Manifest
from xpscale.catalog.margin import margin_of_pixel, margin_tasks
from xpscale.catalog.snapshots import current, read_manifest
from xpscale.catalog.source_ids import index_file, index_ranges
from xpscale.catalog.votable import product_schema
from xpscale.inference.complete import complete, is_complete
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.storage.local import LocalBackend

pytestmark = pytest.mark.usefixtures("small_maps")

EXTRA = 12 * (4**2 - 4**1)
"""Partitions of order 2 are more than those of order 1."""

COUNTED = ("read", "read_range", "size", "objects", "create", "read_version", "replace")


@contextlib.contextmanager
def counted() -> Iterator[Counter[str]]:
    """How often each operation of a storage is done, and the bytes that are read by key."""
    seen, opened = Counter[str](), Storage.open

    def counting(name, function):
        def count(self, *arguments):
            seen[name] += 1
            found = function(self, *arguments)
            seen["bytes"] += len(found) if isinstance(found, bytes) else 0
            return found

        return count

    def count_open(self, key, **options):
        seen["open"] += 1
        return opened(self, key, **options)

    with pytest.MonkeyPatch.context() as patch:
        for name in COUNTED:
            patch.setattr(LocalBackend, name, counting(name, getattr(LocalBackend, name)))
        patch.setattr(Storage, "open", count_open)
        yield seen


@dataclass
class Sky:
    """A catalogue of the whole sky, published and complete, and what each step of that took."""

    storage: Storage
    manifest: Manifest
    steps: dict[str, Counter[str]] = field(default_factory=dict)


def sky(place: Path, order: int, n_rows: int = 8) -> Sky:
    storage, rng = Storage(str(place / f"sky-{order}-{n_rows}")), np.random.default_rng(order)
    pixels = tuple(Pixel(order, number) for number in range(12 * 4**order))
    n = n_rows * len(pixels)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    table = latents_at(ra, dec, np.arange(n) << 20)
    found = Sky(storage, build_manifest(storage, put_parts(storage, table, pixels)))
    with counted() as found.steps["commit"]:
        commit(storage, found.manifest)
    return found


@pytest.fixture(scope="module")
def skies(small_maps, tmp_path_factory) -> list[Sky]:
    """Of 48 and 192 partitions."""
    found, place = [], tmp_path_factory.mktemp("skies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hats_tables, "MOST_ROW_GROUPS", 0)  # as if there were many
        for order in (1, 2):
            one = sky(place, order)
            with counted() as one.steps["complete"]:
                complete(one.storage)
            with counted() as one.steps["resume"]:
                read = read_manifest(one.storage, current(one.storage))
                assert is_complete(one.storage, read)
                commit(one.storage, read)
            found.append(one)
    return found


def of_each(skies: list[Sky], step: str) -> dict[str, float]:
    """Of each operation, what one partition more costs."""
    small, large = (one.steps[step] for one in skies)
    return {name: (large[name] - small[name]) / EXTRA for name in small | large}


def test_a_commit_reads_a_few_kilobytes_of_each_part(skies):
    each = of_each(skies, "commit")
    assert each.pop("read_range") == pytest.approx(1, abs=0.1)
    assert each.pop("bytes") < 12_000
    assert all(abs(n) < 0.1 for n in each.values()), each


def test_a_commit_reads_no_more_of_a_part_with_more_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(hats_tables, "MOST_ROW_GROUPS", 0)
    few, many = sky(tmp_path, 0, 100), sky(tmp_path, 0, 8_000)
    assert many.manifest.n_bytes > 5_000_000
    assert many.steps["commit"]["bytes"] < few.steps["commit"]["bytes"] + 500_000


def test_completing_costs_each_partition_the_same(skies):
    # a part is read for statistics and index, and by the margins of eight neighbours
    assert sum(n for name, n in of_each(skies, "complete").items() if name != "bytes") < 18


def test_looking_at_a_complete_catalogue_costs_the_same_at_any_size(skies):
    each = of_each(skies, "resume")
    del each["bytes"]  # of the manifest, whose list of parts is longer
    assert not any(each.values()), each


def test_parts_count_their_rows_by_cell(skies):
    for part in skies[0].manifest.parts[:5]:
        cells, counts = read_cell_counts(skies[0].storage, part)
        start, stop = part.pixel.range_at(CELL_ORDER)
        assert np.all((cells >= start) & (cells < stop) & (counts > 0))
        assert counts.sum() == part.n_rows


def test_a_task_of_the_margin_carries_its_neighbours_and_not_all_parts(skies):
    sizes = []
    for one in skies:
        schema = product_schema("latents", one.manifest.identity.layout)
        assert max(len(task.near) for task in margin_tasks(one.manifest)) <= 8
        function = partial(margin_of_pixel, one.storage, one.manifest.digest, schema)
        sizes.append(len(pickle.dumps(function)))
    assert sizes[0] == sizes[1]


def test_the_index_has_no_more_row_groups_than_one_list_of_them_may_have(skies, monkeypatch):
    storage, manifest, groups = skies[0].storage, skies[0].manifest, {}
    monkeypatch.setattr(source_ids, "ROW_GROUP_SIZE", 10)
    (task,) = index_ranges(manifest.of("latents"), {})
    for most in (1000, 12):
        monkeypatch.setattr(source_ids, "MOST_ROW_GROUPS", most)
        digest = f"{most:064d}"  # of another version, so the file is written anew
        index_file(storage, digest, manifest.identity.gaia_release, manifest.n_out, task)
        groups[most] = pq.read_metadata(f"{storage}/{task.key}").num_row_groups
    assert groups[12] <= 12 < groups[1000]
    assert groups[1000] * 10 >= manifest.n_out
