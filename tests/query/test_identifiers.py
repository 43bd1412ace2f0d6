"""Identifiers as people have them: columns of every library and files of every kind."""

import gzip

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Column, MaskedColumn, Table

from tests.commands import done, xpscale
from xpscale.errors import InvalidInputError
from xpscale.query.identifiers import parse_ids, read_ids
from xpscale.release import DR3

A, B, C = 4295806720, 6917521541514092417, 2**63 - 1  # the last two are no float64
IDS = [B, A, C, A]
ONCE = [B, A, C]

COLUMNS = {
    "list": IDS,
    "tuple of numpy": (*map(np.int64, IDS),),
    "generator": (i for i in IDS),
    "text": [str(i) for i in IDS],
    "names": [f"Gaia DR3 {i}" for i in IDS],
    "other names": [f"gaia_dr3_{B}", f"DR3 {A}", f'"{C}"', f" '{A}' "],
    "mixed": [B, str(A), np.uint64(C), None],
    "numpy": np.array(IDS),
    "unsigned": np.array(IDS, np.uint64),
    "big endian": np.array(IDS, ">i8"),
    "numpy text": np.array(IDS).astype(str),
    "numpy bytes": np.array(IDS).astype("S20"),
    "numpy objects": np.array(IDS, object),
    "masked": np.ma.array([*IDS, 5], mask=[0, 0, 0, 0, 1]),
    "pandas": pd.Series(IDS),
    "pandas index": pd.Index(IDS),
    "pandas Int64": pd.Series([*IDS, None], dtype="Int64"),
    "pandas text": pd.Series([str(i) for i in IDS]),
    "pandas arrow": pd.Series([*IDS, None], dtype="int64[pyarrow]"),
    "pandas objects": pd.Series([*IDS, None], dtype=object),
    "pandas table": pd.DataFrame({"ra": 1.0, "source_id": IDS}),
    "polars": pl.Series(IDS),
    "polars missing": pl.Series([*IDS, None]),
    "polars text": pl.Series([str(i) for i in IDS]),
    "polars table": pl.DataFrame({"ra": [1.0] * 4, "SOURCE_ID": IDS}),
    "arrow": pa.array([*IDS, None]),
    "arrow chunks": pa.chunked_array([IDS[:2], IDS[2:]]),
    "arrow text": pa.array([str(i) for i in IDS]).dictionary_encode(),
    "arrow decimal": pa.array(IDS).cast(pa.decimal128(38)),
    "arrow table": pa.table({"ra": [1.0] * 4, "source_id": IDS}),
    "astropy": Column(IDS),
    "astropy masked": MaskedColumn([*IDS, 5], mask=[0, 0, 0, 0, 1]),
    "astropy text": Column([f"Gaia DR3 {i}" for i in IDS]),
    "astropy table": Table({"RA": [1.0] * 4, "Source": IDS}),
    "astropy row names": Table({"RA": [1.0] * 4, "designation": [f"Gaia DR3 {i}" for i in IDS]}),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_of_every_library(kind):
    found = read_ids(COLUMNS[kind], DR3)
    assert (found.dtype, found.tolist()) == (np.int64, ONCE)


def test_blanks_and_commas():
    expected = [4295806720, 34361129088]
    for text in (
        "4295806720 34361129088",
        "4295806720, Gaia DR3 34361129088",
        "4295806720\n34361129088 ",
    ):
        assert read_ids(text, DR3).tolist() == expected


def test_single_values_and_none():
    assert read_ids(B, DR3).tolist() == read_ids(np.int64(B), DR3).tolist() == [B]
    assert read_ids(f"Gaia DR3 {B}", DR3).tolist() == read_ids(np.array(B), DR3).tolist() == [B]
    for nothing in ([], np.array([]), pa.array([], pa.int64()), pd.Series([], dtype="Int64")):
        assert read_ids(nothing, DR3).tolist() == []


def test_missing_values_are_told(caplog):
    assert read_ids(pd.Series([B, None, None], dtype="Int64"), DR3).tolist() == [B]
    assert "2 of 3 entries are missing" in caplog.text


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([1.5e18]), "double cannot hold a source_id exactly"),
        (pd.Series([B, None]).astype(float), "double cannot hold"),
        (pl.Series([1.0]), "double cannot hold"),
        (pa.array([1.0], pa.float32()), "float cannot hold"),
        (Column([1.0]), "double cannot hold"),
        (pa.array([True]), "entry 1: 'True'"),
        (pl.Series([True]), "entry 1: 'True'"),
        (np.array([True]), "entry 1: 'True'"),
        (pd.Series(pd.to_datetime(["2020-01-01"])), "entry 1: '2020-01-01 00:00:00'"),
        ([A, 5.0], "entry 2: '5.0' .* a float"),
        ([A, True], "entry 2: 'True'"),
        ([A, -A], f"entry 2: '-{A}' is no Gaia source_id"),
        (np.array([A, 0]), "entry 2: '0' .* not from 1 to"),
        (np.array([A, 2**63], np.uint64), "entry 2: .* not from 1 to"),
        ([2**63], "entry 1: .* not from 1 to"),
        (pa.array([A, -1]), "entry 2: '-1'"),
        (["4.29580672E+09"], "entry 1: .* written as a float, which loses digits"),
        (["4295806720.0"], "written as a float"),
        ([f"Gaia DR2 {A}"], "entry 1: .* an identifier of Gaia DR2, not of Gaia DR3"),
        (["HD 209458"], "entry 1: 'HD 209458' is no Gaia source_id"),
        (np.array([[A, B]]), r"shape \(1, 2\)"),
        (pd.DataFrame({"ra": [1.0], "dec": [1.0]}), "no column source_id; its columns are ra, dec"),
        (pd.DataFrame({"ra": [1.0], "dr2_source_id": [A]}), "no column source_id"),
    ],
)  # fmt: skip
def test_what_is_no_identifier_is_named_with_its_reason(values, reason):
    with pytest.raises(InvalidInputError, match=reason) as refused:
        read_ids(values, DR3)
    assert refused.value.remedy
    assert "\n" not in str(refused.value)


