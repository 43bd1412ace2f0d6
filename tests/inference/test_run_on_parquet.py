"""Inference without ingest: a Parquet folder of the store's rows gives the store's catalogue."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.commands import done, xpscale
from tests.support.parquet_files import write_hats_spectra, write_parquet_files
from xpscale.inference.plan import plan_inference
from xpscale.inference.run import run_inference
from xpscale.runtime.executors.dask import DaskExecutor, local_cluster
from xpscale.store.open import open_parquet, open_spectra


def parts_of(report):
    return [(part.key, part.n_rows, part.n_bytes, part.sha256) for part in report.manifest.parts]


@pytest.mark.parametrize("shape", ["list", "fixed", "scalars"])
def test_a_hats_catalogue_gives_the_same_parts(shape, store, model, reference, tmp_path):
    write_hats_spectra(store, str(tmp_path / "hats"), shape)
    reader = open_spectra(tmp_path / "hats", release=store.release)
    report = run_inference(plan_inference(reader, model, str(tmp_path / "catalog")))
    assert parts_of(report) == parts_of(reference)
    assert report.manifest.identity.input_digest != reference.manifest.identity.input_digest


def test_a_plain_folder_gives_the_same_parts_on_workers(store, spectra, model, reference, tmp_path):
    shuffled = spectra.take(np.random.default_rng(2).permutation(len(spectra)))
    write_parquet_files(shuffled, str(tmp_path / "plain"), "list", n_files=3, row_group_rows=500)
    reader = open_parquet(str(tmp_path / "plain"), max_rows=400, release=store.release)
    assert reader.read_factor > 3
    with local_cluster(2) as client:
        report = run_inference(
            plan_inference(reader, model, str(tmp_path / "catalog")), executor=DaskExecutor(client)
        )
    assert parts_of(report) == parts_of(reference)


def test_the_commands_take_parquet_where_they_take_a_store(store, spectra, model, tmp_path):
    model.save(str(tmp_path / "model"))
    folder, catalog = tmp_path / "plain", tmp_path / "catalog"
    write_parquet_files(spectra, str(folder), "scalars", n_files=2, magnitude=True)
    planned = done("plan", folder, tmp_path / "model", catalog, "--json")
    assert json.loads(planned.out)["n_rows"] == len(spectra)
    assert "2 Parquet files, scalar columns bp_coeff_0..bp_coeff_54" in planned.err
    assert "G flux from phot_g_mean_mag" in planned.err
    done("infer", folder, tmp_path / "model", catalog, "--workers", 0, "--outputs", "latents")
    rows = pq.read_table(sorted(catalog.rglob("Npix=*.parquet"))).to_pandas()
    assert sorted(rows.source_id) == sorted(spectra.source_id.tolist())
    flux = dict(zip(spectra.source_id.tolist(), spectra.phot_g_mean_flux, strict=True))
    np.testing.assert_allclose(rows.phot_g_mean_flux, rows.source_id.map(flux), rtol=1e-12)
    again = xpscale(
        "infer", folder, tmp_path / "model", catalog, "--workers", 0, "--outputs", "latents"
    )
    assert "nothing to do" in again.err


def test_sample_and_train_take_parquet(spectra, tmp_path):
    folder = tmp_path / "plain"
    shuffled = spectra.take(np.random.default_rng(2).permutation(len(spectra)))
    write_parquet_files(shuffled, str(folder), "fixed", n_files=2)
    said = done("sample", folder, "-n", 500, "-o", tmp_path / "sample.parquet").err
    assert re.search(r"so that each row is read \d+ times; 'xpscale ingest", said)
    done(
        "train",
        folder,
        tmp_path / "model",
        "--sample",
        tmp_path / "sample.parquet",
        "--epochs",
        1,
        "--device",
        "cpu",
    )
    assert (tmp_path / "model").exists()
