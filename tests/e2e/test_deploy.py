"""What deploy/README.md says works: a scheduler and workers started by hand, and ``xpscale infer
--scheduler``.
"""

import json

import pytest

from tests.commands import done, xpscale
from xpscale.runtime.executors.dask import worker_environment
from xpscale.testing.archive_files import write_archive
from xpscale.testing.dask_cluster import dask_processes
from xpscale.testing.universe import Universe


@pytest.mark.parametrize("well_set", [True, False])
def test_infer_on_workers_that_run_somewhere(tmp_path, well_set):
    archive, store, model, catalog = (
        str(tmp_path / name) for name in ("archive", "store", "model", "catalog")
    )
    write_archive(Universe(1_500, seed=5), archive, n_files=2)
    environment = worker_environment if well_set else {"MALLOC_TRIM_THRESHOLD_": "65536"}
    with dask_processes(2, tmp_path, resources="GPU=1", environment=environment) as cluster:
        where = ("--scheduler", cluster.address, "--resources", "GPU=1")
        remarks = done("ingest", archive, store, "--max-rows", 300, *where).err
        assert ("2 of 2 workers run without" in remarks) is not well_set
        done("train", store, model, "--epochs", 1, "--device", "cpu")
        result = done("infer", store, model, catalog, "--device", "cpu", *where)
        assert "published snapshot 1" in result.err
    assert json.loads(done("catalog", "check", catalog, "--json").out)["ok"]


def test_a_scheduler_that_is_not_there_is_named(tmp_path):
    archive = str(tmp_path / "archive")
    write_archive(Universe(300, seed=5), archive, n_files=1)
    result = xpscale("ingest", archive, tmp_path / "store", "--scheduler", "tcp://127.0.0.1:1")
    assert result.code == 3
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in result.err
    assert not (tmp_path / "store").exists()
