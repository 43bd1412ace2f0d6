"""Selections and results as frames, columns and HTML."""

from __future__ import annotations

import re

import numpy as np
import pytest

from xpscale.errors import InvalidInputError, PermanentError
from xpscale.query.frames import Result


def test_limit_and_head_are_the_first_rows(cat, example):
    every = cat.cone(0, 0, 30).where("flags < 2").columns("source_id", "ra")
    for n in (0, 1, 5, 10**9):
        for chosen in (every.limit(n), every.head(n), every.limit(n + 3).limit(n)):
            expected = every.to_table().slice(0, n)
            assert chosen.to_table().equals(expected)
            assert chosen.count() == len(chosen) == expected.num_rows
    assert cat.head()["source_id"].tolist() == example.rows["source_id"].to_pylist()[:5]
    assert len(cat.select()) == 6000
    ids = example.rows["source_id"].to_pylist()[40:30:-1]
    assert cat.at(ids).limit(3)["source_id"].tolist() == ids[:3]
    assert cat.select().limit(4).query == "all rows.limit(4)"
    grouped = every.limit(50).aggregate("flags, count(*) AS n", "flags")
    assert sum(grouped["n"].to_pylist()) == 50
    assert len(cat.select().limit(9).with_spectra().to_table()) == 9


@pytest.mark.parametrize("n", [-1, 1.5, "3", True, None])
def test_no_limits(cat, n):
    with pytest.raises(InvalidInputError, match="limit"):
        cat.select().limit(n)


def test_rows_keep_their_order_through_long_lists(cat, example):
    """DuckDB makes a join of a long list, and joins shuffle."""
    ids = example.rows["source_id"].to_pylist()[::2]
    found = cat.where(f"source_id IN ({', '.join(map(str, ids))})")
    assert found["source_id"].tolist() == ids


def test_columns_by_name(cat, example):
    chosen = cat.cone(0, 0, 30)
    np.testing.assert_array_equal(chosen["ra"], chosen.to_table()["ra"].to_numpy())
    assert chosen["scatter"].shape == (len(chosen), 110)
    assert chosen["ra", "dec"].column_names == ("ra", "dec")
    assert chosen[["dec"]].to_table().column_names == ["dec"]
    result = cat.like(int(example.rows["source_id"][0].as_py()), 4)
    assert result["source_id", "latent_distance"].to_table().column_names[1] == "latent_distance"
    assert len(result.head(2)) == 2
    for rows in (chosen, result):
        for wrong in (0, slice(3), np.array([True]), ["ra", 1]):
            with pytest.raises(InvalidInputError, match="name of a column"):
                rows[wrong]
        with pytest.raises(InvalidInputError, match="Did you mean 'ra'"):
            rows["raa"]
        with pytest.raises(TypeError, match="batches"):
            list(rows)
        assert rows


def test_frames(cat, monkeypatch):
    chosen = cat.cone(0, 0, 30).columns("source_id", "ra", "scatter")
    table = chosen.to_table()
    assert chosen.to_polars()["ra"].to_list() == table["ra"].to_pylist()
    assert chosen.to_pandas()["ra"].tolist() == table["ra"].to_pylist()
    result = Result(table, chosen.provenance)
    assert result.to_polars().equals(chosen.to_polars())
    assert result.to_astropy().meta["query"] == "cone(0, 0, 30 deg)"
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(PermanentError, match=r"xpscale\[polars\]"):
        chosen.to_polars()


def test_notebooks_show_what_is_selected_and_the_first_rows(cat):
    text = cat.cone(0, 0, 30).where("flags < 2")._repr_html_()
    n_rows = len(cat.cone(0, 0, 30).where("flags < 2"))
    assert f"cone(0, 0, 30 deg).where(flags &lt; 2): {n_rows:,} rows" in text
    assert text.count("<tr>") == 2 + 5  # names, units, rows
    assert "<td>deg</td>" in text
    assert len(text) < 5000
    assert "6,000 rows" in cat._repr_html_()
    everywhere = cat.where("flags < 2")._repr_html_()
    assert re.search(r"at most 6,000 rows", everywhere)
    empty = cat.cone(0, 0, 1e-5)._repr_html_()
    assert "0 rows" in empty
    assert "[110 values]" in cat.columns("scatter")._repr_html_()
    result = cat.outliers(3)
    assert "outliers(3)" in result._repr_html_()
