import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.conftest import data_path
from tests.support.memory_reader import MemoryReader, planted
from xpscale.bands import Bands
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.sampling.cells import ColourMagnitudeCells, SkyCells, colour_and_magnitude
from xpscale.sampling.draw import draw_from_sketch, draw_sample
from xpscale.sampling.hashing import uniform_hash
from xpscale.sampling.held_out import HeldOutSplit
from xpscale.sampling.sample import METADATA, load_sample, save_sample
from xpscale.sampling.sketch_pass import sketch_store
from xpscale.spectra import SpectraBatch
from xpscale.testing.universe import Universe

CELLS = {"colour_magnitude": ColourMagnitudeCells(), "position": SkyCells(2)}
RULES = {"uniform": {}, "density": {}, "flattened": {}, "cut": {"min_quantile": 0.4}}


def colours(batch):
    return colour_and_magnitude(batch.coefficients, batch.phot_g_mean_flux, batch.bands)


def numbers(cells, batch):
    columns = {name: getattr(batch, name) for name in cells.columns}
    return cells.numbers(None, columns, batch.bands)


def drawn_ids(sample):
    return set(sample.source_id.tolist())


@pytest.fixture(scope="module")
def universe_reader():
    """The same in memory."""
    return MemoryReader(SpectraBatch.concatenate(list(Universe(20_000, seed=2).batches())))


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


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("by", CELLS)
def test_a_draw_is_reproducible_from_any_partitioning(reader, by, rule):
    options = {"cells": CELLS[by], **RULES[rule]}
    sample = draw_sample(reader, 300, rule, seed=3, **options)
    assert len(sample) == len(drawn_ids(sample)) == 300
    other = draw_sample(MemoryReader(planted(3000), order=0), 300, rule, seed=3, **options)
    assert drawn_ids(other) == drawn_ids(sample)
    assert (other.plan.available, other.plan.drawn) == (sample.plan.available, sample.plan.drawn)
    assert drawn_ids(draw_sample(reader, 300, rule, seed=4, **options)) != drawn_ids(sample)


@pytest.mark.parametrize("rule", RULES)
def test_held_out_pixels_are_never_drawn(reader, rule):
    split = HeldOutSplit(0.3, seed=1)
    held_out, n_available = set(), 0
    for partition in reader.partitions:
        batch = reader.read(partition)
        held_out |= set(batch.source_id[split.held_out(batch)].tolist())
        n_available += int((~split.held_out(batch)).sum())
    assert held_out
    n = n_available if rule != "cut" else n_available // 4
    sample = draw_sample(reader, n, rule, split=split, **RULES[rule])
    assert sample.plan.n_available == sum(sample.plan.available) == n_available
    assert not held_out & drawn_ids(sample)
    with pytest.raises(InvalidInputError, match=f"{n_available + 1:,} objects of [0-9,]+"):
        draw_sample(reader, n_available + 1, rule, split=split, **RULES[rule])


