"""Result files of queries that people run: identifiers with NULL, odd names, several lines of SQL;
file systems without hard links; files that are there already.
"""

import csv
import errno
import json
import os

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table

from tests.commands import done, xpscale
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.query.convert import to_astropy
from xpscale.query.version import words_of
from xpscale.query.write import FORMATS, write

BIG = 6917521541514092416  # no float64
LINES = "SELECT 1 AS a, -- naïve\n  2 AS b\nFROM latents LIMIT 1"


def astropy_table(path):
    names = {".fits": "fits", ".vot": "votable", ".ecsv": "ascii.ecsv"}
    return Table.read(path, format=names[path.suffix])


@pytest.mark.parametrize("suffix", [".fits", ".vot", ".ecsv"])
@pytest.mark.parametrize("kind", ["BIGINT", "INTEGER", "SMALLINT", "HUGEINT", "UINTEGER"])
def test_integers_with_null_stay_integers(cat, tmp_path, suffix, kind):
    """Case F01: integers with a missing value in FITS."""
    value = BIG + 1 if kind in ("BIGINT", "HUGEINT") else 32767
    found = cat.sql(f"SELECT unnest([{value}, NULL]::{kind}[]) AS found")
    write(found, tmp_path / f"rows{suffix}")
    column = astropy_table(tmp_path / f"rows{suffix}")["found"]
    made = to_astropy(found, {})["found"]
    for back in (column, made):
        assert back.dtype.kind in "iu"
        assert (int(back[0]), back.mask.tolist()) == (value, [False, True])


def test_null_in_fits_is_a_number_that_does_not_occur(tmp_path):
    lowest = np.iinfo(np.int64).min
    write(pa.table({"a": [BIG, None], "b": [lowest, None]}), tmp_path / "rows.fits")
    with fits.open(tmp_path / "rows.fits") as hdus:
        columns = hdus[1].columns
        assert [column.format for column in columns] == ["K", "K"]
        assert columns["a"].null == lowest
        assert columns["b"].null != lowest
        assert int(hdus[1].data["a"][0]) == BIG


def test_names_and_texts_in_csv_are_quoted(example, tmp_path):
    """Case F04: names in a CSV header."""
    select = (
        'SELECT round(1.5, 0), count(*), 1 AS "two\nlines", 2 AS "say ""hi""",'
        " 'a,\"b\"\nc' AS t FROM latents"
    )
    names = ["round(1.5, 0)", "count_star()", "two\nlines", 'say "hi"', "t"]
    done("sql", example.url, select, "-o", tmp_path / "rows.csv")
    text = (tmp_path / "rows.csv").read_text()
    assert done("sql", example.url, select).out == text
    assert next(csv.reader(text.splitlines(keepends=True))) == names
    assert [*pd.read_csv(tmp_path / "rows.csv")] == names
    assert duckdb.read_csv(str(tmp_path / "rows.csv"), header=True).columns == names
    # astropy takes a name of two lines for a row, also in files of its own
    done("sql", example.url, select.replace("two\nlines", "one"), "-o", tmp_path / "one.csv")
    table = Table.read(tmp_path / "one.csv", format="ascii.csv")
    assert (table.colnames[0], table.colnames[3]) == (names[0], names[3])
    assert table["t"][0] == 'a,"b"\nc'


