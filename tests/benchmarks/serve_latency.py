"""Latency of ``xpscale serve`` on loopback, under one and eight clients, and of plain DuckDB.

``python -m tests.benchmarks serve_latency CATALOG`` prints a table in Markdown.
"""

import re
import statistics
import sys
import threading
import time
from pathlib import Path

import duckdb
import requests

from tests.serve.conftest import serving
from xpscale.query.catalog import open_catalog

SECONDS, MOST = 4.0, 200
CONE = "1=CONTAINS(POINT('ICRS',ra,dec),CIRCLE('ICRS',{ra},{dec},1))"
QUERIES = {
    "cone of 1 degree, 3 columns": f"SELECT source_id, ra, dec FROM latents WHERE {CONE}",
    "count": "SELECT COUNT(*) AS n FROM latents",
    "count with a condition": "SELECT COUNT(*) AS n FROM latents WHERE reduced_chi2 < 1",
}
PLAIN = {
    "cone of 1 degree, 3 columns": (
        "SELECT source_id, ra, dec FROM rows WHERE pow(sin(radians(dec - {dec}) / 2), 2) +"
        " cos(radians(dec)) * cos(radians({dec})) * pow(sin(radians(ra - {ra}) / 2), 2)"
        " <= pow(sin(radians(1) / 2), 2)"
    ),
    "count": "SELECT count(*) FROM rows",
    "count with a condition": "SELECT count(*) FROM rows WHERE reduced_chi2 < 1",
}


def measured(call, clients):
    """Median and 90 % quantile of some calls by several clients at once, seconds."""
    call()
    times, until = [], time.perf_counter() + SECONDS

    def client():
        while time.perf_counter() < until and len(times) < MOST:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return statistics.median(times), sorted(times)[int(0.9 * (len(times) - 1))]


def main():
    """Measure, and print the table."""
    url = sys.argv[1]
    catalog = open_catalog(url)
    row = catalog.select().columns("ra", "dec").batches().__next__().slice(0, 1)
    place = {name: row[name][0].as_py() for name in ("ra", "dec")}
    files = [str(Path(url) / part.key) for part in catalog.manifest.of("latents")]
    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW rows AS SELECT * FROM read_parquet({files})")
    print(f"{catalog.n_rows:,} sources, {len(files)} parts\n")
    print("| query | 1 client, median (90 %) | 8 clients, median (90 %) | DuckDB, 1 client |")
    print("|---|---|---|---|")
    with serving(url, "--queries", "8") as address:
        local = threading.local()

        def ask(query):
            local.session = getattr(local, "session", None) or requests.Session()
            reply = local.session.post(
                f"{address}/tap/sync", {"LANG": "ADQL", "QUERY": query}, timeout=60
            )
            assert reply.ok, re.sub(r"\s+", " ", reply.text)

        for name, query in QUERIES.items():
            plain = PLAIN[name].format(**place)
            cells = [measured(lambda q=query: ask(q.format(**place)), n) for n in (1, 8)]
            alone = measured(lambda q=plain: connection.cursor().sql(q).fetchall(), 1)
            shown = [f"{median * 1e3:.0f} ms ({most * 1e3:.0f} ms)" for median, most in cells]
            print(f"| {name} | {' | '.join(shown)} | {alone[0] * 1e3:.0f} ms |")
