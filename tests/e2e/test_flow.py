"""The whole flow by its commands, on a local disk and on a real S3 server: archive to answers."""

import csv
import io
import json

import numpy as np
import pytest

import xpscale as xps
from tests.commands import done
from tests.support.archive_files import Defects, write_archive
from tests.support.services import seaweedfs
from xpscale.testing.universe import Universe

N_SOURCES = 1_500
DEFECTS = Defects(missing_bp=2, missing_source=3, not_finite=1, duplicate=2)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def place(request, tmp_path):
    """A prefix to work below."""
    if request.param == "local":
        yield str(tmp_path)
        return
    with seaweedfs(tmp_path) as server, server.apply():
        yield "s3://xpscale/flow"


@pytest.fixture
def universe():
    return Universe(N_SOURCES, seed=3)


def test_archive_to_answers(place, universe, tmp_path):
    archive, store, model, catalog = (
        f"{place}/{name}" for name in ("archive", "store", "model", "catalog")
    )
    written = write_archive(universe, archive, n_files=3, defects=DEFECTS)

    done("ingest", archive, store, "--max-rows", 400, "--workers", 2)
    check = json.loads(done("store", "check", store, "--json").out)
    assert check["ok"]
    assert check["n_read"] == written.n_rows
    assert check["n_rejected"] == written.rejected
    assert check["n_written"] == written.n_rows - sum(written.rejected.values())

    sample = tmp_path / "sample.parquet"
    done("sample", store, "-n", 500, "--rule", "flattened", "-o", sample)
    done("train", store, model, "--sample", sample, "--epochs", 3, "--device", "cpu")
    plan = json.loads(done("plan", store, model, catalog, "--json").out)
    assert plan["n_rows"] == check["n_written"]

    done("infer", store, model, catalog, "--workers", 2, "--no-commit")
    status = json.loads(done("status", catalog, "--json").out)
    assert (status["n_left"], status["snapshot"]) == (0, 0)
    done("infer", store, model, catalog, "--workers", 0)
    assert json.loads(done("status", catalog, "--json").out)["snapshot"] == 1
    assert json.loads(done("catalog", "check", catalog, "--json").out)["ok"]
    assert "nothing to do" in done("infer", store, model, catalog).err
    assert "nothing to do" in done("ingest", archive, store, "--max-rows", 400, "--workers", 0).err
    assert (
        "nothing to do"
        in done("train", store, model, "--sample", sample, "--epochs", 3, "--device", "cpu").err
    )

    answers_are_right(catalog, universe, tmp_path)


def answers_are_right(catalog, universe, tmp_path):
    """Queries give what the catalogue and the truth say."""
    opened = xps.open_catalog(catalog)
    truth = universe.truth()
    table = opened.select().to_table()
    assert np.isin(table["source_id"].to_numpy(), truth.source_id).all()

    star = table.slice(17, 1).to_pylist()[0]
    found = done(
        "query", catalog, "--cone", f"{star['ra']},{star['dec']},0.001", "--columns", "source_id"
    ).out
    assert str(star["source_id"]) in found.splitlines()
    answer = done(
        "query", catalog, "--ids", f"{star['source_id']},42", "--columns", "source_id,latent_mean_0"
    )
    assert "1 of 2 ids are not in this catalogue: 42" in answer.err
    row = next(csv.DictReader(io.StringIO(answer.out)))
    assert float(row["latent_mean_0"]) == pytest.approx(star["latent_mean_0"], rel=1e-6)
    counted = done("sql", catalog, "SELECT count(*) AS n FROM latents WHERE kl > 0").out
    assert counted.split() == ['"n"', str(len(table))]
    for ending in ("parquet", "csv", "fits"):
        done("query", catalog, "--where", "reduced_chi2 < 2", "-o", tmp_path / f"rows.{ending}")
        assert (tmp_path / f"rows.{ending}").stat().st_size > 0
    spectrum = list(csv.DictReader(io.StringIO(done("spectrum", catalog, star["source_id"]).out)))
    assert len(spectrum) == universe.n_coefficients
    assert all(float(line["scatter"]) > 0 for line in spectrum)
    done("plot", "sky", catalog, "-o", tmp_path / "sky.png")
    assert len(opened.lsdb().compute()) == len(table)
