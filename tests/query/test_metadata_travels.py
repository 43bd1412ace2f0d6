"""Units, UCDs, descriptions, and where rows come from, arrive in every format that can say them."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table

from xpscale import flags_in_words
from xpscale.errors import InvalidInputError
from xpscale.flags import Flag
from xpscale.query.catalog import Catalog
from xpscale.query.flag_words import WORDS_COLUMN
from xpscale.query.write import write
from xpscale.release import PAPER

COLUMNS = ("source_id", "ra", "phot_g_mean_flux", "latent_mean_0", "kl", "flags")


def in_fits(path: Path) -> tuple[dict, dict]:
    header = fits.open(path)[1].header
    found = {}
    for number, name in enumerate(COLUMNS, start=1):
        assert header[f"TTYPE{number}"] == name
        unit = header.get(f"TUNIT{number}", "")
        found[name] = unit, header[f"TUCD{number}"], header[f"TCOMM{number}"]
    return found, {"query": header["QUERY"], "reference": header["REFERENC"], **header}


def in_votable(path: Path) -> tuple[dict, dict]:
    file = parse(str(path))
    table = file.get_first_table()
    found = {
        f.name: (str(f.unit or ""), f.ucd, " ".join(f.description.split())) for f in table.fields
    }
    return found, {info.name: info.value for info in file.resources[0].infos}


def in_ecsv(path: Path) -> tuple[dict, dict]:
    table = Table.read(path, format="ascii.ecsv")
    found = {
        name: (str(table[name].unit or ""), table[name].meta["ucd"], table[name].description)
        for name in table.colnames
    }
    return found, table.meta


def in_parquet(path: Path) -> tuple[dict, dict]:
    schema = pq.read_schema(path)
    found = {
        field.name: tuple(field.metadata[key].decode() for key in (b"unit", b"ucd", b"description"))
        for field in schema
    }
    words = {
        key.decode().removeprefix("xpscale."): v.decode() for key, v in schema.metadata.items()
    }
    return found, words


@pytest.mark.parametrize(
    ("suffix", "read"),
    [(".fits", in_fits), (".vot", in_votable), (".ecsv", in_ecsv), (".parquet", in_parquet)],
)
def test_columns_and_origin(cat: Catalog, tmp_path: Path, suffix, read):
    path = tmp_path / f"a{suffix}"
    rows = cat.where("dec > 0").columns(*COLUMNS)
    write(rows, path)
    found, words = read(path)
    for name in COLUMNS:
        column = cat.known_columns[name]
        unit, ucd, description = found[name]
        assert (ucd, description) == (column.ucd, column.description)
        assert (unit != "") == (column.unit != "")
    assert found["ra"][0] == "deg"
    words = {key.lower(): str(value) for key, value in words.items()}
    assert words["query"] == rows.query
    assert words["snapshot"] == "1"
    assert words["model_id"] == cat.model_id
    assert words["credit"] == "Gaia data: ESA/Gaia/DPAC"
    assert PAPER in words["reference"]
    assert "10.1051/0004-6361/202243940" in words["reference"]


def test_csv_has_them_in_the_file_beside_it(cat: Catalog, tmp_path: Path):
    write(cat.where("dec > 0").columns(*COLUMNS), tmp_path / "a.csv")
    words = json.loads((tmp_path / "a.csv.provenance.json").read_text())
    assert PAPER in words["reference"]


@pytest.mark.parametrize("suffix", [".fits", ".vot", ".ecsv", ".parquet", ".csv"])
def test_flags_in_words(cat: Catalog, tmp_path: Path, suffix):
    rows = flags_in_words(cat.columns("source_id", "flags"))
    table = rows.to_table()
    flags, words = table["flags"].to_numpy(), np.array(table[WORDS_COLUMN].to_pylist())
    assert len(rows) == cat.n_rows
    for bit in Flag:
        is_named = np.array([bit.words in text.split("; ") for text in words])
        assert np.array_equal((flags & bit) != 0, is_named)
    assert np.array_equal(words == "good", (flags & sum(Flag)) == 0)
    assert rows.head(3).to_table().num_rows == 3
    assert write(rows, tmp_path / f"a{suffix}") == cat.n_rows


def test_rows_without_flags_have_no_words(cat: Catalog):
    with pytest.raises(InvalidInputError, match="no column flags"):
        flags_in_words(cat.columns("ra"))
    with pytest.raises(InvalidInputError, match="already a column"):
        flags_in_words(flags_in_words(cat.columns("flags")))
