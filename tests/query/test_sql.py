from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.commands import xpscale
from xpscale.errors import InvalidInputError


def test_aggregates_and_joins(cat, example):
    rows = cat.sql(
        "SELECT flags, count(*) AS n, max(ra) AS ra FROM latents GROUP BY flags ORDER BY flags"
    ).to_pydict()
    flags, ra = example.rows["flags"].to_numpy(), example.rows["ra"].to_numpy()
    assert rows["n"] == np.bincount(flags).tolist()
    assert rows["ra"] == [ra[flags == f].max() for f in rows["flags"]]
    joined = cat.sql(
        "SELECT l.source_id, s.scatter[1] AS s FROM latents l JOIN spectra s USING (source_id)"
        " ORDER BY s"
    )
    assert joined["s"].to_pylist() == sorted(row[0] for row in example.rows["scatter"].to_pylist())
    assert cat.sql("WITH a AS (FROM LATENTS SELECT ra) SELECT count(*) AS n FROM a")[
        "n"
    ].to_pylist() == [6000]
    assert cat.sql("SELECT 1 AS one")["one"].to_pylist() == [1]


@pytest.mark.parametrize(
    "query",
    [
        "COPY latents TO '{part}'",
        "COPY (SELECT * FROM latents) TO '{tmp}/out.parquet'",
        "EXPLAIN ANALYZE COPY latents TO '{part}'",
        "ATTACH '{tmp}/x.db'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('{tmp}/*.parquet')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "CREATE TABLE t AS SELECT 1",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "PRAGMA version",
        "SELECT 1; SELECT 2",
        "SELECT 1 FROM latents; COPY latents TO '{part}'",
        "SELECT * FROM query('COPY latents TO ''{part}''')",
        "",
        "SELEC 1",
        "SELECT rra FROM latents",
        "SELECT * FROM sources",
    ],
)
def test_only_one_select_over_the_catalogue(cat, tmp_path, query):
    part = Path(cat.storage.url, cat.manifest.of("latents")[0].key)
    before = part.read_bytes()
    with pytest.raises(InvalidInputError) as error:
        cat.sql(query.format(part=part, tmp=tmp_path) + (" -- FROM latents" if query else ""))
    assert "\n" not in str(error.value)
    assert error.value.remedy
    assert part.read_bytes() == before
    assert list(tmp_path.iterdir()) == []


def test_the_users_tables_are_there_by_name_and_nothing_else(cat, example, tmp_path):
    ids = example.rows["source_id"].to_pylist()[:3]
    stars, other = tmp_path / "stars.csv", tmp_path / "other.csv"
    for path in (stars, other):
        path.write_text("source_id,weight\n" + "".join(f"{number},2\n" for number in ids))
    query = "SELECT sum(weight) AS w FROM latents JOIN mine USING (source_id)"
    for table in (stars, str(stars), {"source_id": ids, "weight": [2, 2, 2]}):
        assert cat.sql(query, {"mine": table})["w"].to_pylist() == [6]
    assert cat.sql("SELECT count(*) AS n FROM a, b", {"a": stars, "b": other})["n"].to_pylist() == [
        9
    ]
    for wrong in (
        f"SELECT * FROM '{other}'",
        f"SELECT * FROM read_csv('{other}')",
        f"SELECT * FROM read_csv('{stars}')",
        "SELECT * FROM stars",
        f"COPY mine TO '{tmp_path}/out.csv'",
        "SELECT * FROM read_csv('https://example.org/a.csv')",
        "INSERT INTO mine VALUES (1, 2)",
        "DROP VIEW mine",
        "SELECT * FROM glob('*')",
        "SELECT getenv('HOME')",
    ):
        with pytest.raises(InvalidInputError) as error:
            cat.sql(wrong, {"mine": stars})
        assert "\n" not in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"stars.csv", "other.csv"}


@pytest.mark.parametrize("name", ["latents", "Spectra", "", "a b", "1a", 'x"', "é"])
def test_names_that_no_table_can_have(cat, name):
    with pytest.raises(InvalidInputError, match="no table of yours"):
        cat.sql("SELECT 1", {name: {"a": [1]}})


def test_the_command_takes_tables(cat, example, tmp_path):
    path = tmp_path / "stars.csv"
    path.write_text("x\n1\n2\n")
    found = xpscale(
        "sql", cat.storage.url, "SELECT sum(x) AS s FROM mine", "--table", f"mine={path}"
    )
    assert (found.code, found.out) == (0, '"s"\n3\n'), found.err
    for wrong in ("mine", f"latents={path}", "mine=", "mine=none.csv"):
        assert xpscale("sql", cat.storage.url, "SELECT 1", "--table", wrong).code in (2, 3)
    twice = ("--table", f"a={path}") * 2
    assert "twice" in xpscale("sql", cat.storage.url, "SELECT 1", *twice).err
