"""Adaptive partitions: disjoint, covering, small enough, and as coarse as they may be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpscale.errors import InvalidInputError
from xpscale.sky import Pixel
from xpscale.store.partitions import COUNT_ORDER, adaptive_partitions

N_PIXELS = 12 * 4**COUNT_ORDER
# few pixels, many of them neighbours
SKIES = st.dictionaries(
    st.one_of(st.integers(0, N_PIXELS - 1), st.integers(0, 300)),
    st.integers(1, 1000),
    min_size=0,
    max_size=60,
)


@given(SKIES, st.sampled_from([1, 10, 100, 1000, 10**6]))
def test_partitions_cover_everything_once_and_no_finer_than_needed(sky, max_rows):
    counts = np.zeros(N_PIXELS, np.int64)
    for number, n in sky.items():
        counts[number] = n
    partitions = adaptive_partitions(counts, max_rows)
    covered = 0
    for partition in partitions:
        low, high = partition.pixel.range_at(COUNT_ORDER)
        assert low >= covered  # disjoint, and sorted by position
        assert counts[covered:low].sum() == 0  # nothing is left out
        assert partition.n_rows == counts[low:high].sum() > 0
        assert partition.n_rows <= max_rows or partition.pixel.order == COUNT_ORDER
        if partition.pixel.order:  # its parent would have been too full
            parent = Pixel(partition.pixel.order - 1, partition.pixel.number // 4)
            start, stop = parent.range_at(COUNT_ORDER)
            assert counts[start:stop].sum() > max_rows
        covered = high
    assert counts[covered:].sum() == 0
    assert sum(partition.n_rows for partition in partitions) == counts.sum()


def test_partitions_of_no_rows_are_refused():
    with pytest.raises(InvalidInputError, match="max_rows"):
        adaptive_partitions(np.zeros(N_PIXELS, np.int64), 0)
