"""Runs on a real SLURM, undisturbed and disturbed: each publishes the manifest of a serial run, and
leaves no job behind.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import xpscale as xps
from tests.clusters.disturbed import SlowExecutor, slurm_says
from tests.commands import done, xpscale
from xpscale.catalog.snapshots import snapshots
from xpscale.clusters.start import dask_client, executor
from xpscale.errors import NotFoundError
from xpscale.runtime.executors.dask import DaskExecutor, connect
from xpscale.runtime.tls import make_certificates
from xpscale.settings.file import load_cluster
from xpscale.storage import Storage
from xpscale.testing.universe import Universe
from xpscale.training.settings import TrainingSettings

ROOT = Path(__file__).resolve().parents[2]

SETTINGS = f"""
[data]
store = "store"
model = "model"
[cluster]
kind = "slurm"
partition = "cpu"
workers = 2
cores = 1
memory = "4GB"
walltime = "10:00"
interface = "lo"
setup = ["export PYTHONPATH={ROOT}"]
[cluster.client]
walltime = "10:00"
[clusters.gpu]
kind = "slurm"
partition = "gpu"
workers = 2
cores = 2
gpus = 2
memory = "4GB"
walltime = "10:00"
interface = "lo"
setup = ["export PYTHONPATH={ROOT}"]
[infer]
outputs = "latents"
device = "cpu"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Settings, a store of about ten partitions, a model, and the catalogue of a serial run."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "slurm.toml").write_text(SETTINGS)
    store = xps.build_store(
        [("all", Universe(1_500, seed=5).spectra())],
        str(folder / "store"),
        attributes={"origin": "universe"},
        max_rows=150,
    )
    xps.train(store, str(folder / "model"), TrainingSettings(epochs=1))
    xps.infer(store, str(folder / "model"), str(folder / "serial"), outputs=["latents"])
    return folder


@pytest.fixture(autouse=True)
def there(folder, slurm, monkeypatch):
    monkeypatch.chdir(folder)
    yield
    wait_until(lambda: not jobs(), "jobs are left: {}".format)


def jobs(*columns):
    return slurm_says("squeue", "--noheader", *columns).split()


def start_again(job):
    """Start a job that is queued again, which SLURM does after two minutes."""
    wait_until(lambda: "PENDING" in slurm_says("squeue", "--noheader", "--job", job, "--format=%T"))
    time.sleep(6)  # three times cred_expire: a node refuses a job that has ended there just now
    slurm_says("scontrol", "update", f"JobId={job}", "StartTime=now")


def wait_until(condition, told=str, seconds=240.0):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, told(slurm_says("squeue"))
        time.sleep(0.2)


def manifest_of(catalog):
    return snapshots(Storage(str(catalog)))[-1].manifest_key


def infer_slowly(cluster, catalog, seconds=0.3, during=None, n_before=3):
    """Run with tasks that take a while; what the user was told."""
    told = []

    @contextlib.contextmanager
    def start(plan):
        with executor(cluster, told.append) as started:
            yield SlowExecutor(started, seconds, during, n_before)

    xps.infer("store", "model", catalog, outputs=["latents"], executor=start, device="cpu")
    assert manifest_of(catalog) == manifest_of("serial")
    return "\n".join(told)


@pytest.mark.parametrize("cluster", ["slurm.toml", "gpu"])
def test_a_command_starts_its_jobs_and_ends_them(cluster):
    catalog = f"catalog-{cluster}"
    place = ("store", "model", catalog, "--settings", "slurm.toml", "--cluster", cluster)
    scripts = done("infer", *place, "--dry-run").out
    assert not Path(catalog).exists()
    partition = "gpu" if cluster == "gpu" else "cpu"
    assert scripts.count(f"#SBATCH -p {partition}\n") == 1
    assert ("--gres=gpu:2" in scripts) is (cluster == "gpu")
    told = done("infer", *place).err
    assert re.search(r"cluster: [12] worker process.* there", told)
    assert "published snapshot 1" in told
    assert manifest_of(catalog) == manifest_of("serial")
    again = done("infer", *place).err
    assert "nothing to do" in again
    assert "cluster:" not in again  # nothing is queued for it