def text(ids, form="{}", head="", end="\n", encoding="utf-8"):
    return (head + "".join(form.format(i) + end for i in ids)).encode(encoding)


TEXTS = {
    "plain": text(IDS),
    "no last line end": text(IDS).rstrip(),
    "windows": text(IDS, end="\r\n"),
    "byte-order mark": text(IDS, encoding="utf-8-sig"),
    "utf-16": text(IDS, encoding="utf-16"),
    "header": text(IDS, head="source_id\n"),
    "marked header": text(IDS, head="source_id\n", encoding="utf-8-sig"),
    "quoted header": text(IDS, '"{}"', '"SOURCE_ID"\n'),
    "header with a number": text(IDS, head="GaiaDR3\n"),
    "comments": text(IDS, "{}  # it", "# stars\n\n"),
    "names": text(IDS, "Gaia DR3 {}"),
    "trailing commas": text(IDS, "{},"),
    "csv": text(IDS, "1.5,{},x", "ra,source_id,note\n"),
    "csv with quotes": text(IDS, '"a, b","{}"', '"note","source_id"\n'),
    "csv with blanks": text(IDS, "1.5, {}", "ra, source_id\n", encoding="utf-8-sig"),
    "csv with gaps": text([*IDS, ""], "1.5,{}", "ra,source_id\n"),
    "semicolons": text(IDS, "1,5;{}", "ra;Source\n"),
    "tabs": text(IDS, "1.5\tGaia DR3 {}", "ra\tDESIGNATION\n"),
    "index of pandas": text(IDS, "0,{}", ",source_id\n"),
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("packed", [False, True])
def test_files_of_text(tmp_path, kind, packed):
    file = tmp_path / "ids"
    file.write_bytes(gzip.compress(TEXTS[kind]) if packed else TEXTS[kind])
    assert parse_ids(f"@{file}", DR3).tolist() == read_ids(file, DR3).tolist() == ONCE


@pytest.mark.parametrize("form", ["parquet", "fits", "votable", "ascii.ecsv", "csv"])
@pytest.mark.parametrize("kind", ["numbers", "text", "missing"])
def test_files_of_tables(tmp_path, form, kind):
    file = tmp_path / "ids.dat"
    ids = {
        "numbers": Column(IDS),
        "text": Column([f"Gaia DR3 {i}" for i in IDS]),
        "missing": MaskedColumn([*IDS, 5], mask=[0, 0, 0, 0, 1]),
    }[kind]
    table = Table({"ra": np.ones(len(ids)), "source_id": ids})
    if form == "parquet":
        pq.write_table(pa.table({"source_id": ids.tolist(), "x": ids.tolist()}), file)
    else:
        table.write(file, format=form)
    assert parse_ids(f"@{file}", DR3).tolist() == ONCE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"1,45.0\n", "line 1 has 2 fields, and no header"),
        (b"ra,dec\n1,2\n", "no column source_id; its columns are ra, dec"),
        (b"source_id,ra\n4.3E+18,1\n", "line 2: '4.3E.18' .* written as a float"),
        (b"source_id\n12345\n1x345\n", "line 3: '1x345' is no Gaia source_id"),
        (b"PAR1 and no more", "cannot be read"),
        (b"SIMPLE  = broken", "cannot be read"),
        (b"\x00\x01\xff", "not a text file"),
        (b"source_id\n", "holds no source_id"),
        (b"", "holds no source_id"),
        (b"\x1f\x8bbroken", "cannot be read"),
    ],
)
def test_files_that_hold_none_are_refused_with_the_reason(tmp_path, content, reason):
    file = tmp_path / "ids.csv"
    file.write_bytes(content)
    with pytest.raises(InvalidInputError, match=reason) as refused:
        parse_ids(f"@{file}", DR3)
    assert str(file) in str(refused.value)


