"""A scheduler with certificates takes nobody else; pages about a cluster are for this machine."""

import os
import stat

import psutil
import pytest
from distributed import LocalCluster
from typer.testing import CliRunner

from xpscale.cli.main import app
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.runtime import tls
from xpscale.runtime.executors.dask import connect, local_cluster


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tls") / "ours"
    done = CliRunner().invoke(app, ["certificates", "make", str(place)])
    assert done.exit_code == 0, done.output
    return place


@pytest.fixture(scope="module")
def scheduler(folder):
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tls://",
        security=tls.security(folder),
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
    ) as cluster:
        yield cluster.scheduler_address


def test_others_on_the_machine_cannot_read_the_key(folder):
    for path in (folder, *folder.iterdir()):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    with pytest.raises(ConflictError):
        tls.make_certificates(folder)


def test_whoever_has_the_certificates_works(folder, scheduler, monkeypatch):
    with connect(scheduler, str(folder)) as client:
        assert client.submit(sum, [1, 2]).result() == 3
    monkeypatch.setenv(tls.VARIABLE, str(folder))
    with connect(scheduler) as client:
        assert client.submit(sum, [1, 3]).result() == 4


def test_nobody_else_does(scheduler, tmp_path):
    other = tmp_path / "other"
    tls.make_certificates(other)
    tcp = scheduler.replace("tls://", "tcp://")
    for address, certificates in ((scheduler, ""), (scheduler, str(other)), (tcp, "")):
        with (
            pytest.raises(NotFoundError, match="no Dask scheduler answers") as caught,
            connect(address, certificates),
        ):
            pass
        assert "\n" not in caught.value.message
        assert tls.VARIABLE in caught.value.remedy


def test_certificates_that_cannot_be_used_are_named(tmp_path, folder):
    with pytest.raises(NotFoundError, match=r"has no ca\.pem"):
        tls.security(tmp_path)
    ended = tmp_path / "ended"
    tls.make_certificates(ended, days=0)
    with pytest.raises(InvalidInputError, match=r"cluster\.pem ended at"):
        tls.security(ended)
    (ended / "cluster.pem").write_text("nonsense")
    with pytest.raises(InvalidInputError, match="is no certificate"):
        tls.security(ended)


def test_a_local_cluster_listens_to_this_machine_alone():
    with local_cluster(1) as client:
        client.wait_for_workers(1)
        me = psutil.Process(os.getpid())
        for process in (me, *me.children(recursive=True)):
            for found in process.net_connections("tcp"):
                if found.status == psutil.CONN_LISTEN:
                    assert found.laddr.ip in ("127.0.0.1", "::1"), (process, found)
