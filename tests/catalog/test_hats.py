import warnings

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from hats import read_hats
from hats.catalog import TableProperties
from hats.io.paths import get_data_thumbnail_pointer
from hats.io.skymap import read_skymap
from hats.io.summary_file import generate_summary
from hats.io.validation import is_valid_catalog, is_valid_collection
from random_catalog import LAYOUT, PIXELS, ROWS, C, L, fill, identity, random_table

from tests.support.services import seaweedfs
from xpscale.catalog import hats
from xpscale.catalog.check import check
from xpscale.catalog.commit import build_manifest, commit
from xpscale.catalog.info import catalog_info
from xpscale.catalog.snapshots import current, read_manifest
from xpscale.catalog.votable import CONTENT_KEY, product_schema
from xpscale.release import DR3
from xpscale.schema import TableLayout
from xpscale.sky import separation_deg
from xpscale.storage import Storage
from xpscale.types import TaskReport, TaskStatus


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Storage:
    storage = Storage(str(tmp_path_factory.mktemp("hats") / "stars"))
    commit(storage, build_manifest(storage, fill(storage)), "for the readers")
    return storage


def test_valid_hats_with_provenance(published: Storage):
    assert is_valid_collection(published.url, strict=True)
    manifest = read_manifest(published, current(published))
    assert hats.hats_differences(published, manifest) == ()
    for product in ("latents", "spectra"):
        folder = f"{published}/{product}"
        assert is_valid_catalog(folder, strict=True)
        properties = TableProperties.read_from_dir(folder).model_dump()
        assert properties["total_rows"] == len(PIXELS) * ROWS
        assert properties["xpscale_model_id"] == "model-1"
        assert properties["xpscale_input_digest"] == "in-1"
        assert properties["xpscale_manifest"] == manifest.digest
        assert properties["obs_copyright"] == "Derived from Gaia DR3; credit ESA/Gaia/DPAC"
        assert properties["prov_progenitor"] == "Gaia DR3 xp_continuous_mean_spectrum"
        assert properties["hats_coordinate_epoch"] == "J2016.0"
        assert "ad9607" in properties["bib_reference_url"]
        assert CONTENT_KEY in pq.read_schema(f"{folder}/dataset/_common_metadata").metadata
        footers = pq.read_metadata(f"{folder}/dataset/_metadata")
        assert footers.num_rows == len(PIXELS) * ROWS


@pytest.mark.parametrize(
    ("release", "epoch"), [("Gaia DR4", "J2017.5"), ("Gaia (release not stated)", None)]
)
def test_properties_and_titles_say_release_and_bands(storage: Storage, release, epoch):
    commit(
        storage, build_manifest(storage, fill(storage, identity(n_bp=51, n_rp=59, release=release)))
    )
    assert check(storage).problems == ()
    for product in ("latents", "spectra"):
        properties = TableProperties.read_from_dir(f"{storage}/{product}").model_dump()
        assert properties["xpscale_release"] == release
        assert (properties["xpscale_n_bp"], properties["xpscale_n_rp"]) == ("51", "59")
        assert properties.get("hats_coordinate_epoch") == epoch
        for name in ("obs_description", "obs_copyright", "prov_progenitor"):
            assert release in properties[name]
    for path in storage.list(""):
        if path.endswith((".properties", "_common_metadata")):
            assert b"DR3" not in storage.read(path)
    assert catalog_info(storage).release == release


def test_the_skymap_counts_every_source(published: Storage):
    index = np.concatenate([random_table(pixel)["_healpix_29"].to_numpy() for pixel in PIXELS])
    expected = np.bincount(index >> 42, minlength=12 * 4**8)
    for product in ("latents", "spectra"):
        assert np.array_equal(read_skymap(read_hats(f"{published}/{product}"), 8), expected)


def test_a_thumbnail_shows_a_row_of_each_partition(published: Storage):
    firsts = pa.concat_tables(
        [random_table(p).slice(0, 1) for p in sorted(PIXELS, key=lambda p: p.index_range)]
    )
    for product in ("latents", "spectra"):
        path = get_data_thumbnail_pointer(f"{published}/{product}")
        found = pq.read_table(path.path)
        assert found.schema.equals(product_schema(product, LAYOUT), check_metadata=True)
        assert found.equals(firsts.select(found.column_names).cast(found.schema))
        assert f"{product}/{path.name}" in hats.announcement(published)[1]
    words = {"name": "", "description": "", "uri": None, "huggingface_metadata": False}
    summary = generate_summary(read_hats(f"{published}/latents"), fmt="markdown", **words)
    assert any(str(each) in summary for each in firsts["source_id"].to_pylist())


