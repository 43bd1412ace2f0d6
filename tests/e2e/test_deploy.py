"""What deploy/README.md says works: a scheduler and workers started by hand, and ``xpscale infer
--scheduler``.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import done, xpscale
from tests.support.archive_files import write_archive
from tests.support.dask_cluster import dask_processes
from tests.support.processes import free_ports, is_free
from xpscale.ingest.build import build_store
from xpscale.runtime.executors.dask import connect, worker_environment
from xpscale.testing.universe import Universe
from xpscale.training.run import train
from xpscale.training.settings import TrainingSettings

ROOT = Path(__file__).resolve().parents[2]


def commands(document, word):
    """The indented blocks of a document in which a word stands, as they stand."""
    text = (ROOT / document).read_text()
    blocks = re.findall(r"(?:^ {4}.*\n)+", text, re.MULTILINE)
    return "".join(block for block in blocks if word in block)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A store and a model, and what stands for two GPUs."""
    store = build_store(
        [("all", Universe(1_500, seed=5).spectra())],
        str(tmp_path / "store"),
        attributes={"origin": "universe"},
        max_rows=300,
    )
    train(store, str(tmp_path / "model"), TrainingSettings(epochs=1))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nvidia-smi").write_text("#!/bin/sh\necho GPU 0\necho GPU 1\n")
    (programs / "nvidia-smi").chmod(0o755)
    path = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as one who has run the lines before
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_lines_of_the_document_run_as_they_stand(place):
    port, dashboard = free_ports(2)
    here = {
        "8786": str(port),
        "127.0.0.1:8787": f"127.0.0.1:{dashboard}",
        "SCHEDULER": "127.0.0.1",
        "s3://bucket": str(place),
    }

    def lines(*words):
        texts = [commands("deploy/README.md", word) for word in words]
        assert all(texts)
        text = "".join(texts)
        for was, made in here.items():
            text = text.replace(was, made)
        return ["bash", "-euc", text]

    n_cores = len(os.sched_getaffinity(0))
    per_gpu = -(-n_cores // 2)
    address = f"tcp://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        for word in ("dask scheduler", "--nworkers $cores", "nvidia-smi"):
            process = subprocess.Popen(
                lines("export OMP_NUM_THREADS", word),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            stack.callback(process.wait)
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
            if word == "dask scheduler":
                give_up = time.monotonic() + 240
                while is_free(port):
                    assert time.monotonic() < give_up
                    time.sleep(0.2)
        with connect(address) as client:
            client.wait_for_workers(n_cores + 2 * per_gpu, timeout=240)
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
            resources = [one["resources"].get("GPU") for one in workers]
            assert resources.count(2) == 2 * per_gpu
            assert resources.count(None) == n_cores
            seen = client.run(lambda: os.environ.get("CUDA_VISIBLE_DEVICES")).values()
            assert {*seen} == {None, "0", "1"}
        done_here = subprocess.run(lines("xpscale plan"), capture_output=True, text=True)
        assert done_here.returncode == 0, done_here.stderr
        assert "published snapshot 1" in done_here.stderr
        assert "workers run without" not in done_here.stderr  # the exported variables arrived
    assert json.loads(done("catalog", "check", "catalog", "--json").out)["ok"]


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
