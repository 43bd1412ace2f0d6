"""What differs between two catalogues is counted exactly, and every difference is listed."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import xpscale
from xpscale.errors import InvalidInputError
from xpscale.query.catalog import open_catalog
from xpscale.query.difference import Difference
from xpscale.query.download import download


@pytest.fixture(scope="module")
def changed(tmp_path_factory, example, model):
    """The example with 100 sources less, another kl for 50, a NaN for 5, a mean off by a width."""
    from tests.query.conftest import publish

    rows = example.rows.slice(100)
    kl = rows["kl"].to_numpy().copy()
    kl[:50] += np.where(np.arange(50) % 2, 3, -4)
    chi2 = rows["reduced_chi2"].to_numpy().copy()
    at = np.flatnonzero(np.isfinite(chi2))[200:205]
    chi2[at] = np.nan
    mean = rows["latent_mean_2"].to_numpy().copy()
    mean[300] += 2 * np.exp(-4 / 2)
    for name, values in (("kl", kl), ("reduced_chi2", chi2), ("latent_mean_2", mean)):
        index = rows.schema.get_field_index(name)
        rows = rows.set_column(index, rows.schema.field(index), pa.array(values, pa.float32()))
    url = str(tmp_path_factory.mktemp("catalogue") / "changed")
    publish(url, model, rows)
    return url, {*rows["source_id"].to_numpy()[[*range(50), *at, 300]].tolist()}


def test_every_difference_is_found(cat, example, changed):
    url, ids = changed
    found = Difference(cat, open_catalog(url))
    rows = pa.concat_tables(found.tables())
    assert (found.n_only_a, found.n_only_b, found.n_moved) == (100, 0, 0)
    assert found.n_changed == len(ids)
    assert found.n_same == example.rows.num_rows - 100 - len(ids)
    by_word = {word: set() for word in ("changed", "only in A")}
    for source_id, word in zip(
        *(rows[n].to_pylist() for n in ("source_id", "change")), strict=True
    ):
        by_word[word].add(source_id)
    assert by_word["changed"] == ids
    assert by_word["only in A"] == {*example.rows["source_id"].to_pylist()[:100]}
    kl, chi2, mean = (found.columns[n] for n in ("kl", "reduced_chi2", "latent_mean_2"))
    assert (kl.n, kl.largest) == (50, 4)
    assert kl.rms == pytest.approx(np.sqrt((9 + 16) / 2))
    assert (chi2.n, chi2.largest) == (5, 0)
    assert mean.n == 1
    assert found.columns["latent_mean_2 / width"].largest == pytest.approx(2, rel=1e-5)
    assert {name for name, change in found.columns.items() if change.n} == {
        "kl", "reduced_chi2", "latent_mean_2", "latent_mean_2 / width"
    }  # fmt: skip


def test_the_other_way_round_and_with_itself(cat, changed, tmp_path):
    there = open_catalog(changed[0])
    backwards = Difference(there, cat)
    for _ in backwards.tables():
        pass
    assert (backwards.n_only_a, backwards.n_only_b) == (0, 100)
    # of other columns and pixels: the same sources differ in nothing that both have
    download(cat.columns("kl"), str(tmp_path / "share"))
    same = Difference(cat, open_catalog(str(tmp_path / "share")))
    assert [table.num_rows for table in same.tables() if table.num_rows] == []
    assert same.n_same == cat.n_rows


def test_other_releases_are_not_compared(cat, wide):
    with pytest.raises(InvalidInputError, match="comparable within a release"):
        Difference(cat, open_catalog(wide))


def test_from_the_command_line(example, changed, tmp_path):
    url, ids = changed
    said = xpscale("catalog", "diff", example.url, url, "-o", tmp_path / "d.parquet", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["columns"]["kl"]["n"] == 50
    rows = pq.read_table(tmp_path / "d.parquet")
    assert rows.num_rows == len(ids) + 100
    said = xpscale("catalog", "diff", example.url, url)
    assert "only in A" in said.out
    assert "latent_mean_2 / width" in said.out
