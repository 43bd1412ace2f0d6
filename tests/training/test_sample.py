import numpy as np
import pyarrow.parquet as pq
import pytest
from memory_reader import MemoryReader, planted

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.training.draw import draw_sample
from xpscale.training.sample import load_sample, save_sample
from xpscale.training.split import HeldOutSplit, uniform_hash


def drawn_ids(sample):
    return set(sample.source_id.tolist())


def test_hash_is_uniform_and_depends_on_key_and_seed():
    keys = np.arange(100_000, dtype=np.int64) << 35
    u = uniform_hash(keys, 1)
    counts = np.histogram(u, 50, (0, 1))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 90  # chi2 of 49 degrees of freedom
    assert abs(np.corrcoef(u, uniform_hash(keys, 2))[0, 1]) < 0.02
    assert np.array_equal(u[5:9], uniform_hash(keys[5:9], 1))


def test_whole_pixels_are_held_out_whatever_the_order_of_rows(reader):
    split = HeldOutSplit(0.3, seed=4)
    batch = reader.read(reader.partitions[0])
    held_out = split.held_out(batch)
    backwards = np.arange(len(batch))[::-1]
    assert np.array_equal(split.held_out(batch.take(backwards)), held_out[backwards])
    whole = np.concatenate([split.held_out(reader.read(p)) for p in reader.partitions])
    assert abs(whole.mean() - 0.3) < 0.05


def test_a_draw_is_reproducible_from_any_partitioning(reader):
    sample = draw_sample(reader, 500, "flattened", seed=3)
    assert len(sample) == len(drawn_ids(sample)) == 500
    other = MemoryReader(planted(3000), order=0)
    assert drawn_ids(draw_sample(other, 500, "flattened", seed=3)) == drawn_ids(sample)
    assert drawn_ids(draw_sample(reader, 500, "flattened", seed=4)) != drawn_ids(sample)


def test_held_out_pixels_are_never_drawn(reader):
    split = HeldOutSplit(0.3, seed=1)
    held_out = set()
    n_available = 0
    for partition in reader.partitions:
        batch = reader.read(partition)
        held_out |= set(batch.source_id[split.held_out(batch)].tolist())
        n_available += int((~split.held_out(batch)).sum())
    sample = draw_sample(reader, n_available, split=split)
    assert held_out
    assert not held_out & drawn_ids(sample)
    with pytest.raises(InvalidInputError, match=f"{n_available + 1:,} objects of {n_available:,}"):
        draw_sample(reader, n_available + 1, split=split)
    with pytest.raises(InvalidInputError, match="Rules are uniform"):
        draw_sample(reader, 10, "dense")


def test_rules_favour_dense_or_sparse_regions(reader):
    density = {rule: draw_sample(reader, 600, rule).density.mean() for rule in ("flattened", "uniform", "density")}
    assert density["flattened"] < 0.8 * density["uniform"]
    assert density["density"] > 1.2 * density["uniform"]


def test_a_sample_travels_as_one_file_and_knows_its_store(reader, tmp_path):
    sample = draw_sample(reader, 300, "density", seed=2)
    path = str(tmp_path / "sample.parquet")
    save_sample(sample, path)
    back = load_sample(path)
    assert back.plan == sample.plan
    assert back.digest == sample.digest
    for partition in reader.partitions:
        batch = reader.read(partition)
        assert set(batch.source_id[back.select(partition.key, batch)].tolist()) <= drawn_ids(sample)
    assert sum(back.select(p.key, reader.read(p)).sum() for p in reader.partitions) == 300

    back.require_store(reader)
    with pytest.raises(InvalidInputError, match="another store"):
        back.require_store(MemoryReader(planted(2000)))
    changed = pq.read_table(path)
    pq.write_table(changed.slice(1), tmp_path / "changed.parquet")
    with pytest.raises(InvalidInputError, match="was changed"):
        load_sample(str(tmp_path / "changed.parquet"))
    pq.write_table(changed.replace_schema_metadata(), tmp_path / "bare.parquet")
    (tmp_path / "text.parquet").write_text("PAR1")
    for name in ("bare", "text"):
        with pytest.raises(InvalidInputError, match="is not a sample"):
            load_sample(str(tmp_path / f"{name}.parquet"))
    with pytest.raises(NotFoundError):
        load_sample(str(tmp_path / "none.parquet"))
