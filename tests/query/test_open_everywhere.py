"""Other people's tools open one catalogue from a disk, from S3, over http and over https.

They run in a process of their own, which finds the bucket's server and the certificate to trust in
its environment, as xpscale does: ``AWS_ENDPOINT_URL``, ``SSL_CERT_FILE``.
"""

import contextlib
import json
import os
import subprocess
import sys

import pyarrow as pa
import pytest

from tests.debian import debian_command
from tests.query.conftest import publish
from tests.support.services import seaweedfs
from tests.support.web import counted_web
from xpscale.query.catalog import open_catalog
from xpscale.query.write import write
from xpscale.storage import Storage

PLACES = ["disk", "http", "listed http", "https", "s3"]

TOOLS = r"""
import json, os, sys, warnings
warnings.simplefilter("ignore")
key, *addresses = sys.argv[1:]

import astropy.table, duckdb, fsspec, hats, lsdb, pandas, polars, pyarrow.parquet
import xpscale as xps
from xpscale.catalog.check import check

def counts(url):
    catalog, file = xps.open_catalog(url), f"{url}/{key}"
    place = catalog.storage
    found = {"xpscale": catalog.n_rows, "check": len(check(place, deep=False).problems)}
    found["sql"] = catalog.sql("SELECT count(*) AS n FROM latents")["n"][0].as_py()
    found["hats"] = len(hats.read_hats(place.upath).main_catalog.get_healpix_pixels())
    found["lsdb"] = len(catalog.lsdb(columns=["source_id"]).compute())
    options = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]} if url.startswith("s3:") else {}
    found["pandas"] = len(pandas.read_parquet(file, storage_options=options or None))
    found["polars"] = polars.scan_parquet(file).select(polars.len()).collect().item()
    system, path = fsspec.url_to_fs(file, **options)
    if not url.startswith("http"):  # needs its extension httpfs, which it fetches from its makers
        engine = duckdb.connect()
        if options:
            engine.register_filesystem(system)
        counted = engine.sql(f"SELECT count(latent_mean_0) FROM read_parquet('{file}')")
        found["duckdb"] = counted.fetchall()[0][0]
    with system.open(path) as opened:
        found["pyarrow"] = pyarrow.parquet.read_table(opened, columns=["source_id"]).num_rows
    with system.open(path) as opened:
        found["astropy"] = len(astropy.table.Table.read(opened, format="parquet.votable"))
    return found

for url in addresses:
    try:
        print(json.dumps(counts(url)))
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, example, model):
    folder = tmp_path_factory.mktemp("everywhere")
    index = example.rows["_healpix_29"].to_numpy()
    publish(str(folder / "cat"), model, example.rows.filter(pa.array(index < 2 * 4**29)))
    return folder


@pytest.fixture(scope="module")
def seen(place, tmp_path_factory):
    """What the tools find at each address, all in one process: they take seconds to be imported."""
    part = open_catalog(str(place / "cat")).manifest.of("latents")[0]
    with contextlib.ExitStack() as servers:
        tls = tmp_path_factory.mktemp("tls")
        http, listed, https = (
            servers.enter_context(counted_web(place, **options))
            for options in ({}, {"listed": True}, {"tls": tls})
        )
        bucket = servers.enter_context(
            seaweedfs(tmp_path_factory.mktemp("served"), buckets=("derived",))
        )
        with bucket.apply():
            copy_to(Storage("s3://derived/cat"), place / "cat")
        addresses = [str(place / "cat"), *(f"{web.url}/cat" for web in (http, listed, https))]
        done = subprocess.run(
            [sys.executable, "-c", TOOLS, part.key, *addresses, "s3://derived/cat"],
            env={**os.environ, **bucket.environment, "SSL_CERT_FILE": https.ca_file},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(PLACES, map(json.loads, done.stdout.splitlines()), strict=True))


def copy_to(storage, folder):
    for path in folder.rglob("*"):
        if path.is_file():
            storage.replace(path.relative_to(folder).as_posix(), path.read_bytes())


@pytest.mark.s3
@pytest.mark.parametrize("address", PLACES)
def test_every_tool_sees_the_same(address, seen, place):
    catalog = open_catalog(str(place / "cat"))
    part = catalog.manifest.of("latents")[0]
    assert seen[address] == {
        **dict.fromkeys(("xpscale", "sql", "lsdb"), catalog.n_rows),
        **dict.fromkeys(("pandas", "polars", "pyarrow", "astropy"), part.n_rows),
        **({} if "http" in address else {"duckdb": part.n_rows}),
        "check": 0,
        "hats": len(catalog.manifest.of("latents")),
    }


@pytest.mark.parametrize("kind", [".fits", ".vot"])
def test_stilts_reads_what_a_query_writes(place, tmp_path, kind):
    """Debian's STILTS has no Parquet."""
    with counted_web(place) as web:
        catalog = open_catalog(f"{web.url}/cat")
        write(catalog.select(), tmp_path / f"rows{kind}")
    command = [debian_command("stilts"), "tpipe", f"in={tmp_path}/rows{kind}", "omode=count"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert f"rows: {catalog.n_rows}" in done.stdout, done.stderr