def test_the_commands_and_the_catalogue_take_them(example, cat, tmp_path, caplog):
    ids = example.rows["source_id"].to_pylist()[:3]
    pq.write_table(pa.table({"source_id": [*ids, None], "n": [1, 2, 3, 4]}), tmp_path / "ids.pq")
    found = done("query", example.url, "--ids", f"@{tmp_path / 'ids.pq'}", "--columns", "source_id")
    assert found.out.split() == ['"source_id"', *map(str, ids)]
    assert "1 of 4 entries are missing" in caplog.text
    assert cat.at(tmp_path / "ids.pq").to_table()["source_id"].to_pylist() == ids
    assert cat.at(pl.Series(ids)).count() == cat.at(pd.Series(ids, dtype="Int64")).count() == 3
    (tmp_path / "one.txt").write_text(f"source_id\n{ids[0]}\n", encoding="utf-8-sig")
    done("spectrum", example.url, f"@{tmp_path / 'one.txt'}")
    done("spectrum", example.url, f"Gaia DR3 {ids[0]}")
    both = xpscale("spectrum", example.url, f"{ids[0]},{ids[1]}")
    assert (both.code, "holds 2 identifiers" in both.err) == (2, True)


@pytest.mark.parametrize(
    ("columns", "code", "says"),
    [
        ({"source_id": [A, None], "x": [1.0, 2.0]}, 2, "no row has a value"),
        ({"source_id": [1.5], "x": [1.0]}, 2, "no column source_id of numbers and x"),
        ({"source_id": ["HD 1"], "x": [1.0]}, 2, "no column source_id of numbers and x"),
        ({"source_id": [A]}, 2, "no column source_id of numbers and x"),
        (None, 3, "there is no file"),
    ],
)
def test_labels_of_a_figure_that_cannot_be_used_are_refused(example, tmp_path, columns, code, says):
    if columns:
        pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
    options = ("--labels", tmp_path / "labels.parquet", "--color", "x", "-o", tmp_path / "x.png")
    result = xpscale("plot", "latents", example.url, *options)
    assert (result.code, says in result.err) == (code, True), result
