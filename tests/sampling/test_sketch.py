import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpscale.errors import InvalidInputError
from xpscale.sampling.hashing import hash_64
from xpscale.sampling.rules import allot, quantile_count, rounded
from xpscale.sampling.sketch import KEPT, SketchBuilder, water_level

counts_of_cells = st.lists(st.integers(0, 60), min_size=1, max_size=30).filter(any).map(np.array)


def sky(counts, seed):
    """Cells and identifiers of objects with given counts, in random order."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return cells, rng.choice(10**12, len(cells), replace=False)


def sketch_of(builder, cells, source_id, pieces):
    for number, rows in enumerate(pieces):
        builder.add(cells[rows], source_id[rows], number, rows)
    return builder.sketch()


def as_set(sketch):
    return {tuple(kept) for kept in sketch.kept[["cell", "key", "source_id"]].tolist()}


@given(counts_of_cells, st.integers(1, 80), st.floats(0, 1), st.integers(0, 9), st.data())
def test_a_sketch_keeps_what_it_promises_whatever_the_order(counts, n, share, seed, data):
    cells, source_id = sky(counts, seed)
    rows = np.arange(len(cells))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(cells)), max_size=5)))
    pieces = data.draw(st.permutations(np.split(rows, cuts)))

    key = hash_64(source_id, seed)
    rank = np.array([(key[cells == cell] < k).sum() for cell, k in zip(cells, key, strict=True)])
    level = water_level(np.ones((counts > 0).sum()), counts[counts > 0], n)
    depth = np.ceil(min(level, counts.max()))
    wanted = (rank < depth) | (key < np.uint64(min(int(share * 2**64), 2**64 - 1)))
    expected = set(
        zip(cells[wanted].tolist(), key[wanted].tolist(), source_id[wanted].tolist(), strict=True)
    )

    def build():
        return SketchBuilder(len(counts), n, share, seed)

    whole = sketch_of(build(), cells, source_id, pieces)
    assert as_set(whole) == expected
    assert np.array_equal(whole.counts, counts)
    merged = build()
    for piece in pieces:  # each worker has a builder of its own
        merged.merge(sketch_of(build(), cells, source_id, [piece]))
    assert as_set(merged.sketch()) == expected
    assert np.array_equal(merged.sketch().counts, counts)


def test_memory_is_bounded_by_the_draw_not_by_the_store():
    n, n_cells, peaks = 2_000, 500, []
    for n_rows in (400_000, 3_200_000):
        builder = SketchBuilder(n_cells, n, 8 * n / n_rows, seed=1)
        tracemalloc.start()
        for part in range(n_rows // 20_000):
            rng = np.random.default_rng(part)
            cells = np.minimum(rng.geometric(0.02, 20_000), n_cells) - 1
            builder.add(cells, np.arange(20_000) + 20_000 * part, part, np.arange(20_000))
        kept = len(builder.sketch().kept)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert kept < 8.3 * n + n + n_cells
        assert (
            peaks[-1] < 6e6 + 4 * (9 * n + n_cells) * KEPT.itemsize
        )  # 6 MB: one part's arrays while it is added
    assert peaks[1] < 1.5 * peaks[0]


@given(counts_of_cells, st.floats(0.01, 100), st.integers(0, 9))
def test_water_fills_to_the_total(caps, total, seed):
    targets = np.random.default_rng(seed).uniform(0.1, 50, len(caps))
    level = water_level(targets, caps, total)
    filled = np.minimum(caps, level * targets).sum()
    assert filled == pytest.approx(min(total, caps.sum()))


@given(
    counts_of_cells,
    st.integers(1, 500),
    st.sampled_from(["uniform", "density", "flattened", "cut"]),
)
def test_every_object_is_as_likely_as_its_rule_says(counts, n, rule):
    n = min(n, counts.sum())
    min_count = quantile_count(counts, 0.3) if rule == "cut" else 0
    if n > counts[counts >= min_count].sum():
        n = counts[counts >= min_count].sum()
    expected = allot(counts, counts, n, rule, min_count)
    starts = (np.arange(100) + 0.5) / 100
    numbers = np.array([rounded(expected, counts, v) for v in starts])
    assert (numbers.sum(1) == n).all()
    assert (numbers <= counts).all()
    assert (np.abs(numbers - expected) < 1 + 1e-9).all()
    assert (
        np.abs(numbers.mean(0) - expected).max() < 0.03
    )  # over all random starts: the inclusion probability
    free = (counts >= max(min_count, 1)) & (expected < counts)
    if rule == "cut":
        assert not expected[counts < min_count].any()
    power = {"uniform": 1.0, "density": 2.0, "flattened": 0.0, "cut": 1.0}[rule]
    ratio = expected[free] / counts[free] ** power
    assert ratio.max(initial=0) == pytest.approx(ratio.min(initial=ratio.max(initial=0)))


def test_a_quantile_leaves_out_the_sparsest_cells():
    counts = np.array([10, 0, 40, 50])
    assert [quantile_count(counts, q) for q in (0, 0.09, 0.1, 0.49, 0.5, 0.99)] == [
        10,
        10,
        40,
        40,
        50,
        50,
    ]


def test_too_little_kept_is_said_and_never_drawn():
    counts, kept = np.array([1000, 1000]), np.array([1000, 10])
    with pytest.raises(InvalidInputError, match="only 10 of the 1,000"):
        allot(np.array([0, 1000]), np.array([0, 10]), 20, "uniform")
    expected = allot(counts, kept, 100, "uniform")
    assert expected.tolist() == [90, 10]
