"""What questions to a catalogue of a million sources cost from a disk, a bucket and a web server:
seconds, requests and bytes, beside lsdb and plain DuckDB on the same files.

``XPSCALE_BENCH_CATALOG`` names the catalogue, such as `tests.benchmarks._catalog` writes; each
question is asked of a catalogue that was just opened, in a process that has imported everything.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb

import xpscale as xps
from tests.support.services import seaweedfs
from tests.support.web import CountedWeb, counted_web
from xpscale.query.catalog import Catalog
from xpscale.storage import Storage

CATALOG = os.environ.get("XPSCALE_BENCH_CATALOG", "million")
CONE = (266.0, -29.0, 1.0)
Questions = dict[str, Callable[[Catalog], object]]


def main() -> None:
    """Print the table."""
    here = xps.open_catalog(CATALOG)
    sample = "SELECT source_id FROM (SELECT source_id FROM latents) USING SAMPLE reservoir(10) "
    ids = here.sql(f"{sample} REPEATABLE (1)")["source_id"].to_pylist()
    print(f"{'':34}{'place':8}{'s':>8}{'requests':>10}{'kB':>10}")
    for place in ("https", "disk", "s3"):
        with _served(place) as (url, web):
            for name, ask in _questions(ids).items():
                catalog = xps.open_catalog(url)
                if web:
                    web.forget()
                clock = time.perf_counter()
                ask(catalog)
                spent = f"{name:34}{place:8}{time.perf_counter() - clock:8.2f}"
                counts = f"{web.n_requests:10}{web.n_bytes / 1e3:10.0f}" if web else ""
                print(spent + counts, flush=True)


def _questions(ids: list[int]) -> Questions:
    import lsdb  # aiohttp, which it imports, reads then which certificates to trust

    ra, dec, radius = CONE
    columns = ("latent_mean_0", "reduced_chi2")

    def by_lsdb(place: object) -> object:
        opened = lsdb.open_catalog(place, columns=["ra", "dec", *columns])
        return opened.cone_search(ra=ra, dec=dec, radius_arcsec=radius * 3600).compute()

    by_lsdb(CATALOG)  # its first answer of a process takes longer
    return {
        "open": lambda catalog: xps.open_catalog(catalog.storage.url),
        "one spectrum": lambda catalog: xps.reconstruct(catalog.at(ids[0])).total_error,
        "one source": lambda catalog: catalog.at(ids[0]).to_table(),
        "ten sources": lambda catalog: catalog.at(ids).to_table(),
        "absent": lambda catalog: catalog.at(ids[0] + 1).missing,
        "cone": lambda catalog: catalog.cone(*CONE).columns(*columns).to_table(),
        "cone, lsdb": lambda catalog: by_lsdb(catalog.storage.upath),
        "one source, DuckDB": lambda catalog: _duckdb(catalog, f"source_id = {ids[0]}"),
        "cone, DuckDB": lambda catalog: _duckdb(
            catalog, f"{_haversine(ra, dec)} <= {math.sin(math.radians(radius / 2)) ** 2}", columns
        ),
    }


def _duckdb(catalog: Catalog, condition: str, columns: Sequence[str] = ("*",)) -> object:
    """Rows of all parts, as somebody asks who knows DuckDB alone; from servers through our reading
    of parts, for DuckDB's own extension would have to be fetched.
    """
    query = f"SELECT {', '.join(columns)} FROM {{}} WHERE {condition}"
    if catalog.storage.folder is None:
        return catalog.sql(query.format("latents"))
    files = f"{catalog.storage.folder}/latents/dataset/Norder*/**/*.parquet"
    return duckdb.sql(query.format(f"read_parquet('{files}')")).fetchall()


def _haversine(ra: float, dec: float) -> str:
    """SQL of sin^2 of half the distance from a place."""
    return (
        f"pow(sin(radians(dec - {dec}) / 2), 2) + cos(radians(dec)) * cos(radians({dec}))"
        f" * pow(sin(radians(ra - {ra}) / 2), 2)"
    )


@contextlib.contextmanager
def _served(place: str) -> Iterator[tuple[str, CountedWeb | None]]:
    """The address of the catalogue in a place, and what counts on the way there."""
    folder = Path(tempfile.mkdtemp(prefix="xpscale-bench-"))
    try:
        if place == "disk":
            yield CATALOG, None
        elif place == "https":
            with counted_web(CATALOG, tls=folder) as web, web.trusted():
                yield web.url, web
        else:
            with seaweedfs(folder, buckets=("derived",)) as service, service.apply():
                storage = Storage("s3://derived/cat")
                for path in Path(CATALOG).rglob("*"):
                    if path.is_file():
                        storage.replace(path.relative_to(CATALOG).as_posix(), path.read_bytes())
                with counted_web(upstream=service.endpoint) as web:
                    os.environ["AWS_ENDPOINT_URL"] = web.url
                    yield storage.url, web
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
