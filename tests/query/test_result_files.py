"""Every type that DuckDB returns, in every kind of file: it comes back exactly, or is refused in
one line and nothing is written.
"""

import contextlib
import csv
import datetime
import json
import warnings

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xpscale.errors import InvalidInputError
from xpscale.query.write import write

GENTLE = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ASTROPY = {".fits": "fits", ".vot": "votable", ".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}

texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"]) | st.sampled_from(" ,\"'\n\r#;[]é😀"),
    max_size=5,
)
integers = {
    kind: st.integers(np.iinfo(kind.to_pandas_dtype()).min, np.iinfo(kind.to_pandas_dtype()).max)
    for kind in (
        pa.int8(), pa.int16(), pa.int32(), pa.int64(),
        pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
    )
}  # fmt: skip
scalars = {
    **integers,
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.string(): texts,
    pa.dictionary(pa.uint8(), pa.string()): st.sampled_from(["a", "b", "é"]),
    pa.decimal128(38, 0): st.decimals(-(10**20), 10**20, places=0),
    pa.decimal128(18, 2): st.decimals(-(10**15), 10**15, places=2),
    pa.date32(): st.dates(),
    pa.time64("us"): st.times(),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("us", "UTC"): st.datetimes(),
    pa.binary(): st.binary(max_size=3),
}


@st.composite
def columns(draw):
    """A column of any type, often with NULL, sometimes of lists, sometimes of no rows."""
    kind = draw(st.sampled_from([*scalars]))
    values = scalars[kind] | st.none() if draw(st.booleans()) else scalars[kind]
    shape = draw(st.sampled_from(["scalar", "scalar", "list", "array", "struct", "map"]))
    n = draw(st.integers(0, 4))
    if shape == "list":
        values, kind = st.lists(values, max_size=3), pa.list_(kind)
    elif shape == "array":
        values, kind = st.lists(values, min_size=2, max_size=2), pa.list_(kind, 2)
    elif shape == "struct":
        values, kind = st.fixed_dictionaries({"p": values}), pa.struct({"p": kind})
    elif shape == "map":
        values, kind = st.lists(st.tuples(texts, values), max_size=2), pa.map_(pa.string(), kind)
    if shape != "scalar" and draw(st.booleans()):
        values |= st.none()
    return pa.array(draw(st.lists(values, min_size=n, max_size=n)), kind)


names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(str.strip) | st.sampled_from(
    ["round(ra, 0)", "two\nlines", 'say "hi"', "naïve", "a'b", "1", "#", "x" * 80]
)


def plain(value, kind):
    """A value as Python has it, whatever file or object it comes from; what readers cannot tell
    from missing (NaN, empty text) is missing.
    """
    if value is None or value is np.ma.masked:
        return None
    if pa.types.is_map(kind):
        return [[key, plain(item, kind.item_type)] for key, item in value]
    if pa.types.is_struct(kind):
        return {"p": plain(value["p"], kind.field(0).type)}
    if pa.types.is_nested(kind):
        return [plain(item, kind.value_type) for item in value]
    value = value.decode() if isinstance(value, bytes) and not pa.types.is_binary(kind) else value
    if pa.types.is_temporal(kind) and isinstance(value, str) and value:
        of = {pa.date32(): datetime.date, pa.time64("us"): datetime.time}
        value = of.get(kind, datetime.datetime).fromisoformat(value)
    if pa.types.is_boolean(kind):
        return bool(value)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        value = np.float32(value) if kind == pa.float32() else float(value)
    return None if value == "" or value != value else value


def of_text(text, kind):
    """The value that the text of a CSV cell means."""
    if text == "":
        return None
    if pa.types.is_nested(kind):
        return plain(json.loads(text), kind)
    if pa.types.is_boolean(kind):
        return {"true": True, "false": False}[text]
    return plain(int(text) if pa.types.is_integer(kind) else text, kind)


def values_of(column):
    return [plain(value, column.type) for value in column.to_pylist()]


def written(table, path):
    """Whether it was written; if it was not, then one line says why and nothing is there."""
    with contextlib.suppress(InvalidInputError), one_line():
        assert write(table, path, {"query": "SELECT é -- one\nFROM two"}) == table.num_rows
        return True
    assert not list(path.parent.iterdir())
    return False


@contextlib.contextmanager
def one_line():
    try:
        yield
    except InvalidInputError as error:
        if "\n" in str(error):
            raise AssertionError(str(error)) from error
        raise


@pytest.fixture
def folder(tmp_path_factory):
    return lambda: tmp_path_factory.mktemp("rows")


@GENTLE
@given(column=columns(), name=names, suffix=st.sampled_from([".fits", ".vot", ".ecsv"]))
def test_astropy_and_pandas_read_what_was_written(folder, column, name, suffix):
    path = folder() / f"rows{suffix}"
    if not written(pa.table({"n": np.arange(len(column)), name: column}), path):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"use_names_over_ids": True} if suffix == ".vot" else {}
        table = Table.read(path, format=ASTROPY[suffix], **options)
    assert table.colnames == ["n", name]
    back = [item.tolist() if hasattr(item, "tolist") else item for item in table[name]]
    assert [plain(item, column.type) for item in back] == values_of(column)
    if pa.types.is_integer(column.type):
        frame = table.to_pandas(use_nullable_int=True)
        back = [None if item is pd.NA else int(item) for item in frame[name]]
        assert back == column.to_pylist()


@GENTLE
@given(column=columns(), name=names)
def test_parquet_is_the_same_for_pyarrow_pandas_and_duckdb(folder, column, name):
    path = folder() / "rows.parquet"
    assert written(pa.table({"n_": np.arange(len(column)), name: column}), path)
    back = pq.read_table(path)
    assert back.schema.field(1).type == column.type
    assert values_of(back.column(1)) == values_of(column)
    frame = pd.read_parquet(path, dtype_backend="pyarrow")
    assert values_of(pa.chunked_array(pa.array(frame[name])).cast(column.type)) == values_of(column)
    in_duckdb = duckdb.sql(f"SELECT * FROM read_parquet('{path}')").to_arrow_table()
    assert in_duckdb.column_names[1] == name
    assert values_of(in_duckdb.column(1).cast(column.type)) == values_of(column)


@GENTLE
@given(column=columns(), name=names)
def test_csv_is_the_same_for_python_pandas_and_duckdb(folder, column, name):
    path = folder() / "rows.csv"
    if not written(pa.table({"n_": np.arange(len(column)), name: column}), path):
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = [*csv.reader(file)]
    assert rows[0] == ["n_", name]
    assert [of_text(text, column.type) for _, text in rows[1:]] == values_of(column)
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, lineterminator="\n")
    assert [*frame[name]] == [text for _, text in rows[1:]]
    if b"\r" not in path.read_bytes():  # DuckDB takes it for an end of lines, quoted or not
        options = {"header": True, "sep": ",", "quotechar": '"', "escapechar": '"'}
        in_duckdb = duckdb.read_csv(str(path), all_varchar=True, **options)
        back = [text or "" for _, text in in_duckdb.fetchall()]
        assert back == [text for _, text in rows[1:]]
