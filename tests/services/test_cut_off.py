"""A machine that is cut off from the network in the middle of a run: two network namespaces."""

import os
import shutil
import subprocess
import sys

import pytest
from distributed import Client

from tests.services.scenario import verdict
from tests.support.processes import Process, free_ports
from xpscale.inference.complete import complete
from xpscale.inference.infer import infer
from xpscale.runtime.events import TaskEnded
from xpscale.runtime.executors.dask import DaskExecutor
from xpscale.storage import Storage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HERE, THERE = "10.217.93.1", "10.217.93.2"


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"network namespaces are not permitted: {done.stderr.strip()}")


@pytest.fixture
def machine():
    """Name of a namespace that reaches this one by a cable, which has the same name."""
    if not shutil.which("ip"):
        pytest.skip("no ip: apt-get install iproute2")
    name = f"xps{os.getpid() % 100_000}"
    ip("netns", "add", name)
    try:
        ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", f"{HERE}/30", "dev", name)
        ip("link", "set", name, "up")
        for command in (f"addr add {THERE}/30 dev eth0", "link set eth0 up", "link set lo up"):
            ip("-n", name, *command.split())
        yield name
    finally:
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.fixture
def cluster(machine, tmp_path):
    """A scheduler and a worker here, and a worker on the machine."""
    (port,) = free_ports(1)
    address = f"tcp://{HERE}:{port}"
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard"]
    worker += ["--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path)]
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    processes = [
        Process([*scheduler, "--host", HERE, "--port", str(port)], tmp_path / "scheduler.log"),
        Process([*worker, "--host", HERE], tmp_path / "here.log"),
        Process(["ip", "netns", "exec", machine, *worker, "--host", THERE], tmp_path / "there.log"),
    ]
    try:
        for process in processes:
            process.start()
        with Client(address, set_as_default=False, timeout="60s") as client:
            client.wait_for_workers(2, timeout=120)
            yield client
    finally:
        for process in processes:
            process.stop()


def test_a_machine_that_is_cut_off_changes_nothing(scenario, machine, cluster, tmp_path):
    cut = []

    def cut_off(event):
        if isinstance(event, TaskEnded) and not cut:
            cut.append(machine)
            ip("link", "set", machine, "down")

    catalog = Storage(str(tmp_path / "catalog"))
    executor = DaskExecutor(cluster, patience_s=1.0)
    result = infer(scenario.store, scenario.model, catalog, executor=executor, callbacks=[cut_off])
    complete(catalog)
    assert cut
    assert all(report.status.is_done for report in result.report.reports.values())
    found = verdict(scenario, catalog)
    assert found.is_good, found
    assert result.manifest.n_out == found.rows_out
