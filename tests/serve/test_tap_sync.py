"""TAP as pyvo and others use it: queries that the client waits for."""

import io

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import requests
from astropy.io.votable import parse_single_table
from astropy.table import Table
from pyvo.dal import DALQueryError, TAPService

from xpscale.query.catalog import open_catalog


@pytest.fixture(scope="module")
def tap(service):
    return TAPService(f"{service}/tap")


def ask(service, query, **more):
    return requests.post(
        f"{service}/tap/sync", {"LANG": "ADQL", "QUERY": query, **more}, timeout=60
    )


def test_rows_come_with_units_and_meaning(tap, example):
    found = tap.search("SELECT * FROM latents WHERE ra BETWEEN 10 AND 30 OR flags = 2", maxrec=9999)
    rows = example.rows.to_pandas()
    rows = rows[rows.ra.between(10, 30) | (rows["flags"] == 2)].set_index("source_id")
    table = found.to_table()
    rows = rows.loc[table["source_id"]]
    for name in ("ra", "dec", "latent_mean_3", "flags", "reduced_chi2"):
        found_values = (
            table[name].astype(float).filled(np.nan) if name == "reduced_chi2" else table[name]
        )
        np.testing.assert_array_equal(found_values, rows[name])
    assert table["ra"].unit == "deg"
    assert str(table["phot_g_mean_flux"].unit) == "electron / s"
    ra = found.getdesc("ra")
    assert (ra.ucd, ra.description[:15]) == ("pos.eq.ra;meta.main", "Right ascension")
    assert found.query_status == "OK"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT COUNT(*) FROM latents", lambda rows: len(rows)),
        ("SELECT COUNT(DISTINCT flags) AS n FROM latents", lambda rows: rows["flags"].nunique()),
        (
            "SELECT MAX(ra) + 2*MIN(dec) FROM latents",
            lambda rows: rows.ra.max() + 2 * rows.dec.min(),
        ),
        (
            "SELECT COUNT(*) FROM latents AS l JOIN spectra AS s USING (source_id)"
            " WHERE s.scatter[1] > l.latent_mean_0",
            lambda rows: (rows.scatter.str[0] > rows.latent_mean_0).sum(),
        ),
        (
            "SELECT AVG(n) FROM (SELECT flags, COUNT(*) AS n FROM latents GROUP BY flags"
            " HAVING COUNT(*) > 1) AS x",
            lambda rows: rows.groupby("flags").size().mean(),
        ),
        (
            "SELECT COUNT(*) FROM latents WHERE source_id/9007199254740992 = 30",
            lambda rows: (rows.source_id // 9007199254740992 == 30).sum(),
        ),
        (
            "SELECT COUNT(*) FROM latents WHERE BIT_AND(flags, 2) = 2 AND NOT dec > -3e-1",
            lambda rows: ((rows["flags"] & 2 == 2) & ~(rows.dec > -0.3)).sum(),
        ),
        (
            "SELECT COUNT(*) FROM latents WHERE source_id IN"
            " (SELECT source_id FROM spectra WHERE ra < 30)",
            lambda rows: (rows.ra < 30).sum(),
        ),
        ("SELECT LOG10(POWER(10, 2)) + LOG(1) + MOD(7, 4) + TRUNCATE(2.57, 1)", lambda _: 7.5),
        ("SELECT CAST(7 AS DOUBLE PRECISION) / 2 + 7 / 2", lambda _: 6.5),
        (
            "SELECT SUM(GAIA_HEALPIX_INDEX(5, source_id)) FROM latents",
            lambda rows: (rows.source_id // 2**35 // 4**7).sum(),
        ),
        ("SELECT COUNT(*) FROM latents WHERE LOWER('AbC') ILIKE 'aBc' AND 1.5 * 2 = 3", len),
        (
            "WITH near AS (SELECT ra AS x FROM latents WHERE dec > 80) SELECT MEDIAN(x) FROM near",
            lambda rows: rows.ra[rows.dec > 80].median(),
        ),
        (
            "SELECT COUNT(*) FROM (SELECT flags FROM latents UNION SELECT 7 AS f) AS u",
            lambda rows: rows["flags"].nunique() + 1,
        ),
    ],
)
def test_numbers_equal_those_of_pandas(tap, example, query, expected):
    found = tap.search(query).to_table()
    assert len(found) == 1
    assert found[0][0] == pytest.approx(expected(example.rows.to_pandas()))


