"""The cost of an ingest before it is begun: the arithmetic, the real ranges of DR3, and what the
command prints.
"""

import csv
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.commands import done, xpscale
from tests.conftest import data_path
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.forecast.ingest import NODES, pixel_counts, project_ingest
from xpscale.store.partitions import COUNT_ORDER, adaptive_partitions
from xpscale.testing.sky_density import DENSITY_ORDER, source_counts

N_PIXELS = 12 * 4**COUNT_ORDER
N_DR3 = 219_197_643


@given(st.data())
def test_rows_are_spread_over_their_own_range_and_none_is_lost(data):
    edges = sorted({0, N_PIXELS, *data.draw(st.lists(st.integers(1, N_PIXELS - 1), max_size=5))})
    ranges = [(first, stop - 1) for first, stop in pairwise(edges)]
    rows = np.array(
        data.draw(st.lists(st.integers(0, 10**6), min_size=len(ranges), max_size=len(ranges)))
    )
    counts = pixel_counts(ranges, rows)
    for (first, last), n in zip(ranges, rows.tolist(), strict=True):
        share = counts[first : last + 1]
        assert share.sum() == n
        assert share.max() - share.min() <= 1


def test_a_range_outside_the_sky_is_refused():
    for wrong in [(0, N_PIXELS), (-1, 3), (5, 4)]:
        with pytest.raises(InvalidInputError, match="no range"):
            pixel_counts([wrong], np.array([1]))


def dr3():
    with (data_path("archive") / "file_ranges.csv").open() as file:
        ranges = [(int(row["hpx8_lo"]), int(row["hpx8_hi"])) for row in csv.DictReader(file)]
    by_density = source_counts(N_DR3, 1)
    counts = np.repeat(by_density // 4, 4 ** (COUNT_ORDER - DENSITY_ORDER))
    counts[::4] += by_density % 4
    edges = np.concatenate([[0], np.cumsum(counts)])
    rows = np.array([edges[last + 1] - edges[first] for first, last in ranges])
    return ranges, rows, counts


def test_all_of_dr3():
    ranges, rows, counts = dr3()
    assert len(ranges) == 3_386
    assert rows.sum() == counts.sum() == N_DR3
    found = project_ingest(rows, counts, 262_144)
    assert found.n_partitions == len(adaptive_partitions(counts)) > N_DR3 / 262_144
    assert found.rows_of_largest_partition <= 262_144
    assert found.bytes_read == pytest.approx(3.61e12 + 757e9, rel=0.02)
    assert found.bytes_staged == N_DR3 * 920
    assert 10 * 3_600 < found.core_s < 30 * 3_600
    one, sixteen, sixty_four = (found.seconds[str(n)] for n in NODES)
    assert one >= found.bytes_read / 1.25e9
    assert one > sixteen > sixty_four > found.core_s / (64 * 16)
    # as the files were cut: about as many rows in each, so that their ranges tell the density
    shares = np.diff(np.arange(3_387) * N_DR3 // 3_386)
    even = project_ingest(shares, pixel_counts(ranges, shares), 262_144)
    assert even.n_rows == N_DR3
    assert even.memory_stage < 1e9 < even.memory_partition < 2e9 < found.memory_stage


def test_correlations_cost_what_they_weigh():
    ranges, rows, counts = [(0, N_PIXELS - 1)], np.array([100_000]), np.zeros(N_PIXELS, np.int64)
    counts[:1000] = 100
    plain, heavy = (
        project_ingest(rows, counts, 8_192, correlations=kept) for kept in (False, True)
    )
    assert heavy.bytes_written - plain.bytes_written == 100_000 * 2 * 1485 * 4
    assert heavy.memory_stage > plain.memory_stage
    assert heavy.seconds["1"] > plain.seconds["1"]
    assert len(ranges) == plain.n_files == 1


def test_a_dry_run_prints_the_plan_and_writes_nothing(spoilt, tmp_path):
    command = ("ingest", spoilt.url, tmp_path / "store", "--dry-run")
    text = done(*command).out
    for word in ("6 file pairs", "partitions", "of memory", "of one core", "on 64"):
        assert word in text
    numbers = json.loads(done(*command, "--json").out)
    assert (numbers["n_files"], numbers["max_rows"], set(numbers["seconds"])) == (
        6,
        262_144,
        {"1", "16", "64"},
    )
    assert json.loads(done(*command, "--json", "--correlations").out)["max_rows"] == 32_768
    assert list(tmp_path.iterdir()) == []
    made = xpscale("ingest", spoilt.url, tmp_path / "store", "--workers", 0, "--json")
    assert json.loads(made.out)["n_read"] == spoilt.n_rows


def test_a_dry_run_looks_where_the_store_shall_be(spoilt, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    (store / "mine.txt").write_text("mine")
    refused = xpscale("ingest", spoilt.url, store, "--dry-run")
    assert refused.code == ConflictError.exit_code
    assert "mine.txt" in refused.err
    (store / "mine.txt").unlink()
    done("ingest", spoilt.url, store, "--workers", 0)
    assert done("ingest", spoilt.url, store, "--dry-run").out
    refused = xpscale("ingest", spoilt.url, store, "--dry-run", "--max-rows", 100)
    assert refused.code == ConflictError.exit_code
    assert "max_rows" in refused.err