@pytest.mark.parametrize("suffix", FORMATS)
def test_several_lines_of_sql_are_kept(example, tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    done("sql", example.url, LINES, "-o", path)
    if suffix == ".parquet":
        query = words_of(pq.read_schema(path))["query"]
    elif suffix == ".csv":
        query = json.loads((tmp_path / "rows.csv.provenance.json").read_text())["query"]
    elif suffix == ".ecsv":
        query = astropy_table(path).meta["query"]
    else:
        found = (
            fits.getheader(path, 1)["QUERY"]
            if suffix == ".fits"
            else next(info.value for info in parse(path).resources[0].infos if info.name == "query")
        )
        query = found.encode().decode("unicode_escape")
    assert query == LINES


def test_lists_keep_their_type(cat, tmp_path):
    found = cat.sql(f"SELECT [[{BIG + 1}], [1, 2]] AS wide, [{BIG + 1}, NULL] AS ids, [0.1] AS x")
    write(found.drop(["wide"]), tmp_path / "rows.fits")
    table = astropy_table(tmp_path / "rows.fits")
    assert table["ids"].tolist() == [[BIG + 1, None]]
    assert table["x"].tolist() == [[0.1]]
    write(found, tmp_path / "rows.csv")
    row = next(csv.DictReader((tmp_path / "rows.csv").open()))
    assert json.loads(row["wide"]) == [[BIG + 1], [1, 2]]
    assert json.loads(row["ids"]) == [BIG + 1, None]


@pytest.mark.parametrize(
    ("select", "suffixes"),
    [
        ("unnest([true, NULL])", [".fits"]),
        ("unnest(['nan'::DOUBLE, NULL])", [".fits", ".vot"]),
        ("unnest(['', NULL, 'a'])", [".fits", ".vot", ".ecsv"]),
        ("'naïve'", [".fits"]),
        ("' a '", [".fits", ".ecsv"]),
        ("'x'::BLOB", [".csv", ".fits", ".vot", ".ecsv"]),
        ("{'a': 1}", [".fits", ".vot", ".ecsv"]),
        ("NULL", [".fits", ".vot", ".ecsv"]),
        ("INTERVAL 1 MONTH", FORMATS),
        ("union_value(n := 1)", FORMATS),
        ("DATE 'infinity'", [".csv", ".fits", ".vot", ".ecsv"]),
        ("12345678901234567.89", [".fits", ".vot", ".ecsv"]),
        ("123456789012345678901::HUGEINT", [".fits", ".vot", ".ecsv"]),
        ("unnest([18446744073709551615::UBIGINT, NULL])", [".fits", ".vot"]),
    ],
)
def test_what_a_format_cannot_say_is_refused_and_the_others_take_it(
    cat, tmp_path, select, suffixes
):
    found = cat.sql(f"SELECT 1 AS n, {select} AS odd")
    for suffix in FORMATS:
        path = tmp_path / f"rows{suffix}"
        if suffix not in suffixes:
            assert write(found, path) == found.num_rows
            continue
        with pytest.raises(InvalidInputError) as refused:
            write(found, path)
        assert "odd" in refused.value.message or suffix == ".parquet"
        assert "\n" not in str(refused.value)
        assert not path.exists()


@pytest.mark.parametrize(
    "select",
    [
        "340282366920938463463374607431768211455::UHUGEINT",
        "170141183460469231731687303715884105727::HUGEINT",
        "TIMETZ '12:00:01+02'",
        "'101'::BIT",
        "[{'a': '101'::BIT}]",
    ],
)
def test_what_duckdb_cannot_hand_over_exactly_is_refused(cat, select):
    with pytest.raises(InvalidInputError, match="Cast it"):
        cat.sql(f"SELECT {select} AS x")


@pytest.mark.parametrize("names", [["a", "a"], ["a", "A"], ["a", ""], ["a", " "]])
@pytest.mark.parametrize("suffix", FORMATS)
def test_names_that_readers_take_for_one_are_refused(tmp_path, names, suffix):
    with pytest.raises(InvalidInputError, match="Name each differently"):
        write(pa.table([[1], [2]], names), tmp_path / f"rows{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("error", [errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS])
def test_file_systems_without_hard_links(cat, tmp_path, monkeypatch, suffix, error):
    """Case F12: results on file systems like BeeGFS."""

    def refuse(*_, **__):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", refuse)
    found, path = cat.sql("SELECT 1 AS a"), tmp_path / f"rows{suffix}"
    assert write(found, path) == 1
    before = path.read_bytes()
    with pytest.raises(ConflictError):
        write(cat.sql("SELECT 2 AS a"), path)
    assert path.read_bytes() == before
    assert {*tmp_path.iterdir()} <= {path, tmp_path / "rows.csv.provenance.json"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_appears_meanwhile_is_not_overwritten(cat, tmp_path, suffix, monkeypatch):
    path = tmp_path / f"rows{suffix}"
    link = os.link

    def late(source, target, **options):
        path.write_text("theirs")
        return link(source, target, **options)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(ConflictError):
        write(cat.sql("SELECT 1 AS a"), path)
    assert path.read_text() == "theirs"


@pytest.mark.parametrize("suffix", FORMATS)
def test_sql_replaces_a_file_only_when_allowed(example, tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    path.write_text("mine")
    refused = xpscale("sql", example.url, "SELECT 1 AS a", "-o", path)
    assert (refused.code, path.read_text()) == (ConflictError.exit_code, "mine")
    assert "--overwrite" in refused.err
    done("sql", example.url, "SELECT 1 AS a", "-o", path, "--overwrite")
    assert path.read_bytes() != b"mine"