def test_a_row_is_the_same_in_every_format(service, example):
    query = (
        "SELECT TOP 3 l.source_id, l.ra, l.reduced_chi2, s.reconstruction, 'a<b' AS word"
        " FROM latents AS l JOIN spectra AS s USING (source_id) ORDER BY l.source_id"
    )
    reply = {
        name: ask(service, query, RESPONSEFORMAT=name)
        for name in ("votable", "votable/td", "csv", "tsv", "parquet", "fits", "json")
    }
    assert {name: r.status_code for name, r in reply.items()} == dict.fromkeys(reply, 200)
    body = {name: io.BytesIO(r.content) for name, r in reply.items()}
    expected = parse_single_table(body["votable"]).to_table()
    tables = {
        "votable/td": parse_single_table(body["votable/td"]).to_table(),
        "fits": Table.read(body["fits"], format="fits"),
        "parquet": Table.from_pandas(pq.read_table(body["parquet"]).to_pandas()),
    }
    for name, table in tables.items():
        for column in ("source_id", "ra", "word"):
            assert list(table[column]) == list(expected[column]), (name, column)
        arrays = np.stack([np.asarray(value) for value in table["reconstruction"]])
        np.testing.assert_array_equal(arrays, np.stack(expected["reconstruction"]), err_msg=name)
    for name, comma in (("csv", ","), ("tsv", "\t")):
        options = pyarrow.csv.ParseOptions(delimiter=comma)
        text = pyarrow.csv.read_csv(body[name], parse_options=options)
        assert text["source_id"].to_pylist() == list(expected["source_id"])
        assert text["ra"].to_pylist() == list(expected["ra"])
    data = reply["json"].json()["data"]
    assert [row[0] for row in data] == list(expected["source_id"])
    np.testing.assert_array_equal([row[3] for row in data], np.stack(expected["reconstruction"]))


def test_columns_without_a_name_are_called_by_what_they_are(tap):
    found = tap.search("SELECT scatter[3], s.scatter[3], 1 + 1 FROM spectra AS s", maxrec=1)
    assert found.to_table().colnames == ["scatter_3", "scatter_3_2", "column"]


def test_missing_values_stay_missing(service):
    query = (
        "SELECT l.flags, CASE WHEN l.flags = 1 THEN l.flags END AS some,"
        " CASE WHEN l.flags = 1 THEN 'x' END AS word, s.scatter"
        " FROM (SELECT TOP 50 * FROM latents) AS l LEFT JOIN"
        " (SELECT source_id, scatter FROM spectra WHERE ra < 0) AS s ON l.source_id = s.source_id"
    )
    for form in ("votable", "votable/td"):
        reply = ask(service, query, RESPONSEFORMAT=form)
        table = parse_single_table(io.BytesIO(reply.content)).to_table()
        np.testing.assert_array_equal(np.ma.getmaskarray(table["some"]), table["flags"] != 1)
        assert np.isnan(np.ma.filled(table["scatter"], np.nan)).all()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT rah FROM latents", "'rah'.*mean 'ra'"),
        ("SELECT l.latent_mean_99 FROM latents AS l", "'latent_mean_99'.*mean 'latent_mean_"),
        ("SELECT x.ra FROM latents AS l", "x"),
        ("SELECT ra FROM latent", "'latent'.*mean latents"),
        ("SELECT ra FROM TAP_UPLOAD.mine", "tap_upload.mine"),
        ("SELECT ra FROM latents, spectra", "'ra' is a column of latents and spectra"),
        ("SELECT ra FRM latents WHERE", "line 1, column 15"),
        ("SELECT ra\nFROM latents WHERE ra = = 3", "line 2, column 25"),
        ("SELECT SQR(ra) FROM latents", "SQR.*Did you mean SQRT"),
        ("SELECT SQRT(ra, dec) FROM latents", "SQRT takes 1 argument"),
        ("SELECT ra FROM latents; SELECT dec FROM latents", "2 statements"),
        ("DROP TABLE latents", "DROP is not allowed"),
        ("SELECT 'a FROM latents", "quote"),
        ("SELECT 1/0 FROM latents", "ivision by zero[^.]*. Correct it, or leave out"),
        ("SELECT CAST(source_id AS SMALLINT) FROM latents", "[Cc]ast[^.]*. Correct it, or leave"),
        ("SELECT * FROM latents WHERE 1=CONTAINS(POINT(ra,dec), CIRCLE(10, 95, 1))", "off the sky"),
        ("SELECT * FROM latents WHERE 1=CONTAINS(POINT(ra,dec), CIRCLE(10, 9, -1))", "radius"),
        ("SELECT * FROM latents WHERE 1=CONTAINS(POINT('GALACTIC',ra,dec), CIRCLE(1,2,3))", "ICRS"),
        ("SELECT * FROM latents WHERE 1=CONTAINS(ra, CIRCLE(1,2,3))", "no shape"),
        ("SELECT ra FROM latents WHERE ra = 'abc'", "abc"),
        ("SELECT SUM(ra) FROM latents WHERE SUM(ra) > 3", "SUM|aggregate"),
        ("SELECT " + "(" * 3000 + "1" + ")" * 3000, "nested"),
    ],
)
def test_a_wrong_query_gets_one_clear_line(tap, query, words):
    with pytest.raises(DALQueryError, match=f"(?s){words}") as error:
        tap.search(query)
    assert "\n" not in str(error.value).strip()
    assert "Traceback" not in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "LANG"),
        ({"LANG": "ADQL"}, "QUERY"),
        ({"LANG": "PQL", "QUERY": "SELECT 1"}, "LANG"),
        ({"LANG": "ADQL", "QUERY": "SELECT 1", "MAXREC": "-1"}, "MAXREC"),
        ({"LANG": "ADQL", "QUERY": "SELECT 1", "MAXREC": "many"}, "MAXREC"),
        ({"LANG": "ADQL", "QUERY": "SELECT 1", "RESPONSEFORMAT": "xls"}, "xls"),
        ({"LANG": "ADQL", "QUERY": "SELECT 1", "REQUEST": "drop"}, "REQUEST"),
        ({"LANG": "ADQL", "QUERY": "SELECT 1", "UPLOAD": "a,http://x/y"}, "inside the request"),
        ({"LANG": "ADQL", "QUERY": "SELECT 1", "UPLOAD": "a b"}, "UPLOAD"),
    ],
)
def test_a_wrong_parameter_is_an_error_of_dali(service, parameters, words):
    reply = requests.post(f"{service}/tap/sync", parameters, timeout=60)
    assert reply.status_code == 400
    assert reply.headers["content-type"].startswith("application/x-votable+xml")
    assert 'value="ERROR"' in reply.text
    assert words in reply.text


