"""The store opens with plain Zarr and xarray, and what they show explains itself."""

import re

import numpy as np
import xarray
import zarr

from tests.support.archive_files import write_archive
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.store import layout
from xpscale.store.layout import ARRAYS, CORRELATIONS
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe


def ingested(tmp_path):
    write_archive(Universe(60, seed=3), str(tmp_path / "archive"), n_files=1, correlations=True)
    plan = plan_ingest(
        str(tmp_path / "archive"), str(tmp_path / "store"), max_rows=30, correlations=True
    )
    return run_ingest(plan)[0]


def test_plain_zarr_and_xarray_read_what_we_read(tmp_path):
    store = ingested(tmp_path)
    root = zarr.open_group(store.url, mode="r")
    for partition in store.partitions:
        rows, pairs = store.read(partition), store.read_correlations(partition)
        values = {spec.name: getattr(rows, spec.name) for spec in ARRAYS}
        values |= rows.companions
        values |= {spec.name: pair for spec, pair in zip(CORRELATIONS, pairs, strict=True)}
        seen = xarray.open_zarr(f"{store.url}/{partition.key}", consolidated=False)
        assert dict(seen.sizes) == {
            "source": partition.n_rows, "coefficient": 110, "bp_pair": 1485, "rp_pair": 1485
        }  # fmt: skip
        assert set(seen.data_vars) == set(values)
        for spec in (*ARRAYS, *CORRELATIONS):
            array, variable = root[partition.key][spec.name], seen[spec.name]
            assert array.metadata.dimension_names == variable.dims == spec.dimensions
            assert array.dtype == variable.dtype == spec.dtype
            for found in (array.attrs, variable.attrs):
                described = spec.description.format(position="ICRS, epoch J2016.0")
                assert (found["units"], found["description"]) == (spec.unit, described)
            assert np.array_equal(array[:], values[spec.name])
            assert np.array_equal(variable.values, values[spec.name])
        assert (seen.attrs["order"], seen.attrs["pixel"]) == (
            partition.pixel.order,
            partition.pixel.number,
        )


def test_units_are_units():
    from astropy import units

    for spec in (*ARRAYS, *CORRELATIONS):
        units.Unit(spec.unit)
        assert spec.description


def test_the_layout_documents_every_attribute_and_no_other(tmp_path, store):
    documented = set(
        re.findall(
            r"``(\w+)``",
            layout.__doc__.split("Attributes of the root group")[1].split("A partition")[0],
        )
    )
    made = set(zarr.open_group(ingested(tmp_path / "own").url, mode="r").attrs)
    assert documented - {"input_digest"} == made
    assert set(open_store(store.url).attributes) <= documented
