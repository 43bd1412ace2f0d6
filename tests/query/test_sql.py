from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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