def test_over_tls_each_process_of_a_node_has_a_gpu_of_its_own(folder):
    make_certificates(folder / "tls")
    cluster = replace(load_cluster("slurm.toml:gpu"), tls=str(folder / "tls"))
    with dask_client(cluster, print) as client:
        client.wait_for_workers(2, timeout=60)
        gpus = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert sorted(gpus.values()) == ["0", "1"]
        assert all(address.startswith("tls://") for address in (*gpus, client.scheduler.address))
        with (
            pytest.raises(NotFoundError, match="no Dask scheduler answers"),
            connect(client.scheduler.address.replace("tls", "tcp")),
        ):
            pass
        executor = DaskExecutor(client)
        xps.infer(
            "store", "model", "over-tls", outputs=["latents"], executor=executor, device="cpu"
        )
    assert manifest_of("over-tls") == manifest_of("serial")


def test_jobs_that_are_cancelled_are_replaced():
    cancelled = []

    def cancel():
        cancelled.extend(jobs("--format=%i")[:1])
        slurm_says("scancel", *cancelled)

    told = infer_slowly(load_cluster("slurm.toml"), "cancelled", 0.6, cancel)
    assert cancelled
    assert "infer" not in told  # the run itself saw nothing of it


def test_workers_end_before_the_walltime_and_others_follow(monkeypatch):
    monkeypatch.setattr("xpscale.clusters.slurm_workers.WATCH_S", 0.5)
    cluster = replace(load_cluster("slurm.toml"), workers=1, walltime="1:00", grace=34)
    told = infer_slowly(cluster, "walltime", 1.0)
    assert "1 job ended" in told
    assert "TIMEOUT" not in "".join(path.read_text() for path in Path("slurm-logs").glob("*.err"))


def test_a_cluster_grows_for_short_tasks():
    most = []
    cluster = replace(load_cluster("slurm.toml"), minimum=1, workers=3)
    infer_slowly(cluster, "adapted", 0.9, lambda: most.append(len(jobs("--format=%i"))), 8)
    assert most[0] > 1


def test_ctrl_c_and_errors_leave_no_job(folder):
    command = [sys.executable, "-m", "xpscale", "infer", "--settings", "slurm.toml"]
    process = subprocess.Popen(
        [*command, "store", "model", "interrupted"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    wait_until(jobs)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=240)[1]
    assert process.returncode == 130, told
    assert "run the same command again" in told
    wait_until(lambda: not jobs())
    with (
        pytest.raises(RuntimeError, match="ours"),
        dask_client(load_cluster("slurm.toml"), lambda text: None),
    ):
        raise RuntimeError("ours")


@pytest.mark.parametrize(
    ("was", "made", "code", "told"),
    [
        ('"cpu"', '"nope"', 2, "SLURM refuses the workers' job: .*[Ii]nvalid partition"),
        ("setup = [", 'python = "/no/such"\nsetup = [', 20, "(?s)all jobs of SLURM ended before.*"
         "/no/such: No such file"),
    ],
)  # fmt: skip
def test_jobs_that_cannot_work_are_explained(was, made, code, told):
    Path("bad.toml").write_text(SETTINGS.replace(was, made, 1))
    result = xpscale("infer", "store", "model", "none", "--settings", "bad.toml")
    assert result.code == code
    assert re.search(told, result.err), result.err
    assert not Path("none").exists()


def test_the_command_is_a_job_that_is_queued_again_until_its_work_is_done(folder):
    """Once it ends with 75, once its walltime comes near; the third attempt ends the work."""
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\nif mkdir tried 2>/dev/null; then exit 75; fi\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    Path("job.toml").write_text(SETTINGS.replace("setup = [", f'python = "{python}"\nsetup = [', 1))
    told = done("infer", "store", "model", "job", "--settings", "job.toml", "--submit").err
    (job,) = re.findall(r"job (\d+) is queued", told)
    log = folder / "slurm-logs" / f"xpscale-infer-{job}.log"
    told = lambda queue: f"{queue} {log.read_text()}"  # noqa: E731
    wait_until(lambda: Path("tried").exists())
    start_again(job)
    wait_until(lambda: "cluster:" in log.read_text(), told)
    slurm_says("scancel", "--signal=USR1", "--batch", job)
    wait_until(lambda: "interrupted" in log.read_text(), told)
    start_again(job)
    wait_until(lambda: "published snapshot 1" in log.read_text(), told)
    wait_until(lambda: not jobs())
    assert manifest_of("job") == manifest_of("serial")
