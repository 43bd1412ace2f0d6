"""Other people's tools open one catalogue from a disk, from S3, over http and over https.

They run in a process of their own, which finds the bucket's server and the certificate to trust in
its environment, as xpscale does: ``AWS_ENDPOINT_URL``, ``SSL_CERT_FILE``.
"""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pytest

from tests.debian import debian_command
from tests.query.conftest import publish
from xpscale.query.catalog import open_catalog
from xpscale.query.write import write
from xpscale.storage import Storage
from xpscale.testing.services import seaweedfs
from xpscale.testing.web import counted_web

PLACES = ["disk", "http", "listed http", "https", pytest.param("s3", marks=pytest.mark.s3)]

TOOLS = r"""
import json, sys, warnings
warnings.simplefilter("ignore")
url, key = sys.argv[1:]
file = f"{url}/{key}"

import astropy.table, duckdb, fsspec, hats, lsdb, pandas, polars, pyarrow.parquet
import xpscale as xps
from xpscale.catalog.check import check

catalog = xps.open_catalog(url)
place = catalog.storage
found = {"xpscale": catalog.n_rows, "check": len(check(place, deep=False).problems)}
found["sql"] = catalog.sql("SELECT count(*) AS n FROM latents")["n"][0].as_py()
found["hats"] = len(hats.read_hats(place.upath).main_catalog.get_healpix_pixels())
found["lsdb"] = len(catalog.lsdb(columns=["source_id"]).compute())
options = {"endpoint_url": __import__("os").environ.get("AWS_ENDPOINT_URL")}
s3 = url.startswith("s3:")
found["pandas"] = len(pandas.read_parquet(file, storage_options=options if s3 else None))
found["polars"] = polars.scan_parquet(file).select(polars.len()).collect().item()
system, path = fsspec.url_to_fs(file, **(options if s3 else {}))
with system.open(path) as opened:
    found["pyarrow"] = pyarrow.parquet.read_table(opened, columns=["source_id"]).num_rows
with system.open(path) as opened:
    found["astropy"] = len(astropy.table.Table.read(opened, format="parquet.votable"))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, example, model):
    folder = tmp_path_factory.mktemp("everywhere")
    index = example.rows["_healpix_29"].to_numpy()
    publish(str(folder / "cat"), model, example.rows.filter(pa.array(index < 2 * 4**29)))
    return folder


@pytest.fixture(scope="module", params=PLACES)
def address(request, place, tmp_path_factory):
    """The address of the catalogue, and variables for a process that reads it."""
    tmp_path = tmp_path_factory.mktemp("served")
    if request.param == "disk":
        yield str(place / "cat"), {}
    elif request.param == "s3":
        with seaweedfs(tmp_path, buckets=("derived",)) as service, service.apply():
            storage, folder = Storage("s3://derived/cat"), place / "cat"
            for path in folder.rglob("*"):
                if path.is_file():
                    storage.replace(path.relative_to(folder).as_posix(), path.read_bytes())
            yield storage.url, service.environment
    else:
        tls, listed = tmp_path if request.param == "https" else "", "listed" in request.param
        with counted_web(place, tls=tls, listed=listed) as web:
            yield f"{web.url}/cat", {"SSL_CERT_FILE": web.ca_file} if tls else {}


def test_every_tool_sees_the_same(address, place):
    url, variables = address
    catalog = open_catalog(str(place / "cat"))
    part = catalog.manifest.of("latents")[0]
    done = subprocess.run(
        [sys.executable, "-c", TOOLS, url, part.key],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {
        **dict.fromkeys(("xpscale", "sql", "lsdb"), catalog.n_rows),
        **dict.fromkeys(("pandas", "polars", "pyarrow", "astropy"), part.n_rows),
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