@pytest.mark.parametrize(
    ("rule", "options", "words"),
    [
        ("dense", {}, "Rules are uniform"),
        ("cut", {}, "needs one of the two"),
        ("density", {"min_count": 3}, "the others take none"),
        ("cut", {"min_quantile": 1.5}, "a quantile below 1"),
        ("uniform", {"oversampling": 0.5}, "at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(reader, rule, options, words):
    with pytest.raises(InvalidInputError, match=words):
        draw_sample(reader, 10, rule, **options)


def test_rules_take_from_cells_what_they_say(universe_reader):
    plans = {rule: draw_sample(universe_reader, 2_000, rule, **RULES[rule]).plan for rule in RULES}
    available, drawn = (
        np.array(plans["uniform"].available),
        {r: np.array(p.drawn) for r, p in plans.items()},
    )
    assert plans["density"].n_limited == 0
    assert np.abs(drawn["uniform"] - 2_000 * available / available.sum()).max() < 1
    assert np.abs(drawn["density"] - 2_000 * available**2 / (available**2).sum()).max() < 1
    level = drawn["flattened"].max()
    assert (np.abs(drawn["flattened"] - np.minimum(available, level)) <= 1).all()
    assert not drawn["cut"][available < plans["cut"].min_count].any()
    assert drawn["cut"][available >= plans["cut"].min_count].all()


def test_weights_undo_the_selection(universe_reader):
    """Weighted sums over a sample estimate those over all available objects, within their error
    over twelve draws.
    """
    cells, split, reader = ColourMagnitudeCells(), HeldOutSplit(), universe_reader
    batch = SpectraBatch.concatenate(reader.batches.values())
    magnitude = dict(zip(batch.source_id.tolist(), colours(batch)[1], strict=True))
    wanted = colours(batch)[1][~split.held_out(batch)].sum()
    rules = ("uniform", "density", "flattened")
    estimates, plain = {rule: [] for rule in rules}, {rule: [] for rule in rules}
    for seed in range(12):
        sketch = sketch_store(reader, cells, split, 2_000, seed)
        for rule in rules:
            sample = draw_from_sketch(sketch, reader, 2_000, rule, seed, split, cells)
            mine = np.array([magnitude[source] for source in sample.source_id.tolist()])
            estimates[rule].append((mine * sample.weight).sum())
            plain[rule].append(mine.mean() * sample.plan.n_available)
    for rule in rules:
        error = np.std(estimates[rule]) / np.sqrt(12)
        assert abs(np.mean(estimates[rule]) - wanted) < 4 * error + 1e-9 * wanted
        if rule != "uniform":
            assert abs(np.mean(plain[rule]) - wanted) > 10 * error


def test_a_limited_sketch_is_said_and_weighted(universe_reader):
    sample = draw_sample(universe_reader, 2_000, "density", oversampling=1)
    assert sample.plan.n_limited > 0
    assert sample.weight.sum() < 1.2 * sample.plan.n_available


def test_colours_are_those_of_real_stars():
    table = pq.read_table(data_path("apogee_library.parquet"))
    array = lambda name: np.array(table[name].combine_chunks().flatten()).reshape(-1, 110)  # noqa: E731
    flux = table["phot_g_mean_flux"].to_numpy()
    batch = SpectraBatch(
        table["source_id"].to_numpy(), flux, flux, flux, array("coefficients"), None, Bands(55, 55)
    )
    colour, magnitude = colours(batch)
    published = np.array(table["phot_bp_mean_mag"]) - np.array(table["phot_rp_mean_mag"])
    off = np.abs(colour - published)
    assert np.quantile(off, 0.5) < 0.005
    assert np.quantile(off, 0.95) < 0.055
    assert np.abs(np.median(colour - published)) < 0.003
    assert np.abs(np.median(magnitude - np.array(table["phot_g_mean_mag"]))) < 0.01


@pytest.mark.parametrize("bands", [Bands(51, 55), Bands(48, 44)], ids=str)
def test_colours_and_cells_are_those_of_the_same_stars_with_more_coefficients(bands):
    whole, narrow = (Universe(2_000, 3, bands=each).spectra() for each in (Bands(55, 55), bands))
    for expected, found in zip(colours(whole), colours(narrow), strict=True):
        np.testing.assert_array_equal(found, expected)
    cells = ColourMagnitudeCells()
    np.testing.assert_array_equal(numbers(cells, narrow), numbers(cells, whole))
    samples = [draw_sample(MemoryReader(batch), 300, "density") for batch in (whole, narrow)]
    assert drawn_ids(samples[0]) == drawn_ids(samples[1])


def test_every_usable_object_has_a_cell():
    spectra = planted(6)
    spectra.coefficients[0, :6], spectra.coefficients[1, 6:] = -1, -1  # no light in BP, none in RP
    spectra.phot_g_mean_flux[2:4] = 1e12, 1e-12
    cells = ColourMagnitudeCells(0.5, 1.0)
    colour, magnitude = np.divmod(numbers(cells, spectra), cells.shape[1])
    assert (colour[0], colour[1]) == (cells.shape[0] - 1, 0)
    assert (magnitude[2], magnitude[3]) == (0, cells.shape[1] - 1)
    assert (numbers(cells, spectra) < cells.n_cells).all()
    with pytest.raises(InvalidInputError, match="HEALPix order 13"):
        SkyCells(13)


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
    old = changed.replace_schema_metadata({METADATA: json.dumps({"rule": "density", "digest": ""})})
    pq.write_table(old, tmp_path / "old.parquet")
    with pytest.raises(InvalidInputError, match="format version 1, this version reads 2"):
        load_sample(str(tmp_path / "old.parquet"))
    pq.write_table(changed.replace_schema_metadata(), tmp_path / "bare.parquet")
    (tmp_path / "text.parquet").write_text("PAR1")
    for name in ("bare", "text"):
        with pytest.raises(InvalidInputError, match="is not a sample"):
            load_sample(str(tmp_path / f"{name}.parquet"))
    with pytest.raises(NotFoundError):
        load_sample(str(tmp_path / "none.parquet"))