def test_overflow_is_said(tap, service):
    assert tap.search("SELECT ra FROM latents", maxrec=5).query_status == "OVERFLOW"
    assert len(tap.search("SELECT ra FROM latents", maxrec=5)) == 5
    assert tap.search("SELECT TOP 5 ra FROM latents", maxrec=5).query_status == "OK"
    nothing = parse_single_table(
        io.BytesIO(ask(service, "SELECT ra FROM latents", MAXREC=0).content)
    )
    assert len(nothing.array) == 0
    assert nothing.fields[0].unit == "deg"


def test_labels_are_a_table(tap, labelled):
    query = (
        "SELECT l.source_id, t.teff, t.teff_error FROM latents AS l JOIN labels AS t ON"
        " l.source_id = t.source_id WHERE 1 = CONTAINS(POINT(l.ra, l.dec), CIRCLE(0, 0, 2))"
        " AND t.teff_flags < 4 ORDER BY t.teff"
    )
    found = tap.search(query).to_table()
    rows = open_catalog(labelled).cone(0, 0, 2).columns("source_id", "teff", "teff_error")
    assert {*found["source_id"]} == {*rows["source_id"]} != set()
    assert sorted(found["teff"]) == sorted(rows["teff"])
    assert found["teff_error"].description == "Error of teff"


def test_names_of_parameters_have_no_case(service):
    reply = requests.get(
        f"{service}/tap/sync",
        {"lang": "adql", "query": "SELECT TOP 1 ra FROM latents", "Format": "csv"},
        timeout=60,
    )
    assert reply.text.splitlines()[0] == '"ra"'


def test_the_tables_describe_themselves(tap, service, example):
    assert set(tap.tables.keys()) >= {"latents", "spectra", "labels", "TAP_SCHEMA.columns"}
    for table in ("spectra", "labels"):
        known = f"SELECT * FROM TAP_SCHEMA.columns WHERE table_name = '{table}'"
        columns = tap.search(known).to_table()
        for column in tap.tables[table].columns:
            row = columns[columns["column_name"] == column.name][0]
            assert (row["ucd"], row["description"]) == (column.ucd, column.description)
            assert row["datatype"] == column.datatype.content
    one = requests.get(f"{service}/tap/tables/latents", timeout=60).text
    assert "latent_mean_0" in one
    assert "TAP_SCHEMA" not in one
    assert requests.get(f"{service}/tap/tables/nothing", timeout=60).status_code == 404
