"""Arrays in text, as people's CSV and Parquet files have them. Case F21."""

import csv

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.commands import done, xpscale
from tests.support.datalink_files import source_table_bytes
from tests.support.parquet_files import spectra_table
from xpscale.errors import InvalidInputError
from xpscale.printed_arrays import printed_numbers
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe

ROWS = Universe(4, seed=2).spectra()
PRINTS = {
    "str": str,
    "repr": repr,
    "items": lambda values: str(list(values)),
    "floats": lambda values: str(values.tolist()),
    "tuple": lambda values: str(tuple(values.tolist())),
    "braces": lambda values: "{" + ",".join(map(str, values.tolist())) + "}",
    "semicolons": lambda values: ";".join(map(str, values.tolist())),
    "blanks": lambda values: " ".join(map(str, values.tolist())),
}
COLUMNS = ("bp_coefficients", "bp_coefficient_errors", "rp_coefficients", "rp_coefficient_errors")


def arrays(i):
    c, e = ROWS.coefficients[i], ROWS.coefficient_errors[i]
    return c[:55], e[:55], c[55:], e[55:]


@given(values=st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=60))
@pytest.mark.parametrize("form", PRINTS)
def test_numbers_come_back(form, values):
    array = np.array(values, np.float32)
    with np.printoptions(threshold=10**6, floatmode="unique"):
        found = printed_numbers(PRINTS[form](array), "x").astype(np.float32)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("text", ["", "null", " NaN ", "--", "None"])
def test_nothing_is_no_array(text):
    assert len(printed_numbers(text, "x")) == 0


def test_missing_elements_keep_their_places():
    found = printed_numbers("[1, null, , nan, --, 3]", "x")
    assert np.isnan(found).tolist() == [False, True, True, True, True, False]


@pytest.mark.parametrize(
    ("text", "says", "remedy"),
    [
        ("[1.0 2.0 ... 9.0]", "printed in short", "Parquet or FITS"),
        ("[1.0, 2.0, …, 9.0]", "printed in short", "Parquet or FITS"),
        ("(1.0, 2.0, 3", "does not end", "Fetch it again"),
        ("[1, x, 3]", "no array of numbers", "Parquet or FITS"),
        ("[[1, 2], [3, 4]]", "no array of numbers", "Parquet or FITS"),
        ("[1 2, 3]", "no array of numbers", "Parquet or FITS"),
    ],
)
def test_what_is_no_array_is_named_for_what_it_is(text, says, remedy):
    with pytest.raises(InvalidInputError, match=says) as error:
        printed_numbers(text, "file: row 1")
    assert remedy in error.value.remedy
    assert error.value.message.startswith("file: row 1")


@pytest.mark.parametrize("form", PRINTS)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_with_printed_arrays_are_ingested(kind, form, tmp_path):
    (tmp_path / "s.parquet").write_bytes(source_table_bytes(ROWS, "parquet"))
    with np.printoptions(threshold=10**6, floatmode="unique"):
        texts = [[PRINTS[form](values) for values in arrays(i)] for i in range(len(ROWS))]
    path = tmp_path / f"x.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["source_id", *COLUMNS])
            writer.writerows([i, *row] for i, row in zip(ROWS.source_id, texts, strict=True))
    else:
        table = pd.DataFrame(texts, columns=list(COLUMNS)).assign(source_id=ROWS.source_id)
        table.to_parquet(path)
    done("ingest", path, tmp_path / "o", "--sources", tmp_path / "s.parquet", "--workers", 0)
    store = open_store(str(tmp_path / "o"))
    found = {i: c for p in store.partitions for i, c in _rows(store.read(p))}
    for i, source_id in enumerate(ROWS.source_id.tolist()):
        np.testing.assert_array_equal(found[source_id], ROWS.coefficients[i])


def _rows(batch):
    return zip(batch.source_id.tolist(), batch.coefficients, strict=True)


def test_text_columns_of_parquet_with_positions(tmp_path):
    table = spectra_table(ROWS, "list")
    for name in COLUMNS:
        texts = [str(tuple(values)) for values in table[name].to_pylist()]
        table = table.set_column(table.column_names.index(name), name, pa.array(texts))
    pq.write_table(table, tmp_path / "x.parquet")
    done("ingest", tmp_path / "x.parquet", tmp_path / "o", "--workers", 0)
    assert open_store(str(tmp_path / "o")).n_rows == len(ROWS)


def test_a_shortened_print_is_not_called_damaged(tmp_path):
    (tmp_path / "s.parquet").write_bytes(source_table_bytes(ROWS, "parquet"))
    with np.printoptions(threshold=10):
        row = ",".join(f'"{values}"' for values in arrays(0))
    (tmp_path / "x.csv").write_text(f"source_id,{','.join(COLUMNS)}\n{ROWS.source_id[0]},{row}\n")
    refused = xpscale(
        "ingest", tmp_path / "x.csv", tmp_path / "o", "--sources", tmp_path / "s.parquet",
        "--workers", 0,
    )  # fmt: skip
    assert refused.code == 2
    assert "printed in short" in refused.err
    assert "etch it again" not in refused.err.splitlines()[-2]
