"""How much a query reads from a server: requests and bytes, counted by one that stands between."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import xpscale as xps
from tests.query.conftest import publish
from tests.support.services import seaweedfs
from tests.support.web import counted_web
from xpscale.errors import XpscaleError
from xpscale.sky import Pixel, source_id_index
from xpscale.storage import Storage
from xpscale.testing.sky_density import pixel_centers_deg

TIMES = 4
MOST_OPEN = 3  # what is newest, the version, its manifest


@pytest.fixture(scope="module")
def place(tmp_path_factory, example, model):
    """A catalogue of 24,000 sources in two parts: 3 MB of latents, 20 MB of spectra."""
    rng = np.random.default_rng(1)
    rows = pa.concat_tables([example.rows] * TIMES)
    start, stop = Pixel(0, 4).index_range[0], Pixel(0, 5).index_range[1]
    index = np.sort(rng.integers(start, stop, len(rows)))
    ra, dec = pixel_centers_deg(index, 29)
    ids = (index >> 34 << 35) + np.arange(len(rows))
    for name, values in {"_healpix_29": index, "source_id": ids, "ra": ra, "dec": dec}.items():
        rows = rows.set_column(rows.column_names.index(name), rows.field(name), pa.array(values))
    folder = tmp_path_factory.mktemp("served")
    publish(str(folder / "cat"), model, rows)
    return folder


@pytest.fixture(scope="module", params=["http", "https", pytest.param("s3", marks=pytest.mark.s3)])
def served(request, place, tmp_path_factory):
    """The address of the catalogue, and the server that counts."""
    tmp_path = tmp_path_factory.mktemp(request.param)
    if request.param != "s3":
        tls = tmp_path if request.param == "https" else ""
        with counted_web(place, tls=tls) as web, web.trusted():
            yield f"{web.url}/cat", web
        return
    with seaweedfs(tmp_path, buckets=("derived",)) as service, service.apply():
        storage, folder = Storage("s3://derived/cat"), place / "cat"
        for path in folder.rglob("*"):
            if path.is_file():
                storage.replace(path.relative_to(folder).as_posix(), path.read_bytes())
        with counted_web(upstream=service.endpoint) as web, pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", web.url)
            yield storage.url, web


@pytest.fixture
def opened(served):
    """The catalogue, just opened, and the server, which counts from there."""
    url, web = served
    web.forget()
    catalog = xps.open_catalog(url)
    assert web.n_requests <= MOST_OPEN
    web.forget()
    yield catalog, web
    assert {method for method, *_ in web.requests} == {"GET"}


def some_ids(place, n):
    ids = xps.open_catalog(str(place / "cat")).columns("source_id").to_table()["source_id"]
    return ids.to_numpy()[np.random.default_rng(n).permutation(len(ids))[:n]]


def test_one_spectrum(opened, place):
    catalog, web = opened
    (source_id,) = some_ids(place, 1)
    found = xps.reconstruct(catalog.at(source_id))
    assert np.isfinite(found.total_error).all()
    assert web.n_requests <= 12 - MOST_OPEN
    decoder = (place / "cat/_xpscale/model/decoder.safetensors").stat().st_size
    assert web.n_bytes - decoder < 350_000
    here = xps.reconstruct(xps.open_catalog(str(place / "cat")).at(source_id))
    np.testing.assert_allclose(found.mean, here.mean, rtol=1e-5, atol=1e-6 * abs(here.mean).max())
    web.forget()
    arrays = catalog.at(source_id).columns("reconstruction", "scatter").to_table()
    assert arrays.num_rows == 1
    assert web.n_bytes < 1_500_000


def test_some_identifiers(opened, place):
    catalog, web = opened
    ids = some_ids(place, 10)
    assert catalog.at(ids).to_table()["source_id"].to_pylist() == ids.tolist()
    assert web.n_requests <= 60
    assert web.n_bytes < 2_000_000


def test_absent_identifiers(opened, place):
    catalog, web = opened
    absent = int(some_ids(place, 1)[0]) + 2**34
    assert catalog.at(absent).missing.tolist() == [absent]
    assert len({path for _, path, *_ in web.requests}) == 1
    assert web.n_bytes < 60_000
    web.forget()
    outside = int(source_id_index(np.array([5]))[0]) + 5
    assert catalog.at(outside).missing.tolist() == [outside]
    assert not web.requests
    catalog.storage.read("collection.properties")  # the fixture looks for something


def test_a_cone_of_two_columns(opened, place):
    catalog, web = opened
    star = xps.open_catalog(str(place / "cat")).at(some_ids(place, 1)).to_table().to_pylist()[0]
    cone = catalog.cone(star["ra"], star["dec"], 1.0).columns("latent_mean_0", "reduced_chi2")
    assert cone.to_table().num_rows >= 1
    assert web.n_bytes < 300_000


def test_a_part_that_is_shorter_than_the_manifest_says_is_named(place, tmp_path):
    import shutil

    shutil.copytree(place / "cat", tmp_path / "cat")
    part = xps.open_catalog(str(tmp_path / "cat")).manifest.of("latents")[0]
    file = Path(tmp_path / "cat" / part.key)
    data = bytearray(file.read_bytes())
    with counted_web(tmp_path) as web:
        catalog = xps.open_catalog(f"{web.url}/cat")
        file.write_bytes(data[: len(data) // 2])
        with pytest.raises(XpscaleError, match="damaged"):
            catalog.where("kl > 0").to_table()
        data[-part.footer_bytes - 20] ^= 1
        file.write_bytes(data)
        with pytest.raises(XpscaleError, match="packed footer cannot be read"):
            xps.open_catalog(f"{web.url}/cat").where("kl > 0").to_table()
