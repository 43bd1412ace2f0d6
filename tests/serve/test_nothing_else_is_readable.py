"""A service reads the catalogue and nothing else, and writes nothing, whatever the query says."""

import pytest
import requests

from xpscale.errors import InvalidInputError
from xpscale.serve.adql import parse

SECRET = "/etc/passwd"
STATEMENTS = [
    *("DROP TABLE latents", "DELETE FROM latents", "UPDATE latents SET ra = 1"),
    *("INSERT INTO latents VALUES (1)", "CREATE TABLE x AS SELECT 1", "CREATE VIEW x AS SELECT 1"),
    *("ALTER TABLE latents ADD x INT", "TRUNCATE TABLE latents", "VACUUM", "CHECKPOINT"),
    *("ATTACH '/tmp/x.db'", "DETACH x", "USE x", "SET memory_limit = '1TB'", "RESET ALL"),
    *("COPY latents TO '/tmp/x.csv'", "COPY x FROM '/etc/passwd'", "EXPORT DATABASE '/tmp/x'"),
    *("IMPORT DATABASE '/tmp/x'", "LOAD httpfs", "INSTALL httpfs", "PRAGMA database_list"),
    *("CALL pragma_version()", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1", "DESCRIBE latents"),
    *("SHOW TABLES", "SUMMARIZE latents", "PREPARE a AS SELECT 1", "EXECUTE a", "BEGIN", "COMMIT"),
    *("KILL 1", "GRANT ALL ON latents TO x", "MERGE INTO latents USING x ON 1=1"),
    *("VALUES (1)", "TABLE latents", "FROM latents SELECT 1; DROP TABLE latents"),
    "WITH x AS (DELETE FROM latents RETURNING *) SELECT * FROM x",
    "SELECT 1 INTO x FROM latents",
]
TABLES = [
    *("read_csv('/etc/passwd')", "read_text('/etc/passwd')", "read_blob('/etc/*')"),
    *("read_parquet('/tmp/*.parquet')", "read_json('/etc/passwd')", "glob('/*')"),
    *("'/etc/passwd'", '"/etc/passwd"', '"/tmp/x.parquet"', "'s3://bucket/key'"),
    *("'https://example.org/x.csv'", "parquet_metadata('/tmp/x')", "parquet_scan('/tmp/x')"),
    *("duckdb_settings()", "duckdb_secrets()", "which_secret('x', 's3')", "pragma_user_agent()"),
    *("sqlite_scan('/tmp/x', 't')", "postgres_scan('a','b','c')", "iceberg_scan('x')"),
    *("delta_scan('x')", "query('SELECT 1')", "query_table('latents')", "range(1000000000)"),
    *(
        "generate_series(1, 10)",
        "unnest([1, 2])",
        "information_schema.tables",
        "pg_catalog.pg_class",
    ),
    *("sqlite_master", "duckdb_tables", "main.latents", "temp.latents", "memory.main.latents"),
    *("system.main.duckdb_functions", "LATERAL (SELECT 1) AS x", "latents TABLESAMPLE 10 PERCENT"),
    *("latents PIVOT (sum(ra) FOR flags IN (1))", "(VALUES (1)) AS x", "_wanted", "_uploaded"),
    *("upload_mine", "TAP_UPLOAD.mine", "tap_schema.nothing", '"tap_schema"."../x"'),
]
EXPRESSIONS = [
    *("getenv('HOME')", "current_setting('temp_directory')", "version()", "pg_sleep(100)"),
    *("read_text('/etc/passwd')", "content", "file_exists('/etc/passwd')", "getvariable('x')"),
    *("current_database()", "current_user", "current_schemas(true)", "nextval('x')", "sleep(1)"),
    *("system('id')", "shell('id')", "load_extension('x')", "write_log('x')", "error('x')"),
    *("write_blob('x', '/tmp/x')", "lambda x: 1", "list_transform([1], x -> x)", "{'a': 1}"),
    *("[1, 2, 3]", "MAP {'a': 1}", "ra::VARCHAR::BLOB", "CAST(ra AS BLOB)", "TRY_CAST('a' AS INT)"),
    *("SUM(ra) OVER ()", "COUNT(*) FILTER (WHERE ra > 1)", "?", "$1", ":x", "@x", "#1"),
    *("COLUMNS('.*')", "* EXCLUDE (ra)", "* REPLACE (1 AS ra)", "ra IS DISTINCT FROM dec"),
    *("EXTRACT(YEAR FROM NOW())", "INTERVAL '1' DAY", "ARRAY[1]", "ra ~ 'x'", "ra SIMILAR TO 'x'"),
    *("ra COLLATE nocase", "rowid", "ROW(1, 2)", "GROUPING(ra)", "ra QUALIFY 1 = 1", "x.y.z.w.v"),
    *("repeat('a', 1000000000)", "'a' GLOB 'b'", "from_hex('00')", "sql_auto_complete('S')"),
]
QUERIES = [
    *STATEMENTS,
    *(f"SELECT * FROM {table}" for table in TABLES),
    *(f"SELECT * FROM latents, {table}" for table in TABLES),
    *(f"SELECT ra FROM latents WHERE source_id IN (SELECT 1 FROM {table})" for table in TABLES),
    *(f"SELECT {text} FROM latents" for text in EXPRESSIONS),
    *(f"SELECT ra FROM latents WHERE {text} = 1" for text in EXPRESSIONS),
    *(f"SELECT ra FROM latents ORDER BY {text}" for text in EXPRESSIONS),
    *(f"SELECT ra FROM latents WHERE 1=CONTAINS(POINT(ra,{x}),CIRCLE(1,2,3))" for x in EXPRESSIONS),
]


def test_a_query_that_does_more_than_select_is_refused(service):
    session, answered = requests.Session(), []
    for query in QUERIES:
        reply = session.post(
            f"{service}/tap/sync", {"LANG": "ADQL", "QUERY": query, "MAXREC": 1}, timeout=60
        )
        assert "root:" not in reply.text, query
        if reply.status_code != 400:
            answered.append((reply.status_code, query))
    assert answered == []


@pytest.mark.parametrize("query", STATEMENTS)
def test_a_statement_is_refused_before_the_database_sees_it(query):
    with pytest.raises(InvalidInputError):
        parse(query)


@pytest.mark.parametrize(
    "text", ["a'; DROP TABLE latents; --", 'a" FROM latents; --', "\\'; SELECT 1; --", "a\0b"]
)
def test_text_stays_text(service, text):
    quoted = text.replace("'", "''")
    reply = requests.post(
        f"{service}/tap/sync",
        {"LANG": "ADQL", "QUERY": f"SELECT '{quoted}' AS t", "RESPONSEFORMAT": "json"},
        timeout=60,
    )
    assert reply.status_code == 400 or reply.json()["data"] == [[text]]


@pytest.mark.parametrize("path", ["/site/", "/catalog/", "/../etc/passwd", "/tap/../../etc/passwd"])
def test_no_file_is_served_without_a_site(service, path):
    assert requests.get(f"{service}{path}", timeout=60).status_code == 404