def see_with_lsdb(storage: Storage) -> None:
    import lsdb

    table = random_table(PIXELS[0])
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    catalog = lsdb.open_catalog(storage.upath)
    assert catalog.get_healpix_pixels() != []
    assert "latent_mean_0" in catalog.columns
    assert "latent_log_var_0" not in catalog.columns  # not a default column
    radius = float(np.quantile(separation_deg(ra, dec, ra[0], dec[0]), 0.2))
    cone = catalog.cone_search(ra[0], dec[0], radius * 3600)
    expected = np.sort(
        table["source_id"].to_numpy()[separation_deg(ra, dec, ra[0], dec[0]) <= radius]
    )
    assert np.array_equal(np.sort(cone.compute()["source_id"].to_numpy()), expected)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Right catalog does not have a margin cache"
        )  # the same rows need none
        joined = (
            cone.load_extension("spectra", columns=["reconstruction"])
            .query("flags > 100")
            .compute()
        )
    assert 0 < len(joined) < len(expected)
    row = table.to_pandas().set_index("source_id").loc[joined["source_id"].iloc[0]]
    assert np.array_equal(joined["reconstruction"].iloc[0], row["reconstruction"])


def test_lsdb_opens_it(published: Storage):
    see_with_lsdb(published)


def test_duckdb_polars_and_astropy_open_it(published: Storage):
    table = random_table(PIXELS[1])
    source_id, spectrum = (
        table["source_id"][7].as_py(),
        np.array(table["reconstruction"][7].as_py(), np.float32),
    )
    glob = f"{published}/{{}}/dataset/Norder=*/Dir=*/*.parquet"
    found = duckdb.execute(
        f"SELECT ra, reconstruction FROM read_parquet('{glob.format('latents')}') AS l JOIN"
        f" read_parquet('{glob.format('spectra')}') AS s USING (source_id, ra) WHERE source_id ="
        f" {source_id}"
    ).fetchall()
    assert found[0][0] == table["ra"][7].as_py()
    assert np.array_equal(np.float32(found[0][1]), spectrum)
    frame = (
        pl.scan_parquet(glob.format("spectra")).filter(pl.col("source_id") == source_id).collect()
    )
    assert np.array_equal(frame["reconstruction"].to_numpy()[0], spectrum)
    assert (
        pl.scan_parquet(glob.format("latents")).select(pl.len()).collect().item()
        == len(PIXELS) * ROWS
    )
    part = Table.read(
        f"{published}/spectra/dataset/Norder=3/Dir=0/Npix=200.parquet", format="parquet.votable"
    )
    assert part["scatter"].shape == (ROWS, C)
    assert part["scatter"].unit.to_string() == "electron / s"


def test_latents_alone_make_a_plain_collection(storage: Storage):
    import lsdb

    commit(storage, build_manifest(storage, fill(storage, identity(outputs=("latents",)))))
    assert check(storage).problems == ()
    assert not storage.list("spectra")
    assert not storage.exists("spectra.properties")
    everything = lsdb.open_catalog(storage.url, columns="all")
    assert set(everything.columns) == {
        column.name for column in TableLayout(L, C, DR3, ("latents",)).columns("latents")
    } - {"_healpix_29"}


def test_a_stray_part_never_enters_the_metadata(storage: Storage):
    reports = fill(storage)
    last = reports[-1]
    gone = TaskReport(last.task, TaskStatus.EMPTY, n_in=ROWS, n_rejected={"missing BP": ROWS})
    commit(storage, build_manifest(storage, [*reports[:-1], gone]))
    assert (
        pq.read_metadata(f"{storage}/latents/dataset/_metadata").num_rows
        == (len(PIXELS) - 1) * ROWS
    )
    problems = check(storage).problems
    assert all(
        any(part.key in problem and "stray" in problem for problem in problems)
        for part in last.parts
    )


@pytest.mark.s3
def test_on_s3(tmp_path):
    with seaweedfs(tmp_path, ("xpscale",)) as server, server.apply():
        storage = Storage("s3://xpscale/dr3/stars")
        manifest = build_manifest(storage, fill(storage))
        snapshot = commit(storage, manifest)
        assert commit(storage, manifest) == snapshot
        assert fill(storage)[0].parts == manifest.parts[:1] + manifest.of("spectra")[:1]
        for deep in (True, False):
            assert check(storage, deep=deep).problems == ()
        see_with_lsdb(storage)
        key = manifest.parts[3].key
        storage.delete(key)
        assert any(
            f"{key} is missing" in problem for problem in check(storage, deep=False).problems
        )
