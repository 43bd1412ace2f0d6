"""The margin against distances from whole outlines, at the poles, at RA 0 and beside gaps."""

from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cdshealpix.nested import vertices
from placed_catalog import PARTITIONS, around, latents_at, publish
from scipy.spatial import cKDTree

from xpscale.catalog.margin import MARGIN_ARCSEC, margin_of_pixel, margin_tasks
from xpscale.catalog.votable import product_schema
from xpscale.sky import Pixel
from xpscale.storage import Storage

ARCSEC = np.pi / 180 / 3600


@pytest.fixture(scope="module")
def table() -> pa.Table:
    rng = np.random.default_rng(16)
    places = [around(pixel, rng, 400) for pixel in (*PARTITIONS, Pixel(0, 6), Pixel(11, 5 << 22))]
    ra, dec = (np.concatenate(each) for each in zip(*places, strict=True))
    return latents_at(ra, dec, np.arange(len(ra)) + 10**12)


def vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], -1)


def distance_arcsec(pixel: Pixel, points: np.ndarray) -> np.ndarray:
    """Distance of points from the outline of a pixel, of points an arcminute apart."""
    step = max(8, 3600 >> pixel.order)
    lon, lat = vertices(np.array([pixel.number], np.uint64), pixel.order, step=step)
    outline = vectors(np.asarray(lon.deg)[0], np.asarray(lat.deg)[0])
    _, nearest = cKDTree(outline).query(points)
    found = np.full(len(points), np.inf)
    for side in (-1, 1):
        start, edge = outline[nearest], outline[(nearest + side) % len(outline)] - outline[nearest]
        along = np.clip(((points - start) * edge).sum(1) / (edge**2).sum(1), 0, 1)
        away = points - start - along[:, None] * edge
        found = np.minimum(found, np.linalg.norm(away, axis=1) / ARCSEC)
    return found


def test_the_margin_of_every_pixel_is_what_brute_force_finds(storage: Storage, table: pa.Table):
    manifest = publish(storage, table)
    kept = pa.concat_tables(
        pq.read_table(f"{storage}/{part.key}") for part in manifest.of("latents")
    )
    points = vectors(kept["ra"].to_numpy(), kept["dec"].to_numpy())
    index, source_id = kept["_healpix_29"].to_numpy(), kept["source_id"].to_numpy()
    schema = product_schema("latents", manifest.identity.layout)
    function = partial(margin_of_pixel, storage, manifest.digest, schema)
    n_rows, n_gaps = 0, 0
    for task in margin_tasks(manifest):
        report, (start, stop) = function(task), task.pixel.index_range
        distance = distance_arcsec(task.pixel, points)
        outside = (index < start) | (index >= stop)
        rows = pq.read_table(f"{storage}/{task.key}") if report.n_out else kept.slice(0, 0)
        found = np.isin(source_id, rows["source_id"].to_numpy())
        assert rows.num_rows == found.sum()
        assert not np.any(found & ~outside)
        doubtful = np.abs(distance - MARGIN_ARCSEC) < 0.02
        assert np.array_equal(found[~doubtful], (outside & (distance < MARGIN_ARCSEC))[~doubtful])
        assert np.all(np.diff(rows["_healpix_29"].to_numpy()) >= 0)
        n_rows, n_gaps = n_rows + rows.num_rows, n_gaps + (task.pixel not in PARTITIONS)
        if rows.num_rows:
            assert rows.schema.equals(schema)
            expected = kept.filter(pa.array(found)).sort_by("source_id")
            assert rows.sort_by("source_id").equals(expected.select(rows.column_names))
    assert n_rows > 1000
    assert n_gaps > 5


def test_tasks_fill_the_sky_once(storage: Storage, table: pa.Table):
    ranges = sorted(task.pixel.index_range for task in margin_tasks(publish(storage, table)))
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 12 * 4**29
    assert all(left[1] == right[0] for left, right in pairwise(ranges))
    assert len(ranges) == len(PARTITIONS) + 1 + 3 + 3


def test_a_margin_of_another_version_is_replaced_and_anything_else_stays(
    storage: Storage, table: pa.Table
):
    manifest = publish(storage, table)
    schema = product_schema("latents", manifest.identity.layout)
    task, second, *_ = margin_tasks(manifest)
    old = partial(margin_of_pixel, storage, "0" * 64, schema)(task)
    new = partial(margin_of_pixel, storage, manifest.digest, schema)
    assert new(task).details["file"]["sha256"] != old.details["file"]["sha256"]
    assert new(task) == new(task)
    storage.replace(second.key, b"theirs")
    with pytest.raises(Exception, match="xpscale did not write it"):
        new(second)
    assert storage.read(second.key) == b"theirs"
